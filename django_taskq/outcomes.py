"""What an attempt comes to: its value or its failure as an Outcome; signals and log are told."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from .clock import now_ms, to_datetime
from .codec import Mask, printable
from .codec.redaction import marked_values
from .compat import TaskError
from .exceptions import (
    Cancel,
    CancelRequested,
    Interruption,
    InvalidArgument,
    JobCancelled,
    LeaseLost,
    Redacted,
    Snooze,
)
from .job import Failure, Grant, Kind, Outcome, State
from .memory import memory_of
from .result import STATUS
from .retry import as_seconds
from .signals import FAILED, SUCCEEDED
from .task import Task

if TYPE_CHECKING:
    from .execution import Attempt

logger = logging.getLogger("django_taskq.job")

STOPPED = (Interruption, asyncio.CancelledError)  # how code ends that was interrupted
MOST_TRACEBACK = 16_384  # characters kept of a traceback


def succeeded(attempt: Attempt, value: Any) -> Outcome:
    """The outcome of a value that was returned."""
    try:
        blob = attempt.task.signature.dump_value(value)
        if len(blob) > attempt.runner.result_limit:
            raise InvalidArgument(
                f"the return value takes {len(blob):,} bytes and MAX_PAYLOAD allows "
                f"{attempt.runner.result_limit:,}"
            )
    except InvalidArgument as error:
        # The work is done: running it again would only do it twice.
        return _dead(attempt, error)
    _end(attempt, State.SUCCEEDED, value=value)
    if logger.isEnabledFor(logging.INFO):
        _log(attempt, logging.INFO, "succeeded in %.3f s", (now_ms() - attempt.began) / 1000)
    if attempt.runner.seals is not None:
        blob = attempt.runner.seals.seal_value(attempt.grant.id, blob)
    return outcome(attempt, Kind.SUCCEEDED, b"" if blob == b"null" else blob, keep(attempt.task))


def failed(attempt: Attempt, error: BaseException) -> Outcome:
    """The outcome of what was raised. Called inside the except block, for the receivers."""
    if attempt.interrupted is not None and isinstance(error, STOPPED):
        error = attempt.interrupted.with_traceback(error.__traceback__)
    try:
        return _decide(attempt, error)
    except Exception as problem:
        _log(attempt, logging.ERROR, "failed in a way that has no answer", error=problem)
        return _dead(attempt, problem)


def _decide(attempt: Attempt, error: BaseException) -> Outcome:
    if isinstance(error, Snooze):
        delay_ms = round(as_seconds(error.seconds, "Snooze") * 1000)
        return outcome(attempt, Kind.SNOOZED, b"", delay_ms)
    if isinstance(error, LeaseLost):
        return given_back(attempt)
    if isinstance(error, Cancel | CancelRequested):
        return _cancelled(attempt, error)
    delay = attempt.task.policy.decide(attempt.number, error)
    if delay is None:
        return _dead(attempt, error)
    _log(attempt, logging.WARNING, "failed, runs again in %.1f s", delay, error=error)
    blob = _encode(attempt, _failure(attempt, error))
    return outcome(attempt, Kind.RETRYING, blob, round(delay * 1000))


def given_back(attempt: Attempt) -> Outcome:
    """The outcome of a run that nobody waits for any more: uncounted."""
    return outcome(attempt, Kind.RETURNED)


def _dead(attempt: Attempt, error: BaseException) -> Outcome:
    failure = _failure(attempt, error)
    _end(attempt, State.DEAD, failure)
    what = printable(f"{failure.c}: {failure.m}")
    _log(attempt, logging.ERROR, "is dead after attempt %d: %s", attempt.number, what)
    return outcome(attempt, Kind.DEAD, _encode(attempt, failure), attempt.runner.dead_retention)


def _cancelled(attempt: Attempt, error: BaseException) -> Outcome:
    reason = error if isinstance(error, Cancel) else JobCancelled("cancelled while it ran")
    failure = Failure(
        c=path_of(reason),
        m=_mask(attempt, reason)(str(reason))[:1000],
        w=attempt.runner.holder,
        s=attempt.began,
        f=now_ms(),
        n=attempt.number,
    )
    _end(attempt, State.CANCELLED, failure)
    return outcome(attempt, Kind.CANCELLED, _encode(attempt, failure), keep(attempt.task))


def _encode(attempt: Attempt, failure: Failure) -> bytes:
    return attempt.runner.encode(attempt.grant, failure)


def outcome(attempt: Attempt, kind: Kind, blob: bytes = b"", delay: int = 0) -> Outcome:
    """The outcome with what is counted of the attempt."""
    grant, envelope, began = attempt.grant, attempt.envelope, attempt.began
    waited = took = -1
    if began:
        took = now_ms() - began
        if took < 0:  # the clock was set back
            took = 0
        if not grant.live.first_started:
            due = envelope.r if envelope.r > envelope.e else envelope.e
            waited = began - due if began > due else 0
    return Outcome(grant, kind, blob, delay, began, envelope.t, waited, took)


def _failure(attempt: Attempt, error: BaseException) -> Failure:
    mask = _mask(attempt, error)
    text = mask("".join(format_exception(error)))
    if len(text) > MOST_TRACEBACK:
        half = MOST_TRACEBACK // 2
        text = f"{text[:half]}\n...\n{text[-half:]}"
    return Failure(
        c=path_of(error),
        m=mask(str(error))[:1000],
        b=text,
        w=attempt.runner.holder,
        s=attempt.began,
        f=now_ms(),
        n=attempt.number,
        r=attempt.runner.release,
        k=memory_of().now,
        q=attempt.queries,
    )


def _end(attempt: Attempt, state: State, failure: Failure | None = None, value: Any = None) -> None:
    """Tells Django's receivers that the job is over."""
    announcement = SUCCEEDED if failure is None else FAILED
    if not (announcement.is_heard or attempt.is_seen):
        return
    result = attempt.result
    if failure is not None:
        result.errors.append(TaskError(exception_class_path=failure.c, traceback=failure.b))
    for name, change in (
        ("_return_value", value),
        ("state", state),
        ("status", STATUS[state]),
        ("finished_at", to_datetime(now_ms())),
    ):
        object.__setattr__(result, name, change)
    if failure is not None and _mask(attempt, sys.exception()):
        # Receivers log the exception they are called in, Django's own among them.
        try:
            raise Redacted(f"{failure.c}: {failure.m}")
        except Redacted as error:
            error.__context__ = None
            announcement.signal.send_robust(sender=attempt.runner.sender, task_result=result)
        return
    announcement.signal.send_robust(sender=attempt.runner.sender, task_result=result)


