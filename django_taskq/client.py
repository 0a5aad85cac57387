"""What a program may ask of its jobs: enqueue, read, wait, cancel, retry; sync and async."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from .broker.aio import AsyncServer, async_server
from .broker.broker import Broker
from .broker.endings import Endings
from .broker.replies import Stored, cancelled_jobs, letters, stored_jobs
from .codec import OPEN
from .compat import TaskResultDoesNotExist
from .exceptions import (
    BrokerError,
    DuplicateJob,
    JobCancelled,
    NotReplicated,
    ResultTruncated,
    TaskCancelled,
    TaskFailed,
)
from .job import Failure, State
from .producer import Producer, commit_alias
from .reader import failure_of, read_result
from .recipe import Prepared
from .result import TaskResult
from .task import Task

LOOK_AGAIN = 5.0  # seconds after which a waiting get() reads again although nothing woke it
CANCELLED_BY = f"{JobCancelled.__module__}.{JobCancelled.__qualname__}"

# Whether this thread or coroutine is running a job.
running_job: ContextVar[bool] = ContextVar("running_job", default=False)


class Client:
    """The jobs of one backend, for the code that enqueues them and looks at them."""

    def __init__(
        self,
        broker: Broker,
        endings: Endings,
        producer: Producer,
    ) -> None:
        self.broker = broker
        self.endings = endings
        self.alias = producer.alias
        self.producer = producer

    # -- enqueue ---------------------------------------------------------------------------------

    def enqueue(self, task: Task, args: Any, kwargs: Any, on_commit: bool | str) -> TaskResult:
        """Enqueues one job, now or at the commit that ``on_commit`` names."""
        job = self.producer.prepare_one(task, args, kwargs)
        self._push([job], on_commit)
        return job.result

    def enqueue_now(
        self, task: Task, args: Any, kwargs: Any, along: dict[str, Any] | None = None
    ) -> TaskResult:
        """Enqueues one job, whatever transaction is open; ``along``: see Producer.recipe."""
        recipe = self.producer.recipe(task, along)
        job = self.producer.prepare_one(task, args, kwargs, recipe)
        self._push([job], False)
        return job.result

    def enqueue_many(self, task: Task, calls: Iterable[Any]) -> list[TaskResult]:
        """Enqueues a job per item."""
        jobs = self.producer.prepare_many(task, calls)
        if jobs:
            self._push(jobs, task.options.on_commit)
        return [job.result for job in jobs]

    def _push(self, jobs: list[Prepared], on_commit: bool | str) -> None:
        using = commit_alias(on_commit)
        if using is None:
            self.producer.push(jobs)
        else:
            self.producer.hold(jobs, using)

    async def aenqueue(self, task: Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job at once: async code does not see the sync side's transaction."""
        recipe = self.producer.recipe(task)  # here: another thread has another context
        prepare = partial(self.producer.prepare_one, task, args, kwargs, recipe)
        is_new = self.broker.known_number(task.queue_name) is None
        job = await asyncio.to_thread(prepare) if is_new else prepare()
        try:
            self.producer.raise_if_away([job])
            if is_new:  # with an outbox, ids are made without asking for the number
                await asyncio.to_thread(self.broker.number, job.queue)
            (answer,) = await self._async.enqueue(self.broker, job.queue, [job.draft])
            if answer.letter == "U":
                await asyncio.to_thread(self.producer.conclude, [job], [(job, answer)])
            else:
                self.producer.conclude([job], [(job, answer)])
        except NotReplicated as error:
            error.results = [job.result]
            raise
        except BrokerError as error:
            own = copy.copy(error)  # several callers share one failed round trip
            own.results = [job.result]
            if not self.producer.rescues:
                raise own from error
            await sync_to_async(self.producer.rescue)([job], own)
        return job.result

    async def aenqueue_on_commit(
        self, task: Task, args: Any, kwargs: Any, on_commit: bool | str
    ) -> TaskResult:
        """Enqueues one job at the commit of the sync thread's transaction."""
        return await sync_to_async(self.enqueue)(task, args, kwargs, on_commit)

    # -- read ------------------------------------------------------------------------------------

    def get_result(self, id: str) -> TaskResult:
        """The job of that id. Raises TaskResultDoesNotExist."""
        queue = self._queue_of(id)
        return self._read(id, queue, self.broker.fetch(queue, [id])[0])

    def results(self, queue: str, ids: Sequence[str]) -> list[TaskResult]:
        """Those of the jobs that are there."""
        jobs = zip(ids, self.broker.fetch(queue, ids), strict=True)
        return [self._read(id, queue, stored) for id, stored in jobs if stored.state is not None]

    async def aget_result(self, id: str) -> TaskResult:
        """As ``get_result()``."""
        queue = await self._aqueue_of(id)
        reply = await self._async.call(self.broker.fetch_call(queue, [id]))
        return await asyncio.to_thread(self._read, id, queue, stored_jobs(reply)[0])

    def _read(self, id: str, queue: str, stored: Stored) -> TaskResult:
        if stored.state is None:
            raise TaskResultDoesNotExist(id)
        return read_result(id, queue, self.alias, stored, self.broker.seals or OPEN)

    def _queue_of(self, id: str) -> str:
        number = number_in(id)
        queue = self.broker.queue_of(number) if number else None
        if queue is None:
            raise TaskResultDoesNotExist(id)
        return queue

    async def _aqueue_of(self, id: str) -> str:
        return await asyncio.to_thread(self._queue_of, id)

    # -- wait ------------------------------------------------------------------------------------

    def wait(self, result: TaskResult, timeout: float | None) -> Any:
        """The job's value once it ended; see TaskResult.get."""
        warn_inside_a_job()
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = threading.Event()
        with self.endings.waiting(self._channel(result), result.id, ended.set):
            while True:
                ended.clear()
                self._refresh_if_there(result)
                if result.is_ended:
                    return value_of(result)
                ended.wait(rest(deadline, result))

    async def await_(self, result: TaskResult, timeout: float | None) -> Any:
        """As ``wait()``, without blocking the event loop."""
        warn_inside_a_job()
        deadline = None if timeout is None else time.monotonic() + timeout
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(ended.set)

        with self.endings.waiting(self._channel(result), result.id, wake):
            while True:
                ended.clear()
                try:
                    await result.arefresh()
                except TaskResultDoesNotExist:
                    self._gone(result)
                if result.is_ended:
                    return value_of(result)
                left = rest(deadline, result)
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), left)

    def _refresh_if_there(self, result: TaskResult) -> None:
        try:
            result.refresh()
        except TaskResultDoesNotExist:
            self._gone(result)

    def _gone(self, result: TaskResult) -> None:
        """A job that waits for a commit is not there yet; one that was is there no more."""
        if result.enqueued_at is not None:
            raise TaskFailed(
                f"job {result.id} is gone: it ended and its retention is over", result
            ) from None

    def _channel(self, result: TaskResult) -> str:
        return self.broker.key(result.task.queue_name, "ended")

    # -- steer -----------------------------------------------------------------------------------

    def stop(self, result: TaskResult, order: str) -> bool:
        """See TaskResult.cancel and TaskResult.kill; ``order`` is the one or the other."""
        return self.broker.cancel(*self._cancellation(result), order)[0].verdict in "CR"

    async def astop(self, result: TaskResult, order: str) -> bool:
        """As ``stop()``."""
        asked = self._cancellation(result)
        answer = cancelled_jobs(await self._async.call(self.broker.cancel_call(*asked, order)))[0]
        if answer.verdict == "R":
            message = self.broker.stop_message(order, asked[0], result.id, answer)
            await self._async.command("PUBLISH", self.broker.control, message)
        return answer.verdict in "CR"

    def _cancellation(self, result: TaskResult) -> tuple[str, list[tuple[str, str]], bytes, int]:
        task = result.task
        failure = Failure(c=CANCELLED_BY, m="cancelled before it ran")
        line = self.broker.notice(task.queue_name, failure)
        keep = round((task.options.retention or 0) * 1000)
        return task.queue_name, [(result.id, task.module_path)], line, keep

    def retry(self, result: TaskResult) -> bool:
        """See TaskResult.retry."""
        return is_retried(result, self.broker.retry(result.task.queue_name, [result.id]))

    async def aretry(self, result: TaskResult) -> bool:
        """As ``retry()``."""
        call = self.broker.retry_call(result.task.queue_name, [result.id])
        return is_retried(result, letters(await self._async.call(call)))

    @property
    def _async(self) -> AsyncServer:
        return async_server(self.broker.server)


