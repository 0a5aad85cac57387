"""Tells Redis how this worker stands, for people who look; nothing depends on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from ..broker.roster import MOST_PROCESSES, Process, Record, Roster
from ..child_process import ChildProcess
from ..clock import now_ms
from ..exceptions import BrokerError
from ..memory import memory_of
from ..plan import Plan
from ..service import Service

PACKAGE = "django-taskq-redis"


class Presence(Service):
    """A record each third of the lease; it lapses with the lease."""

    def __init__(
        self,
        roster: Roster,
        id: str,
        plan: Plan,
        children: Callable[[], Iterable[ChildProcess]],
        state: Callable[[], str],
    ) -> None:
        super().__init__()
        self.id = id
        self._roster = roster
        self._plan = plan
        self._children = children
        self._state = state
        self._started = now_ms()

    def tick(self) -> float:
        self._roster.enroll(self.id, self._record(), round(self._plan.lease * 1000))
        return self._plan.lease / 3

    def leave(self) -> None:
        """The worker is gone; if Redis is away, its record lapses by itself."""
        with suppress(BrokerError):
            self._roster.enroll(self.id, None, 1)

    def _record(self) -> Record:
        plan = self._plan
        return Record(
            host=socket.gethostname()[:100],
            pid=os.getpid(),
            release=release(),
            started=self._started,
            state=self._state(),
            queues=dict(list(plan.queues.items())[:MOST_PROCESSES]),
            slots=plan.concurrency,
            memory=memory_of().now,
            strict=plan.strict,
            processes=[process_of(child) for child in self._children()][:MOST_PROCESSES],
        )


def process_of(child: ChildProcess) -> Process:
    """A child in the record."""
    pid = child.process.pid or 0
    used = len(child.table.rows())
    return Process(child.holder, pid, child.started_at, memory_of(pid).now, used)


def release() -> str:
    """The version of this package that runs."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""
