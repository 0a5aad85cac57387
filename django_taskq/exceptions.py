"""What can go wrong, and what a task may raise to say how its attempt ended.

Layer 0: imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

Seconds = float | int | timedelta


class TaskqError(Exception):
    """Base of every error of this package."""


class InvalidOption(TaskqError, ValueError):
    """An option has a value that cannot work; the message names option and value."""


class InvalidArgument(TaskqError, TypeError):
    """An argument or a return value cannot travel as JSON; the message gives its path."""


class PayloadTooLarge(TaskqError, ValueError):
    """The arguments are larger than ``MAX_PAYLOAD`` bytes once encoded."""


class MalformedJob(TaskqError):
    """A job's envelope cannot be read; the job is quarantined in ``dead``."""


class BadSeal(MalformedJob):
    """What Redis holds is unsigned, wrongly signed, or encrypted for another place.

    A job like that is quarantined and never run; a value like that is never returned.
    """


class KeyMissing(TaskqError):
    """What Redis holds is encrypted with a key that this process does not have.

    A job like that is parked until a worker comes that has the key.
    """


class DuplicateJob(TaskqError):
    """Another job has the lock that ``unique`` asks for, and it says to raise.

    ``results``: of every job of the call, for those that were kept out that of the job that has
    the lock.
    """

    def __init__(self, message: str, results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results = results

    @property
    def result(self) -> Any:
        """The first job that was there before, or None."""
        return next((result for result in self.results if result.duplicate), None)


class BrokerError(TaskqError):
    """The broker could not do what was asked.

    ``results``: what ``enqueue()`` or ``enqueue_many()`` would have returned. Sending a job again
    under its ``result.id`` never makes a second one. ``maybe_sent``: some of it may have been done.
    """

    results: Sequence[Any] = ()
    maybe_sent: bool = False

    @property
    def result(self) -> Any:
        """The first of the results, or None."""
        return self.results[0] if self.results else None


class BrokerUnavailable(BrokerError):
    """Redis cannot be reached.

    ``address``: the server without its password. ``maybe_sent``: the call may have reached the
    server and have been carried out whole (never half).
    """

    def __init__(self, message: str, *, address: str = "", maybe_sent: bool = False) -> None:
        super().__init__(message)
        self.address = address
        self.maybe_sent = maybe_sent


class BrokerFull(BrokerError):
    """Redis is at its ``maxmemory``: nothing was written, and the workers drain on.

    Of an ``enqueue_many()`` with more than 500 jobs the first ones may be in already: those whose
    result has an ``enqueued_at``.
    """


class NotReplicated(BrokerError):
    """The jobs are enqueued, but not as safe yet as ``DURABILITY`` asks.

    Too few replicas, or not the disk, confirmed them in time. They run like any other; lost they
    are if the server fails before it has passed them on. Enqueuing one again under its
    ``result.id`` makes no second one, and waits for the confirmation again.
    """

    maybe_sent = True


class TaskFailed(TaskqError):
    """``result.get()``: the job ended dead. ``result`` carries the errors."""

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class TaskCancelled(TaskFailed):
    """``result.get()``: the job was cancelled or expired before it could succeed."""


class ResultTruncated(TaskqError):
    """The value was cut because Redis was nearly full when the job succeeded."""


class Redacted(TaskqError):
    """Stands for an exception whose text quoted something sensitive, where others would log it."""


class JobExpired(TaskqError):
    """The job was not started within its ``expires_in``; kept as its error."""


class JobCancelled(TaskqError):
    """Somebody cancelled the job; kept as its error."""


class WorkerCrashed(TaskqError):
    """The worker's process died while the job ran alone in it, too often."""


class Retry(TaskqError):
    """Raised by a task: this attempt failed, try again.

    ``after``: seconds or timedelta until then; without it the task's backoff decides.
    """

    def __init__(self, message: str = "", *, after: Seconds | None = None) -> None:
        super().__init__(message)
        self.after = after


class Fail(TaskqError):
    """Raised by a task: dead at once, whatever attempts are left."""


class Cancel(TaskqError):
    """Raised by a task: nothing left to do; the job ends cancelled."""


class Snooze(TaskqError):
    """Raised by a task: not now. Runs again after ``seconds``; no attempt is counted."""

    def __init__(self, seconds: Seconds, message: str = "") -> None:
        super().__init__(message)
        self.seconds = seconds


class Interruption(BaseException):
    """Base of what the worker raises inside running code.

    Derived from BaseException so that a task's ``except Exception`` does not swallow it.
    """


class TaskTimeout(Interruption):
    """The attempt ran longer than the task's ``timeout``; counts as a failed attempt."""


class CancelRequested(Interruption):
    """Somebody asked for the job's cancellation while it ran."""


class LeaseLost(Interruption):
    """The worker lost its right to this job: whatever the code does now is not recorded."""


class ArgumentsDoNotBind(TaskqError):
    """The stored arguments no longer fit the task's function: a deploy came in between."""
