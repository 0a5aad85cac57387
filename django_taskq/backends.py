"""The backends for Django's TASKS setting: Redis, and two for tests and development."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import connections

from . import compat, registry
from .asks import queue_gates
from .broker.broker import Broker, Limits
from .broker.connection import Server, get_server
from .broker.endings import Endings
from .broker.replies import NEW, Answer
from .broker.waits import wait_for
from .client import Client, value_of
from .clock import now_ms, to_datetime
from .codec import decode_failures
from .compat import (
    BaseTaskBackend,
    InvalidTask,
    TaskError,
    TaskResultDoesNotExist,
    TaskResultStatus,
)
from .conf import QUEUE_NAME, Options, Problem
from .context.carrier import carrier_for
from .execution import Attempt, Runner
from .job import Grant, Kind, Live, Outcome, State, new_id
from .outbox.checks import problems_of_outbox
from .outbox.producer import OutboxProducer
from .producer import Producer
from .recipe import Prepared
from .result import STATUS, TaskResult
from .sealing import Sealing
from .signals import ENQUEUED
from .spelling import nearest
from .task import Task, adopt, variation
from .timetable import Timetable


@lru_cache(maxsize=4096)  # asked at every enqueue
def check_function(func: Any) -> None:
    """Raises InvalidTask for a function that Django lets pass and that cannot be a task."""
    name = getattr(func, "__qualname__", "")
    if "<lambda>" in name:
        raise InvalidTask("a lambda cannot be a task: declare a function at a module's level")
    if "." in name and "<locals>" not in name:  # Django says the rest
        raise InvalidTask(f"{name} is a method: a task is a function at a module's level")
    if isgeneratorfunction(func) or isasyncgenfunction(func):
        raise InvalidTask(f"{name} is a generator: nobody would take what it yields")


class TaskqBackend(BaseTaskBackend):  # type: ignore[misc]
    """What the three backends share: the task class, the options, their checks."""

    task_class = Task
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.conf = Options.parse(alias, params)
        self.queues = set(self.conf.queues)
        self.task_defaults = self.conf.task_defaults
        self.carrier = carrier_for(self.conf.context)
        self._valid: dict[int, Task] = {}  # declared tasks that were validated here

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """What is wrong in this alias's settings. Opens no connection."""
        return [
            Error(f"TASKS[{self.alias!r}]: {p.message}", hint=p.hint, obj=None, id="taskq.E001")
            for p in (*self.conf.problems, *self._problems())
        ]

    def _problems(self) -> list[Problem]:
        """What the settings themselves do not show."""
        problem = self.carrier.problem()
        return [Problem(problem, "No job can be enqueued until then.")] if problem else []

    def validate_task(self, task: compat.Task) -> None:
        """Raises InvalidTask for a task that this backend cannot take."""
        check_function(task.func)
        if not isinstance(task.priority, int | float):
            raise InvalidTask(f"priority={task.priority!r}: must be a whole number")
        super().validate_task(task)
        if not self.queues and not QUEUE_NAME.fullmatch(str(task.queue_name)):
            raise InvalidTask(
                f"queue_name={task.queue_name!r}: use 1 to 64 letters, digits, '_', '.' and '-'"
            )

    def _mine(self, task: compat.Task) -> Task:
        """The task as ours, if this backend may run it. Raises InvalidTask.

        A Task of ours was validated when it was made; only the settings may have changed since,
        and then this is another backend object.
        """
        if self._valid.get(id(task)) is not task:
            self.validate_task(task)
            if isinstance(task, Task) and registry.find(task.module_path) is task:
                self._valid[id(task)] = task
        return task if isinstance(task, Task) else adopt(task)

    def _pushed(self, results: Sequence[TaskResult]) -> None:
        if ENQUEUED.is_heard:
            for result in results:
                ENQUEUED.signal.send(sender=type(self), task_result=result)


