"""Tells Redis how this worker stands, for people who look; nothing depends on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from ..broker.broker import Broker
from ..broker.releases import Releases
from ..broker.roster import MOST_PROCESSES, Process, Record, Roster
from ..child_process import ChildProcess
from ..children import Children
from ..clock import monotonic, now_ms
from ..cpu import Load
from ..exceptions import BrokerError
from ..memory import memory_of
from ..plan import Plan
from ..service import Service

PACKAGE = "django-taskq-redis"
STANDS = 4  # leases; a worker that does not report for one of them is shown as such meanwhile


class Presence(Service):
    """A record each third of the lease, and once the release that it runs."""

    def __init__(
        self,
        broker: Broker,
        id: str,
        plan: Plan,
        children: Callable[[], Children],
        state: Callable[[], str],
    ) -> None:
        super().__init__()
        self.id = id
        self._roster = Roster(broker)
        self._releases = Releases(broker)
        self._is_marked = not plan.release
        self._plan = plan
        self._children = children
        self._state = state
        self._started = now_ms()
        self._load = Load()

    def tick(self) -> float:
        record = self._record()
        self._roster.enroll(self.id, record, record.stands)
        if not self._is_marked:
            self._releases.mark(self._plan.release)
            self._is_marked = True
        return self._plan.lease / 3

    def leave(self) -> None:
        """The worker is gone; if Redis is away, its record lapses by itself."""
        with suppress(BrokerError):
            self._roster.enroll(self.id, None, 1)

    def _record(self) -> Record:
        plan = self._plan
        children = self._children()
        own = os.getpid()
        load = self._load.look([own, *(pid_of(child) for child in children)])
        return Record(
            host=socket.gethostname()[:100],
            pid=own,
            release=plan.release or version_here(),
            started=self._started,
            state=self._state(),
            queues=dict(list(plan.queues.items())[:MOST_PROCESSES]),
            slots=plan.concurrency,
            memory=memory_of().now,
            strict=plan.strict,
            processes=[process_of(child, load) for child in children][:MOST_PROCESSES],
            cpu=load[own],
            attempts=children.attempts,
            failed=children.failures,
            stands=round(STANDS * plan.lease * 1000),
        )


def pid_of(child: ChildProcess) -> int:
    """Its number."""
    return int(child.process.pid or 0)


def process_of(child: ChildProcess, load: Mapping[int, int | None]) -> Process:
    """A child in the record. ``load``: see Load."""
    pid, table = pid_of(child), child.table
    attempts, failed = table.counts
    return Process(
        holder=child.holder,
        pid=pid,
        started=child.started_at,
        memory=memory_of(pid).now,
        used=len(table.rows()),
        cpu=load[pid],
        attempts=attempts,
        failed=failed,
        silent=round((monotonic() - table.alive_at) * 1000) if table.alive_at else 0,
    )


def version_here() -> str:
    """The version of this package that runs."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""
