"""From a task and its arguments to a job in Redis: made, held back until the commit, pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import groupby
from typing import Any, NamedTuple

from django.db import connections, transaction

from .broker.broker import CHUNK, Broker, Draft, chunks
from .clock import now_ms, to_datetime, to_ms
from .codec import encode_envelope
from .compat import InvalidTask, TaskResultStatus
from .exceptions import BrokerError, BrokerUnavailable, InvalidArgument
from .job import Envelope, State, new_id, new_ids
from .result import TaskResult
from .task import Task


class Prepared(NamedTuple):
    """A job that is ready to be pushed, and the result its caller holds."""

    queue: str
    draft: Draft
    result: TaskResult
    enqueued: int  # ms


class Producer:
    """Makes and pushes the jobs of one backend.

    ``pushed`` is called with each result once it is in Redis.
    """

    def __init__(
        self,
        broker: Broker,
        alias: str,
        max_payload: int,
        pushed: Callable[[TaskResult], None],
    ) -> None:
        self.broker = broker
        self.alias = alias
        self.max_payload = max_payload
        self.pushed = pushed

    # -- making ----------------------------------------------------------------------------------

    def prepare(
        self, task: Task, args: tuple[Any, ...], kwargs: dict[str, Any], id: str
    ) -> Prepared:
        """A job of ``task``; raises InvalidArgument or PayloadTooLarge, and sends nothing."""
        plain_args, plain_kwargs = task.signature.dump(args, kwargs)
        now = now_ms()
        due = run_at = 0
        if task.run_after is not None:
            due = run_at = max(to_ms(task.run_after), 1)
        elif task.delay is not None:
            due = -round(task.delay * 1000)
            run_at = now - due
        envelope = Envelope(
            t=task.module_path, e=now, a=plain_args, k=plain_kwargs, o=task.overrides, r=run_at
        )
        expires = task.options.expires_in
        draft = Draft(
            id,
            encode_envelope(envelope, self.max_payload),
            int(task.priority),
            due,
            round(expires * 1000) if expires else 0,
        )
        result = TaskResult(
            task=task,
            id=id,
            status=TaskResultStatus.READY,
            state=State.SCHEDULED if run_at > now else State.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=plain_args,
            kwargs=plain_kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        return Prepared(task.queue_name, draft, result, now)

    def prepare_one(self, task: Task, args: Any, kwargs: Any) -> Prepared:
        """The one job of an ``enqueue()``. Raises BrokerError with what can be sent later."""
        name = new_id() if task.job_id is None else task.job_id
        try:
            suffix = f".{self.broker.number(task.queue_name)}"
        except BrokerError as error:
            raise unsent(error, [self.prepare(task, args, kwargs, name)]) from error
        return self.prepare(task, args, kwargs, name if name.endswith(suffix) else name + suffix)

    def prepare_many(self, task: Task, calls: Iterable[Any]) -> list[Prepared]:
        """The jobs of an ``enqueue_many()``."""
        if task.job_id is not None:
            raise InvalidTask("enqueue_many() cannot give several jobs one id")
        items = [arguments(item, at) for at, item in enumerate(calls)]
        names = new_ids(len(items))

        def prepared(suffix: str) -> list[Prepared]:
            pairs = zip(items, names, strict=True)
            return [self.prepare(task, *item, name + suffix) for item, name in pairs]

        try:
            number = self.broker.number(task.queue_name)
        except BrokerError as error:
            raise unsent(error, prepared("")) from error
        return prepared(f".{number}")

    # -- pushing ---------------------------------------------------------------------------------

    def push(self, jobs: Sequence[Prepared]) -> None:
        """Sends the jobs, in order, one round trip per queue and 500.

        Raises BrokerUnavailable or BrokerFull with the results in ``error.results``.
        """
        try:
            for queue, run in groupby(jobs, key=queue_of):
                for batch in chunks(list(run), CHUNK):
                    letters = self.broker.enqueue(queue, [job.draft for job in batch])
                    self.settle(batch, letters)
        except BrokerError as error:
            error.results = [job.result for job in jobs]
            raise

    def settle(self, jobs: Sequence[Prepared], letters: str) -> None:
        """Tells the results what became of their jobs."""
        for job, letter in zip(jobs, letters, strict=True):
            object.__setattr__(job.result, "enqueued_at", to_datetime(job.enqueued))
            if letter == "E" and job.result.task.job_id is not None:
                object.__setattr__(job.result, "duplicate", True)
            else:  # a random id that exists is this very job: the reply to its push was lost
                self.pushed(job.result)

    def hold(self, jobs: Sequence[Prepared], using: str) -> None:
        """Pushes the jobs when the transaction of ``using`` commits.

        Joins the push before it only where that one is last in line and of the same savepoints:
        one that survives a rolled-back savepoint must not take others along, nor be lost by it.
        """
        connection = connections[using]
        if connection.run_on_commit and not is_in_test_case(connection):
            savepoints, callback, *_ = connection.run_on_commit[-1]
            if (
                isinstance(callback, Push)
                and callback.producer.broker is self.broker
                and savepoints == set(connection.savepoint_ids)
            ):
                callback.jobs.extend(jobs)
                return
        transaction.on_commit(Push(self, list(jobs)), using=using)


def is_in_test_case(connection: Any) -> bool:
    """Whether Django's TestCase holds the transaction open.

    Its captureOnCommitCallbacks() counts callbacks: a job that joined an earlier one would never
    be seen by it, nor be pushed.
    """
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


class Push:
    """What a transaction calls when it committed."""

    def __init__(self, producer: Producer, jobs: list[Prepared]) -> None:
        self.producer = producer
        self.jobs = jobs

    def __call__(self) -> None:
        self.producer.push(self.jobs)


def unsent(error: BrokerError, jobs: Sequence[Prepared]) -> BrokerError:
    """The error of a server that could not be asked for the queue's number.

    No job was sent. The ids lack the number; they get it when they are sent under ``using(id=)``.
    """
    own = copy(error)
    own.results = [job.result for job in jobs]
    if isinstance(own, BrokerUnavailable):
        own.maybe_sent = False
    return own


def queue_of(job: Prepared) -> str:
    """For groupby."""
    return job.queue


def arguments(item: Any, at: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of one item of ``enqueue_many()``."""
    if isinstance(item, dict):
        return (), item
    if isinstance(item, tuple | list):
        return tuple(item), {}
    raise InvalidArgument(
        f"enqueue_many(): item {at} is {type(item).__name__}: "
        "give a tuple or list of arguments, or a dict of keyword arguments"
    )


def commit_alias(on_commit: bool | str) -> str | None:
    """The database whose commit an enqueue waits for; None: it does not wait.

    Of several databases with an open transaction: the one named, else "default", else the only
    one. Raises InvalidTask where that leaves a choice.
    """
    if on_commit is False:
        return None
    atomic = [c.alias for c in connections.all(initialized_only=True) if c.in_atomic_block]
    if isinstance(on_commit, str):
        if on_commit not in connections:
            raise InvalidTask(f"on_commit={on_commit!r}: there is no such database")
        return on_commit if on_commit in atomic else None
    if not atomic:
        return None
    if "default" in atomic:
        return "default"
    if len(atomic) == 1:
        return atomic[0]
    raise InvalidTask(
        f"transactions are open on {', '.join(sorted(atomic))}: "
        "say whose commit to wait for, e.g. on_commit='" + sorted(atomic)[0] + "'"
    )
