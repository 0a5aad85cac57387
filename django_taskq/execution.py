"""One attempt at a job: resolve, bind, run, outcome. Touches neither Redis nor models.

A step either returns the attempt for the next step or ends it with an Outcome.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from traceback import format_exception
from typing import Any

from asgiref.sync import async_to_sync

from . import registry
from .broker.broker import Broker
from .clock import now_ms, to_datetime
from .codec import OPEN, Mask, Seals, decode_envelope, printable
from .codec.redaction import marked_values
from .compat import (
    TaskContext,
    TaskError,
)
from .exceptions import (
    ArgumentsDoNotBind,
    Cancel,
    CancelRequested,
    Interruption,
    InvalidArgument,
    JobCancelled,
    JobExpired,
    KeyMissing,
    LeaseLost,
    Redacted,
    Snooze,
)
from .job import Envelope, Failure, Grant, Kind, Outcome, State
from .reader import build_result
from .result import STATUS, TaskResult
from .retry import as_seconds
from .signals import FAILED, STARTED, SUCCEEDED
from .task import Task, variation

logger = logging.getLogger("django_taskq.job")

STOPPED = (Interruption, asyncio.CancelledError)  # how code ends that was interrupted
MOST_TRACEBACK = 16_384  # characters kept of a traceback
DAY = 86_400_000  # ms
DEAD_RETENTION = 90 * DAY


class Runner:
    """What all attempts of one holder share.

    ``sender``: the backend class that signals are sent for; ``dead_retention``: ms; ``seals``:
    see Broker.
    """

    def __init__(
        self,
        alias: str,
        holder: str,
        sender: type,
        dead_retention: int = DEAD_RETENTION,
        result_limit: int = 1 << 20,
        seals: Seals | None = None,
    ) -> None:
        self.alias = alias
        self.holder = holder
        self.sender = sender
        self.dead_retention = dead_retention
        self.result_limit = result_limit
        self.seals = seals

    @classmethod
    def of(
        cls, broker: Broker, alias: str, holder: str, sender: type, result_limit: int = 1 << 20
    ) -> Runner:
        """A runner with what the broker says of retention and seals."""
        return cls(alias, holder, sender, broker.limits.dead_retention, result_limit, broker.seals)

    # -- resolve and bind ------------------------------------------------------------------------

    def prepare(self, grant: Grant, now: int) -> Attempt | Outcome:
        """The attempt that a grant asks for, or its end where it cannot be run. ``now``: ms."""
        try:
            return self._prepare(grant, now)
        except Exception as error:
            return self._quarantine(grant, error)

    def _prepare(self, grant: Grant, now: int) -> Attempt | Outcome:
        if self.seals is None:
            envelope = decode_envelope(grant.envelope)
        else:
            envelope = self.seals.verify_envelope(grant.id, grant.envelope)
        declared = registry.find(envelope.t)
        if declared is None:
            return parked(grant, envelope.t, "no task of this name is known here")
        if envelope.x:
            try:
                envelope = (self.seals or OPEN).decrypt_envelope(grant.id, envelope)
            except KeyMissing as error:
                return parked(grant, envelope.t, str(error))
        task = variation(
            declared,
            envelope.o,
            queue_name=grant.queue,
            backend=self.alias,
            priority=grant.live.priority,
        )
        if grant.live.expires and now >= grant.live.expires:
            return self._expired(grant, task, now)
        try:
            args, kwargs = task.signature.load(envelope.a, envelope.k)
        except ArgumentsDoNotBind as error:
            quotes = self.seals is not None and self.seals.encrypts
            reason = "its arguments no longer fit the function" if quotes else str(error)
            return parked(grant, envelope.t, reason)
        return Attempt(self, grant, envelope, task, args, kwargs)

    def _quarantine(self, grant: Grant, error: Exception) -> Outcome:
        logger.error(
            "job %s of queue %s cannot be read and is quarantined as dead: %s",
            printable(grant.id),
            grant.queue,
            printable(str(error)),
            extra={"job_id": grant.id, "queue": grant.queue, "task": None, "attempt": 0},
        )
        failure = Failure(c=path_of(error), m=str(error)[:1000], w=self.holder, f=now_ms())
        line = self.encode(grant, failure)
        return Outcome(grant, Kind.QUARANTINED, line, self.dead_retention, now_ms())

    def _expired(self, grant: Grant, task: Task, now: int) -> Outcome:
        late = (now - grant.live.expires) / 1000
        error = JobExpired(f"not started in time: {late:.1f} s after its expiry")
        logger.warning("%s expired", task.module_path, extra=log_fields(grant, task))
        failure = Failure(c=path_of(error), m=str(error), w=self.holder, f=now_ms())
        return Outcome(
            grant,
            Kind.CANCELLED,
            self.encode(grant, failure),
            keep(task),
            now_ms(),
            task.module_path,
        )

    def encode(self, grant: Grant, failure: Failure) -> bytes:
        """The line that is kept of a failure."""
        return (self.seals or OPEN).seal_failure(grant.id, failure)


class Attempt:
    """One run of a job, from its start to its outcome."""

    __slots__ = (
        "_result",
        "args",
        "began",
        "envelope",
        "grant",
        "interrupted",
        "kwargs",
        "runner",
        "task",
    )

    def __init__(
        self,
        runner: Runner,
        grant: Grant,
        envelope: Envelope,
        task: Task,
        args: Any,
        kwargs: dict[str, Any],
    ) -> None:
        self.runner = runner
        self.grant = grant
        self.envelope = envelope
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.began = 0
        self.interrupted: Interruption | None = None  # set before it is raised in the code
        self._result: TaskResult | None = None

    @property
    def number(self) -> int:
        """1 for the first attempt."""
        return self.grant.live.attempt + 1

    # -- run -------------------------------------------------------------------------------------

    def run_here(self) -> Outcome:
        """Runs a task of either kind to its end; for the backend that has no worker."""
        return async_to_sync(self.run_async)() if self.task.is_async else self.run()

    def run(self) -> Outcome:
        """Runs a sync task on this thread."""
        try:
            self.begin()
            value = self.task.func(*self._arguments(), **self.kwargs)
            return self.succeed(value)
        except BaseException as error:
            return self.fail(error)

    async def run_async(self) -> Outcome:
        """Runs an async task on this loop."""
        try:
            self.begin()
            value = await self.task.func(*self._arguments(), **self.kwargs)
            return self.succeed(value)
        except BaseException as error:
            return self.fail(error)

    def begin(self) -> None:
        """Marks the start, and says so where somebody listens."""
        self.began = now_ms()
        if STARTED.is_heard:
            STARTED.signal.send_robust(sender=self.runner.sender, task_result=self.result)

    @property
    def result(self) -> TaskResult:
        """The job as Django's receivers and ``context`` see it; made when somebody looks."""
        if self._result is None:
            failures: list[Failure] = []
            if self.grant.errors:
                seals = self.runner.seals or OPEN
                failures = seals.open_failures(self.grant.id, self.grant.queue, self.grant.errors)
            self._result = build_result(
                self.task,
                self.grant.id,
                self.envelope,
                self.grant.live._replace(started=self.began),
                State.RUNNING,
                failures,
            )
        return self._result

    # -- outcome ---------------------------------------------------------------------------------

    def succeed(self, value: Any) -> Outcome:
        """The outcome of a value that was returned."""
        try:
            blob = self.task.signature.dump_value(value)
            if len(blob) > self.runner.result_limit:
                raise InvalidArgument(
                    f"the return value takes {len(blob):,} bytes and MAX_PAYLOAD allows "
                    f"{self.runner.result_limit:,}"
                )
        except InvalidArgument as error:
            # The work is done: running it again would only do it twice.
            return self._dead(error)
        self._end(State.SUCCEEDED, value=value)
        if logger.isEnabledFor(logging.INFO):
            self._log(logging.INFO, "succeeded in %.3f s", (now_ms() - self.began) / 1000)
        if self.runner.seals is not None:
            blob = self.runner.seals.seal_value(self.grant.id, blob)
        return self._outcome(Kind.SUCCEEDED, b"" if blob == b"null" else blob, keep(self.task))

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of what was raised. Called inside the except block, for the receivers."""
        if self.interrupted is not None and isinstance(error, STOPPED):
            error = self.interrupted.with_traceback(error.__traceback__)
        try:
            return self._judge(error)
        except Exception as problem:
            self._log(logging.ERROR, "failed in a way that has no answer", error=problem)
            return self._dead(problem)

    def _judge(self, error: BaseException) -> Outcome:
        if isinstance(error, Snooze):
            delay_ms = round(as_seconds(error.seconds, "Snooze") * 1000)
            return self._outcome(Kind.SNOOZED, b"", delay_ms)
        if isinstance(error, LeaseLost):
            return self.give_back()
        if isinstance(error, Cancel | CancelRequested):
            return self._cancelled(error)
        delay = self.task.policy.decide(self.number, error)
        if delay is None:
            return self._dead(error)
        self._log(logging.WARNING, "failed, runs again in %.1f s", delay, error=error)
        blob = self._encode(self._failure(error))
        return self._outcome(Kind.RETRYING, blob, round(delay * 1000))

    def give_back(self) -> Outcome:
        """The outcome of a run that nobody waits for any more: uncounted."""
        return self._outcome(Kind.RETURNED)

    def _dead(self, error: BaseException) -> Outcome:
        failure = self._failure(error)
        self._end(State.DEAD, failure)
        what = printable(f"{failure.c}: {failure.m}")
        self._log(logging.ERROR, "is dead after attempt %d: %s", self.number, what)
        return self._outcome(Kind.DEAD, self._encode(failure), self.runner.dead_retention)

    def _cancelled(self, error: BaseException) -> Outcome:
        reason = error if isinstance(error, Cancel) else JobCancelled("cancelled while it ran")
        failure = Failure(
            c=path_of(reason),
            m=self._mask(reason)(str(reason))[:1000],
            w=self.runner.holder,
            s=self.began,
            f=now_ms(),
            n=self.number,
        )
        self._end(State.CANCELLED, failure)
        return self._outcome(Kind.CANCELLED, self._encode(failure), keep(self.task))

    def _encode(self, failure: Failure) -> bytes:
        return self.runner.encode(self.grant, failure)

    def _outcome(self, kind: Kind, blob: bytes = b"", delay: int = 0) -> Outcome:
        began, envelope = self.began, self.envelope
        waited = -1
        if not self.grant.live.attempt and began:
            waited = max(began - max(envelope.e, envelope.r), 0)
        took = max(now_ms() - began, 0) if began else -1
        return Outcome(self.grant, kind, blob, delay, began, envelope.t, waited, took)

    def _failure(self, error: BaseException) -> Failure:
        mask = self._mask(error)
        text = mask("".join(format_exception(error)))
        if len(text) > MOST_TRACEBACK:
            half = MOST_TRACEBACK // 2
            text = f"{text[:half]}\n...\n{text[-half:]}"
        return Failure(
            c=path_of(error),
            m=mask(str(error))[:1000],
            b=text,
            w=self.runner.holder,
            s=self.began,
            f=now_ms(),
            n=self.number,
        )

    def _end(self, state: State, failure: Failure | None = None, value: Any = None) -> None:
        """Tells Django's receivers that the job is over."""
        announcement = SUCCEEDED if failure is None else FAILED
        if not (announcement.is_heard or self._result):
            return
        result = self.result
        if failure is not None:
            result.errors.append(TaskError(exception_class_path=failure.c, traceback=failure.b))
        for name, change in (
            ("_return_value", value),
            ("state", state),
            ("status", STATUS[state]),
            ("finished_at", to_datetime(now_ms())),
        ):
            object.__setattr__(result, name, change)
        if failure is not None and self._mask(sys.exception()):
            # Receivers log the exception they are called in, Django's own among them.
            try:
                raise Redacted(f"{failure.c}: {failure.m}")
            except Redacted as error:
                error.__context__ = None
                announcement.signal.send_robust(sender=self.runner.sender, task_result=result)
            return
        announcement.signal.send_robust(sender=self.runner.sender, task_result=result)

    def _mask(self, error: BaseException | None) -> Mask:
        """Hides in text what is sensitive: in the arguments, and where Django's mark says so."""
        hidden = self.task.signature.hidden
        values = [*hidden(self.envelope.a, self.envelope.k), *hidden(self.args, self.kwargs)]
        return Mask([*values, *(marked_values(error) if error is not None else ())])

    def _arguments(self) -> Any:
        if self.task.takes_context:
            return (TaskContext(task_result=self.result), *self.args)
        return self.args

    def _log(self, level: int, text: str, *args: Any, error: BaseException | None = None) -> None:
        mask = self._mask(error) if error is not None else None
        if error is not None and mask:
            text += "\n%s"  # a handler would format the exception as it is
            args = (*args, mask("".join(format_exception(error))).rstrip())
            error = None
        logger.log(
            level,
            f"%s {text}",
            self.task.module_path,
            *args,
            exc_info=error,
            extra=log_fields(self.grant, self.task),
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