class RedisBackend(TaskqBackend):
    """Jobs in Redis or Valkey, run by ``manage.py runworker``."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        conf = self.conf
        self.server = get_server(conf.url, conf.connect_timeout, conf.socket_timeout)
        self.broker = get_broker(self.server, conf)
        make = OutboxProducer if conf.outbox else Producer
        producer = make(self.broker, alias, conf.max_payload, self._pushed, self.carrier)
        self._client = Client(self.broker, get_endings(self.server), producer)

    def _problems(self) -> list[Problem]:
        found = super()._problems()
        if self.conf.mirror_database and self.conf.mirror_database not in connections.settings:
            where = f"OPTIONS['MIRROR_DATABASE']: no database {self.conf.mirror_database!r}"
            hint = nearest(self.conf.mirror_database, connections.settings)
            found = [*found, Problem(where, hint[0].upper() + hint[1:])]
        return found + problems_of_outbox(self.conf.queues) if self.conf.outbox else found

    def enqueue(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job, at the commit where ``on_commit`` says so."""
        mine = self._mine(task)
        return self._client.enqueue(mine, args, kwargs, mine.options.on_commit)

    def enqueue_on_commit(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job at the open transaction's commit."""
        mine = self._mine(task)
        return self._client.enqueue(mine, args, kwargs, mine.options.on_commit or True)

    def enqueue_many(self, task: compat.Task, calls: Iterable[Any]) -> list[TaskResult]:
        """Enqueues a job per item."""
        return self._client.enqueue_many(self._mine(task), calls)

    async def aenqueue(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job at once, without a thread."""
        return await self._client.aenqueue(self._mine(task), args, kwargs)

    async def aenqueue_on_commit(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job at the commit of the sync thread's transaction."""
        mine = self._mine(task)
        return await self._client.aenqueue_on_commit(
            mine, args, kwargs, mine.options.on_commit or True
        )

    def get_result(self, result_id: str) -> TaskResult:
        """The job of that id. Raises TaskResultDoesNotExist."""
        return self._client.get_result(result_id)

    async def aget_result(self, result_id: str) -> TaskResult:
        """As ``get_result()``."""
        return await self._client.aget_result(result_id)

    def announce(self, queue: str, ids: Sequence[str]) -> None:
        """Tells Django's receivers of jobs that another process enqueued and this one pushed."""
        if ENQUEUED.is_heard:
            self._pushed(self._client.results(queue, ids))

    def wait(self, result: TaskResult, timeout: float | None) -> Any:
        """See TaskResult.get."""
        return self._client.wait(result, timeout)

    async def await_(self, result: TaskResult, timeout: float | None) -> Any:
        """See TaskResult.aget."""
        return await self._client.await_(result, timeout)

    def cancel(self, result: TaskResult) -> bool:
        """See TaskResult.cancel."""
        return self._client.stop(result, "cancel")

    async def acancel(self, result: TaskResult) -> bool:
        """See TaskResult.acancel."""
        return await self._client.astop(result, "cancel")

    def kill(self, result: TaskResult) -> bool:
        """See TaskResult.kill."""
        return self._client.stop(result, "kill")

    async def akill(self, result: TaskResult) -> bool:
        """See TaskResult.akill."""
        return await self._client.astop(result, "kill")

    def retry(self, result: TaskResult) -> bool:
        """See TaskResult.retry."""
        return self._client.retry(result)

    async def aretry(self, result: TaskResult) -> bool:
        """See TaskResult.aretry."""
        return await self._client.aretry(result)

    @property
    def timetable(self) -> Timetable:
        """The schedules of this backend's tasks, to look at and to steer."""
        return Timetable(self.broker, self.alias, type(self), self.conf.max_payload)


# Django makes a backend per thread and context; what they use is one per process.
_brokers: dict[tuple[Any, ...], Broker] = {}
_endings: dict[Server, Endings] = {}


def get_broker(server: Server, conf: Options) -> Broker:
    """This process's one Broker for a server, prefix, limits, durability, seals and gates."""
    keep = conf.keep
    limits = Limits(keep.succeeded, keep.dead, keep.cancelled, round(conf.dead_retention * 1000))
    durability = (conf.durability, conf.replicas, conf.durability_timeout)
    sealing = Sealing.of(conf)
    gates = queue_gates(conf.limits)
    key = (server, conf.prefix, limits, durability, sealing, *sorted(gates.items()))
    found = _brokers.get(key)
    if found is None:
        wait = wait_for(*durability, server.socket_timeout)
        seals = sealing.seals(conf.prefix)
        broker = Broker(server, conf.prefix, limits, durability=wait, seals=seals, gates=gates)
        found = _brokers.setdefault(key, broker)
    return found


def get_endings(server: Server) -> Endings:
    """This process's one subscriber for a server."""
    found = _endings.get(server)
    return found or _endings.setdefault(server, Endings(server))


class _Numberless(Broker):
    """A broker that only names: for the backends that have no Redis."""

    def __init__(self) -> None:
        pass

    def number(self, queue: str) -> int:
        return 0


class LocalBackend(TaskqBackend):
    """What the two backends without Redis share: results held in memory."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.results: list[TaskResult] = []
        self._producer = Producer(
            _Numberless(), alias, self.conf.max_payload, self._pushed, self.carrier
        )

    def enqueue(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Takes one job, at once: there is no worker that could be too early."""
        mine = self._mine(task)
        job = self._producer.prepare_one(mine, args, kwargs)
        if mine.job_id is not None and any(known.id == job.result.id for known in self.results):
            self._producer.conclude([job], [(job, Answer("E"))])
            return job.result
        return self._take(job)

    enqueue_on_commit = enqueue

    def enqueue_many(self, task: compat.Task, calls: Iterable[Any]) -> list[TaskResult]:
        """Takes a job per item."""
        return [self._take(job) for job in self._producer.prepare_many(self._mine(task), calls)]

    async def aenqueue_on_commit(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Takes one job."""
        return await self.aenqueue(task, args, kwargs)  # type: ignore[no-any-return]

    def get_result(self, result_id: str) -> TaskResult:
        """The job of that id. Raises TaskResultDoesNotExist."""
        for result in self.results:
            if result.id == result_id:
                return result
        raise TaskResultDoesNotExist(result_id)

    async def aget_result(self, result_id: str) -> TaskResult:
        """As ``get_result()``."""
        return self.get_result(result_id)

    def wait(self, result: TaskResult, timeout: float | None) -> Any:
        """The value of an ended job; nobody would run it while we wait."""
        if not result.is_ended:
            raise TimeoutError(f"job {result.id} is {result.state}, and this backend has no worker")
        return value_of(result)

    async def await_(self, result: TaskResult, timeout: float | None) -> Any:
        """As ``wait()``."""
        return self.wait(result, timeout)

    def cancel(self, result: TaskResult) -> bool:
        """Cancels a job that has not ended."""
        stored = self.get_result(result.id)
        if stored.is_ended:
            return False
        for each in (stored, result):
            set_state(each, State.CANCELLED)
        return True

    async def acancel(self, result: TaskResult) -> bool:
        """As ``cancel()``."""
        return self.cancel(result)

    kill, akill = cancel, acancel  # there is no process to end

    def retry(self, result: TaskResult) -> bool:
        """There is nobody to run it again."""
        return False

    async def aretry(self, result: TaskResult) -> bool:
        """As ``retry()``."""
        return False

    def clear(self) -> None:
        """Forgets all results."""
        self.results.clear()

    def _take(self, job: Prepared) -> TaskResult:
        raise NotImplementedError


class DummyBackend(LocalBackend):
    """Runs nothing and keeps the results, for tests that look at what was enqueued."""

    def _take(self, job: Prepared) -> TaskResult:
        self._producer.conclude([job], [(job, NEW)])
        self.results.append(job.result)
        return deepcopy(job.result)


class ImmediateBackend(LocalBackend):
    """Runs every job inside ``enqueue()``, once, after its arguments went through the codec.

    A failed attempt ends the job: nothing is there to try it again later.
    """

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.worker_id = new_id()

    def _take(self, job: Prepared) -> TaskResult:
        self._producer.conclude([job], [(job, NEW)])
        self.results.append(job.result)
        del self.results[:-1000]
        if job.result.state is State.SCHEDULED:
            return job.result
        runner = Runner(self.alias, self.worker_id, type(self))
        live = Live(fence=1, started=now_ms(), holder=self.worker_id, priority=job.draft.priority)
        grant = Grant(job.queue, job.result.id, job.draft.envelope, live)
        attempt = runner.prepare(grant, now_ms())
        assert isinstance(attempt, Attempt), attempt
        only = only_attempt(attempt)
        self._note(job.result, only.run_here())
        object.__setattr__(job.result, "report", only.report)
        return job.result

    def _note(self, result: TaskResult, outcome: Outcome) -> None:
        """Writes into the result what a worker would have written into Redis."""
        began = to_datetime(outcome.started)
        object.__setattr__(result, "started_at", began)
        object.__setattr__(result, "last_attempted_at", began)
        result.worker_ids.append(self.worker_id)
        if outcome.kind is Kind.SUCCEEDED:
            value = result.task.signature.load_value(outcome.blob or b"null")
            object.__setattr__(result, "_return_value", value)
        elif outcome.kind is not Kind.SNOOZED:
            result.errors.extend(
                TaskError(exception_class_path=failure.c, traceback=failure.b or failure.m)
                for failure in decode_failures(outcome.blob)
            )
        set_state(result, ENDS[outcome.kind])


ENDS = {
    Kind.SUCCEEDED: State.SUCCEEDED,
    Kind.DEAD: State.DEAD,
    Kind.CANCELLED: State.CANCELLED,
    Kind.SNOOZED: State.SCHEDULED,
}


class _OnlyAttempt(Attempt):
    """An attempt inside ``enqueue()``: Ctrl-C is meant for the caller, not for the job."""

    __slots__ = ()

    def fail(self, error: BaseException) -> Outcome:
        if isinstance(error, KeyboardInterrupt):
            raise error
        return super().fail(error)


def only_attempt(attempt: Attempt) -> Attempt:
    """The attempt as the only one that its job gets: nothing would make the next."""
    task = variation(attempt.task, {}, policy=replace(attempt.task.policy, max_attempts=1))
    only = _OnlyAttempt(attempt.runner, attempt.grant, attempt.envelope, task)
    only.args, only.kwargs = attempt.args, attempt.kwargs
    return only


def set_state(result: TaskResult, state: State) -> None:
    """Moves a result that only lives in memory."""
    object.__setattr__(result, "state", state)
    object.__setattr__(result, "status", STATUS[state])
    if STATUS[state] in (TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL):
        object.__setattr__(result, "finished_at", to_datetime(now_ms()))
