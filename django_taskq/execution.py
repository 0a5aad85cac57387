"""One attempt at a job: resolve, bind, run, outcome. Touches neither Redis nor models.

A step either returns the attempt for the next step or ends it with an Outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import cached_property
from typing import Any

from asgiref.sync import async_to_sync

from . import queries, registry
from .broker.broker import Broker
from .clock import now_ms
from .codec import OPEN, Seals, decode_envelope, printable
from .compat import TaskContext, task_backends
from .context.carrier import Carrier
from .exceptions import ArgumentsDoNotBind, Interruption, JobExpired, KeyMissing
from .job import Envelope, Failure, Grant, Kind, Outcome, State
from .outcomes import failed, given_back, keep, log_fields, parked, path_of, succeeded
from .reader import build_result
from .report import Report
from .reporting import attempt_here
from .result import TaskResult
from .signals import STARTED
from .task import Task, variation

logger = logging.getLogger("django_taskq.job")

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
        self.reported: Callable[[Attempt], None] | None = None  # told when a job says something
        queries.watch()

    @cached_property
    def carrier(self) -> Carrier:
        """What restores that which goes along with jobs."""
        carrier: Carrier = task_backends[self.alias].carrier
        return carrier

    @cached_property
    def release(self) -> str:
        """The project's, "" where nobody says it."""
        release: str = task_backends[self.alias].conf.release
        return release

    @classmethod
    def of(
        cls, broker: Broker, alias: str, holder: str, sender: type, result_limit: int = 1 << 20
    ) -> Runner:
        """A runner with what the broker says of retention and seals."""
        return cls(alias, holder, sender, broker.limits.dead_retention, result_limit, broker.seals)

    # -- admit and bind --------------------------------------------------------------------------

    def prepare(self, grant: Grant, now: int) -> Attempt | Outcome:
        """The attempt that a grant asks for, or its end where it cannot be run. ``now``: ms."""
        attempt = self.admit(grant, now)
        return attempt if isinstance(attempt, Outcome) else attempt.bind() or attempt

    def admit(self, grant: Grant, now: int) -> Attempt | Outcome:
        """The same without its arguments: up to here no code of the project is called."""
        try:
            return self._admit(grant, now)
        except Exception as error:
            return self.quarantine(grant, error)

    def _admit(self, grant: Grant, now: int) -> Attempt | Outcome:
        if self.seals is None:
            envelope = decode_envelope(grant.envelope)
        else:
            envelope = self.seals.verify_envelope(grant.id, grant.envelope)
        declared = registry.find(envelope.t)
        if declared is None:
            return parked(grant, envelope.t, "no task of this name is known here")
        if envelope.is_encrypted:
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
        return Attempt(self, grant, envelope, task)

    def quarantine(self, grant: Grant, error: Exception) -> Outcome:
        """The end of a job that nobody can make sense of."""
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
        line = self.encode(grant, failure)
        return Outcome(grant, Kind.CANCELLED, line, keep(task), now_ms(), task.module_path)

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
        "queries",
        "report",
        "runner",
        "task",
    )

    def __init__(
        self,
        runner: Runner,
        grant: Grant,
        envelope: Envelope,
        task: Task,
    ) -> None:
        self.runner = runner
        self.grant = grant
        self.envelope = envelope
        self.task = task
        self.args: Any = ()
        self.kwargs: dict[str, Any] = {}
        self.began = 0
        self.queries = 0  # of a database, so far
        self.interrupted: Interruption | None = None  # set before it is raised in the code
        self.report: Report | None = None  # what its code said of itself
        self._result: TaskResult | None = None

    @property
    def number(self) -> int:
        """1 for the first attempt."""
        return self.grant.live.attempt + 1

    def bind(self) -> Outcome | None:
        """Makes the arguments; the job's end where that cannot be done. Validators may run here."""
        envelope, runner = self.envelope, self.runner
        try:
            self.args, self.kwargs = self.task.signature.load(envelope.a, envelope.k)
        except ArgumentsDoNotBind as error:
            quotes = runner.seals is not None and runner.seals.encrypts
            reason = "its arguments no longer fit the function" if quotes else str(error)
            return parked(self.grant, envelope.t, reason)
        except Exception as error:
            return runner.quarantine(self.grant, error)
        return None

    # -- run -------------------------------------------------------------------------------------

    def run_here(self) -> Outcome:
        """Runs a task of either kind to its end; for the backend that has no worker."""
        run = async_to_sync(self.run_async) if self.task.is_async else self.run
        return copy_context().run(run)  # the caller may be a job itself

    def run(self) -> Outcome:
        """Runs a sync task on this thread."""
        if not self.envelope.c:
            return self._run()
        outcome = None
        try:
            with self._restored():
                outcome = self._run()
        except BaseException as error:
            outcome = outcome or self.fail(error)
        return outcome

    async def run_async(self) -> Outcome:
        """Runs an async task on this loop."""
        if not self.envelope.c:
            return await self._run_async()
        outcome = None
        try:
            with self._restored():
                outcome = await self._run_async()
        except BaseException as error:
            outcome = outcome or self.fail(error)
        return outcome

    def _restored(self) -> AbstractContextManager[None]:
        """A block in which what goes along with the job is as it was at the enqueue."""
        self.began = now_ms()
        return self.runner.carrier.restored(self.envelope.c, log_fields(self.grant, self.task))

    def _run(self) -> Outcome:
        try:
            self.begin()
            value = self.task.func(*self._arguments(), **self.kwargs)
            return self.succeed(value)
        except BaseException as error:
            return self.fail(error)

    async def _run_async(self) -> Outcome:
        try:
            self.begin()
            value = await self.task.func(*self._arguments(), **self.kwargs)
            return self.succeed(value)
        except BaseException as error:
            return self.fail(error)

    def begin(self) -> None:
        """Marks the start, and says so where somebody listens."""
        self.began = now_ms()
        attempt_here.set(self)
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

    @property
    def is_seen(self) -> bool:
        """Whether somebody has the result, and is to find in it what became of the job."""
        return self._result is not None

    def reported(self) -> None:
        """Something new stands in ``report``."""
        if self.runner.reported is not None:
            self.runner.reported(self)

    # -- outcome ---------------------------------------------------------------------------------

    def succeed(self, value: Any) -> Outcome:
        """The outcome of a value that was returned."""
        return succeeded(self, value)

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of what was raised. Called inside the except block, for the receivers."""
        return failed(self, error)

    def give_back(self) -> Outcome:
        """The outcome of a run that nobody waits for any more: uncounted."""
        return given_back(self)

    def _arguments(self) -> Any:
        if self.task.takes_context:
            return (TaskContext(task_result=self.result), *self.args)
        return self.args