def _mask(attempt: Attempt, error: BaseException | None) -> Mask:
    """Hides in text what is sensitive: in the arguments, and where Django's mark says so."""
    hidden = attempt.task.signature.hidden
    values = [
        *hidden(attempt.envelope.a, attempt.envelope.k),
        *hidden(attempt.args, attempt.kwargs),
    ]
    return Mask([*values, *(marked_values(error) if error is not None else ())])


def _log(
    attempt: Attempt, level: int, text: str, *args: Any, error: BaseException | None = None
) -> None:
    mask = _mask(attempt, error) if error is not None else None
    if error is not None and mask:
        text += "\n%s"  # a handler would format the exception as it is
        args = (*args, mask("".join(format_exception(error))).rstrip())
        error = None
    logger.log(
        level,
        f"%s {text}",
        attempt.task.module_path,
        *args,
        exc_info=error,
        extra=log_fields(attempt.grant, attempt.task),
    )


def parked(grant: Grant, task: str, reason: str) -> Outcome:
    """The end of an attempt that this worker cannot begin; another may."""
    name = re.sub(r"[^\x21-\x7e]", "_", task)[:200] or "_"
    return Outcome(grant, Kind.PARKED, reason.encode()[:500], task=name)


def keep(task: Task) -> int:
    """How long a job of this task is kept once it ended, ms."""
    return round((task.options.retention or 0) * 1000)


def path_of(error: BaseException) -> str:
    """The dotted name of an error's class, as Django's TaskError wants it."""
    return f"{type(error).__module__}.{type(error).__qualname__}"


def log_fields(grant: Grant, task: Task) -> dict[str, Any]:
    """What every line about a job carries beside its text."""
    return {
        "job_id": grant.id,
        "task": task.module_path,
        "queue": grant.queue,
        "attempt": grant.live.attempt + 1,
    }
