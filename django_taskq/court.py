"""Where jobs are judged whose process was ended by force: a process of its own.

What is asked there is the project's code (retry rules, receivers of signals), which may take its
time, or hold the interpreter; the supervisor has leases to renew.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from time import sleep
from typing import Any

from .child_process import ChildProcess, Remains
from .clock import monotonic
from .deaths import die_with_parent, ignore_signals, leave
from .exceptions import BrokerUnavailable
from .isolation import Make
from .judge import Judge
from .services.reaper import Overdue, Reaper

logger = logging.getLogger("django_taskq.worker")

PATIENCE = 10.0  # seconds until jobs are settled without asking the project's code
BIRTH = 20.0  # the same for a process that has to import the project first
PAUSE = 0.5  # seconds between two tries to reach Redis


class Case:
    """A dead child and what it held. Its lease is kept until it goes to the reaper.

    ``started``: what its death is charged to; ``overdue``: what ran past its timeout.
    """

    def __init__(self, child: ChildProcess, remains: Remains, names: Sequence[str]) -> None:
        self.cause = remains.cause
        self.holder = child.holder
        self.table = child.table
        self.started: dict[str, set[str]] = {}
        self.overdue: dict[str, dict[str, int]] = {}
        self.until = 0.0
        self.process: Any = None
        now = monotonic()
        for row in remains.rows:
            queue = names[row.queue]
            if 0 < row.deadline < now:
                self.overdue.setdefault(queue, {})[row.id] = row.fence
            elif not (remains.orderly or child.blameless) and not row.process:
                # Never alone: a job that has a crash on its record runs in a process of its own.
                self.started.setdefault(queue, set()).add(row.id)

    def order(self, *order: object) -> None:
        """The dead are told nothing."""


class Court:
    """Has each case judged, then hands it to the reaper, who settles plainly what is left of it.

    ``forking`` is called before a process is started.
    """

    def __init__(
        self, alias: str, make: Make, method: str, reaper: Reaper, forking: Callable[[], None]
    ) -> None:
        self._alias = alias
        self._make = make
        self._context: Any = multiprocessing.get_context(method)
        self._patience = PATIENCE if method == "fork" else BIRTH
        self._reaper = reaper
        self._forking = forking
        self._closed = False
        self.cases: list[Case] = []

    def hear(self, case: Case) -> None:
        """Takes the case of a child that has died."""
        if self._closed or not case.overdue:
            self._reap(case)
            return
        self._forking()
        case.process = self._context.Process(
            target=judge,
            args=(self._make, self._alias, case.holder, case.overdue),
            name="taskq-judge",
        )
        case.until = monotonic() + self._patience
        try:
            case.process.start()
        except OSError as error:
            logger.error("no process can be started for the judge: %s", error)
            self._reap(case)
        else:
            self.cases.append(case)

    def hurry(self, timeout: float) -> None:
        """Nothing is judged longer than for ``timeout`` seconds from now."""
        for case in self.cases:
            case.until = min(case.until, monotonic() + timeout)

    def look(self) -> None:
        """Closes what is judged, or has taken too long."""
        now = monotonic()
        for case in list(self.cases):
            if not case.process.is_alive() or now >= case.until:
                self._close(case)

    def close(self) -> None:
        """Closes every case; those that come later go to the reaper at once."""
        self._closed = True
        for case in list(self.cases):
            self._close(case)

    def _close(self, case: Case) -> None:
        self.cases.remove(case)
        if case.process.is_alive():
            logger.error(
                "a retry rule or a receiver of task_finished takes too long: jobs that were "
                "ended by force are settled without it"
            )
            case.process.kill()
        case.process.join()
        case.process.close()
        self._reap(case)

    def _reap(self, case: Case) -> None:
        self._reaper.died(case.holder, case.started, case.cause, case.overdue)


def judge(make: Make, alias: str, holder: str, overdue: Overdue) -> None:
    """The body of the process: never returns."""
    die_with_parent()
    ignore_signals()
    code = 1
    try:
        broker, sender = make(alias)
        one = Judge(broker, alias, sender)
        for queue, jobs in overdue.items():
            settle(one, queue, holder, jobs)
        code = 0
    except BaseException:
        logger.exception("the judge failed")
    finally:
        leave(code)


def settle(one: Judge, queue: str, holder: str, jobs: Mapping[str, int]) -> None:
    """Settles when Redis is there; the supervisor ends it when that takes too long."""
    while True:
        try:
            return one.settle(queue, holder, jobs)
        except BrokerUnavailable:
            sleep(PAUSE)
