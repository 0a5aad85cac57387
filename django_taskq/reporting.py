"""How far a job has come, and its log: told by its code, sent to Redis every half second.

A child keeps what its jobs told last and sends it before their outcomes; so a job may tell a
million times, and its last word is there when it has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import suppress
from contextvars import ContextVar
from typing import Protocol, TypeVar

from .broker.broker import Broker
from .clock import monotonic, now_ms
from .codec import OPEN
from .job import Grant
from .report import Report, encode_report

logger = logging.getLogger("django_taskq.worker")

PAUSE = 0.5  # seconds between two reports of a child
AGAIN = 5.0  # seconds until the next, when Redis did not take one
MOST = 500  # reports of a queue that wait for a Redis that takes none

T = TypeVar("T")


class Attempt(Protocol):
    """What is asked of a run here."""

    grant: Grant
    queries: int
    report: Report | None

    @property
    def number(self) -> int: ...

    def reported(self) -> None:
        """Something new stands in its report."""


attempt_here: ContextVar[Attempt | None] = ContextVar("taskq_attempt", default=None)


def report_of(attempt: Attempt) -> Report:
    """The report of an attempt, made when it first says something."""
    if attempt.report is None:
        attempt.report = Report(n=attempt.number)
    return attempt.report


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Tells how far the running job has come: ``done`` of ``total``, and in words.

    Outside a job it does nothing, so a task's function can be called as it is. Costs about a
    microsecond; what was told last is sent every half second. Raises TypeError or ValueError for
    what is no number.
    """
    attempt = attempt_here.get()
    report = Report() if attempt is None else report_of(attempt)
    report.tell(done, total, message, now_ms())
    if attempt is not None:
        attempt.reported()


def log(message: object) -> None:
    """Adds a line to the running job's log, of which the last 200 are kept."""
    attempt = attempt_here.get()
    if attempt is not None:
        report_of(attempt).write(str(message), now_ms())
        attempt.reported()


def track(items: Iterable[T], total: int | None = None, message: str = "") -> Iterator[T]:
    """The items, while ``progress()`` says how many have been gone through.

    ``total``: how many there are, of what does not know it itself.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    for done, item in enumerate(items):
        progress(done, total, message)
        yield item
    if total is not None:
        progress(total, total, message)


class JobLog(logging.Handler):
    """Adds log records to the log of the job that is running: for the LOGGING setting."""

    def emit(self, record: logging.LogRecord) -> None:
        if attempt_here.get() is None:
            return
        try:
            log(self.format(record))
        except Exception:
            self.handleError(record)


class Reports:
    """What the jobs of one child said and Redis does not know yet.

    ``stale`` is told the id and fence of a job that is somebody else's by now. Any thread may
    ``add``; ``send`` is called under the consumer's lead lock. One queue that takes none holds up
    no other.
    """

    def __init__(self, broker: Broker, stale: Callable[[str, int], None]) -> None:
        self._broker = broker
        self._stale = stale
        self._fresh: dict[str, dict[tuple[str, int], Attempt]] = {}  # by queue
        self._due: dict[str, float] = {}  # queue -> when it is told again (monotonic)

    def __bool__(self) -> bool:
        return any(list(self._fresh.values()))

    def add(self, attempt: Attempt) -> None:
        """An attempt's report is to be sent."""
        grant = attempt.grant
        self._fresh.setdefault(grant.queue, {})[grant.id, grant.live.fence] = attempt

    @property
    def is_due(self) -> bool:
        """Whether it is time to send."""
        now = monotonic()
        fresh = list(self._fresh.items())
        return any(attempts and self._due.get(queue, 0.0) <= now for queue, attempts in fresh)

    def send(self, may_take: Callable[[str], bool] = lambda queue: True) -> None:
        """Sends all there is to the queues that may be told; never raises.

        What Redis does not take is sent with the next.
        """
        for queue, fresh in list(self._fresh.items()):
            if fresh:
                self._due[queue] = monotonic() + PAUSE
                if may_take(queue):
                    self._send_all(queue)
                self._bound(fresh)

    def _send_all(self, queue: str) -> None:
        attempts = self._taken(queue)
        try:
            self._send(queue, attempts)
        except Exception as error:  # a broken key, too: outcomes must not wait for this
            self._due[queue] = monotonic() + AGAIN
            for attempt in attempts:
                self.add(attempt)
            logger.warning("what jobs say of themselves is not kept for now: %s", error)

    def _taken(self, queue: str) -> list[Attempt]:
        """What was added so far, one by one, because jobs add to it meanwhile."""
        taken = []
        with suppress(KeyError):
            while True:
                taken.append(self._fresh[queue].popitem()[1])
        return taken

    def _bound(self, fresh: dict[tuple[str, int], Attempt]) -> None:
        """Jobs that come and go while Redis takes no report must not fill this process."""
        with suppress(KeyError):
            while len(fresh) > MOST:
                fresh.popitem()

    def _send(self, queue: str, attempts: list[Attempt]) -> None:
        seals = self._broker.seals or OPEN
        told = []
        for attempt in attempts:
            grant = attempt.grant
            raw = seals.seal_report(grant.id, encode_report(report_of(attempt)))
            told.append((grant.id, grant.live.fence, raw))
        verdicts = self._broker.report(queue, told)
        for (id, fence, _), verdict in zip(told, verdicts, strict=True):
            if verdict == "S":
                self._stale(id, fence)