def warn_inside_a_job() -> None:
    """A job that waits for another keeps a slot from it."""
    if running_job.get():
        warnings.warn(
            "result.get() inside a job keeps a slot busy while it waits, and can starve the job "
            "it waits for; let the other task enqueue what comes next instead",
            RuntimeWarning,
            stacklevel=5,
        )


def is_retried(result: TaskResult, letter: str) -> bool:
    """What retry() returns. Raises DuplicateJob."""
    if letter == "L":
        raise DuplicateJob(f"job {result.id} cannot run again: another job has its lock")
    return letter == "O"


def number_in(id: str) -> int | None:
    """The queue's number at the end of a job id."""
    number = str(id).rpartition(".")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 9 else None


def rest(deadline: float | None, result: TaskResult) -> float:
    """How long to wait before looking again. Raises TimeoutError past the deadline."""
    if deadline is None:
        return LOOK_AGAIN
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"job {result.id} has not ended in time; it is {result.state}")
    return min(left, LOOK_AGAIN)


def value_of(result: TaskResult) -> Any:
    """The value of an ended job. Raises TaskFailed, TaskCancelled or ResultTruncated."""
    if result.state is State.SUCCEEDED:
        if isinstance(result.return_value, ResultTruncated):
            raise result.return_value
        return result.return_value
    error = TaskCancelled if result.state is State.CANCELLED else TaskFailed
    raise error(failure_of(result), result)
