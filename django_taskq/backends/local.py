"""The two backends without Redis, for tests and development."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from .. import compat
from ..broker.broker import Broker
from ..broker.replies import NEW, Answer
from ..client import value_of
from ..clock import now_ms, to_datetime
from ..codec import decode_failures
from ..compat import TaskError, TaskResultDoesNotExist, TaskResultStatus
from ..execution import Attempt, Runner
from ..job import Grant, Kind, Live, Outcome, State, new_id
from ..producer import Producer
from ..recipe import Prepared
from ..result import STATUS, TaskResult
from ..task import variation
from .base import TaskqBackend


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
