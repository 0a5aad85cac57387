"""Room for one job, and the way to interrupt what runs in it."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

from .clock import monotonic
from .exceptions import CancelRequested, Interruption, LeaseLost, TaskTimeout
from .execution import Attempt
from .table import Table

GRACE = 3.0  # seconds for which a job may ignore that it is to stop, before its process ends


class Slot:
    """One row of the child's table, with the thread or coroutine that runs its job."""

    def __init__(self, number: int, table: Table) -> None:
        self.number = number
        self.attempt: Attempt | None = None
        self.deadline = 0.0
        self.interrupted: Interruption | None = None
        self.ends_at = 0.0  # when its process ends if it has not stopped; 0: it may go on
        self._table = table
        self._lock = threading.Lock()
        self._thread = 0
        self._task: asyncio.Task[None] | None = None
        self._contained = False  # in a process of its own
        self._pipe: Connection | None = None  # to that process

    def enter(
        self,
        attempt: Attempt,
        queue: int,
        task: asyncio.Task[None] | None = None,
        *,
        contained: bool = False,
    ) -> float:
        """The job starts here, on this thread or as ``task``; the time (monotonic).

        ``contained``: in a process of its own, which ``contain()`` names.
        """
        now = monotonic()
        timeout = attempt.task.options.timeout
        self.deadline = now + timeout if timeout else 0.0
        grant = attempt.grant
        fence = grant.live.fence
        self._table.start(self.number, fence, grant.id, queue, now, self.deadline)
        with self._lock:
            self.attempt = attempt
            self.interrupted = None
            self.ends_at = 0.0
            self._task = task
            self._thread = 0 if task or contained else threading.get_ident()
            self._contained = contained
        return now

    def contain(self, pid: int) -> None:
        """The job's own process is there, and knows nothing of the job yet."""
        self._table.note_process(self.number, pid)

    def connect(self, pipe: Connection) -> None:
        """The job's own process has got the job, and hears what interrupts it."""
        with self._lock:
            self._pipe = pipe
            if self.interrupted is not None:
                self._raise(type(self.interrupted))

    def leave(self) -> Interruption | None:
        """The job's code has stopped; what interrupted it, if anything did."""
        with self._lock:
            self.attempt = self._task = None
            if self.interrupted and self._thread:
                raise_in(self._thread, None)  # one that was not delivered yet must not be
            self._thread = 0
            self._pipe = None
        self._table.stop(self.number)
        return self.interrupted

    def interrupt(
        self, id: str, fence: int, reason: type[Interruption], *, hard: bool = False
    ) -> bool:
        """Asks this attempt to stop; whether it runs here. ``hard``: its process ends otherwise.

        A fence is its job's own: most jobs have 1, and the next one here may just have begun.
        The exception is raised in the thread at its next bytecode: what blocks in C goes on. It is
        raised once, and once more when the first was soft.
        """
        with self._lock:
            attempt = self.attempt
            if attempt is None or (attempt.grant.id, attempt.grant.live.fence) != (id, fence):
                return False
            hardens = hard and not self.ends_at
            if hardens:
                self.ends_at = monotonic() + GRACE
            if self.interrupted is None:
                self.interrupted = attempt.interrupted = reason(MESSAGES[reason])
                hardens = True
            if hardens:
                self._raise(type(self.interrupted))
            return True

    def _raise(self, reason: type[Interruption]) -> None:
        if self._task is not None:
            self._task.cancel()
        elif self._pipe is not None:
            with suppress(OSError):  # it has just ended
                self._pipe.send_bytes(reason.__name__.encode())
        elif self._thread:
            raise_in(self._thread, reason)

    def is_deaf(self, now: float) -> bool:
        """Whether this process must end: a job here has not stopped though its time is over."""
        return self.attempt is not None and not self._contained and self.is_over(now)

    def is_over(self, now: float) -> bool:
        """Whether the time that the job had to stop is over."""
        return 0 < self.ends_at < now

    def stack(self) -> str:
        """Where its code is, for the log."""
        with self._lock:
            if self._task is not None:
                frames = self._task.get_stack()
                return "".join(line for f in frames for line in traceback.format_stack(f, 1))
            frame = sys._current_frames().get(self._thread)
            return "".join(traceback.format_stack(frame)) if frame else "(in its own process)\n"

    def is_late(self, now: float) -> bool:
        """Whether the job ran longer than it may and was not told yet."""
        return bool(self.deadline) and now > self.deadline and not self.ends_at


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
