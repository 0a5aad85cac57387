"""Room for one job, and the way to interrupt what runs in it."""

from __future__ import annotations

import asyncio
import ctypes
import threading

from .clock import monotonic
from .exceptions import CancelRequested, Interruption, LeaseLost, TaskTimeout
from .execution import Attempt
from .job import Outcome
from .table import Table

DEAF_AFTER = 3.0  # seconds for which a job may ignore that it is to stop


class Slot:
    """One row of the child's table, with the thread or coroutine that runs its job."""

    def __init__(self, number: int, table: Table) -> None:
        self.number = number
        self.attempt: Attempt | None = None
        self.deadline = 0.0
        self.interrupted: Interruption | None = None
        self.interrupted_at = 0.0
        self._table = table
        self._lock = threading.Lock()
        self._thread = 0
        self._task: asyncio.Task[None] | None = None

    def enter(
        self, attempt: Attempt, queue: int, alone: bool, task: asyncio.Task[None] | None = None
    ) -> float:
        """The job starts here, on this thread or as ``task``; the time (monotonic)."""
        now = monotonic()
        timeout = attempt.task.options.timeout
        self.deadline = now + timeout if timeout else 0.0
        grant = attempt.grant
        fence = grant.live.fence
        self._table.start(self.number, fence, grant.id, queue, alone, now, self.deadline)
        with self._lock:
            self.attempt = attempt
            self.interrupted = None
            self._task = task
            self._thread = 0 if task else threading.get_ident()
        return now

    def leave(self) -> Interruption | None:
        """The job's code has stopped; what interrupted it, if anything did."""
        with self._lock:
            self.attempt = self._task = None
            if self.interrupted and self._thread:
                raise_in(self._thread, None)  # one that was not delivered yet must not be
            self._thread = 0
        self._table.stop(self.number)
        return self.interrupted

    def interrupt(self, id: str, fence: int, reason: type[Interruption]) -> bool:
        """Asks this attempt to stop, once; whether it runs here.

        A fence is its job's own: most jobs have 1, and the next one here may just have begun.

        The exception is raised in the thread at its next bytecode: what blocks in C goes on.
        """
        with self._lock:
            attempt = self.attempt
            if attempt is None or (attempt.grant.id, attempt.grant.live.fence) != (id, fence):
                return False
            if self.interrupted is None:
                self.interrupted = attempt.interrupted = reason(MESSAGES[reason])
                self.interrupted_at = monotonic()
                if self._task is not None:
                    self._task.cancel()
                else:
                    raise_in(self._thread, reason)
            return True

    def abandon(self, now: float) -> Outcome | None:
        """The outcome of a job that does not stop although it was told to long ago, else None.

        Its code still runs, and so the process must end; what it was told counts as its end.
        """
        attempt, told = self.attempt, self.interrupted
        if attempt is None or told is None or now < self.interrupted_at + DEAF_AFTER:
            return None
        if isinstance(told, LeaseLost):
            return None
        self._table.stop(self.number)
        return attempt.fail(told)

    def is_late(self, now: float) -> bool:
        """Whether the job ran longer than it may and was not told yet."""
        return bool(self.deadline) and now > self.deadline and self.interrupted is None


MESSAGES: dict[type[Interruption], str] = {
    TaskTimeout: "the attempt ran longer than its timeout",
    CancelRequested: "the job's cancellation was asked for",
    LeaseLost: "the worker lost its lease",
}


def raise_in(thread: int, reason: type[Interruption] | None) -> None:
    """Raises in another thread of this process; None takes back what is pending.

    https://docs.python.org/3/c-api/threads.html#c.PyThreadState_SetAsyncExc
    """
    error = ctypes.py_object(reason) if reason is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
