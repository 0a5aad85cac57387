"""From a task and its arguments to a job in Redis: made, held back until the commit, pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from django.db import connections, transaction

from .broker.broker import Broker, Draft
from .clock import now_ms, to_datetime, to_ms
from .codec import encode_envelope
from .compat import InvalidTask, TaskResultStatus
from .exceptions import BrokerError, InvalidArgument
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
        """The one job of an ``enqueue()``."""
        return self.prepare(task, args, kwargs, self.id_of(task))

    def prepare_many(self, task: Task, calls: Iterable[Any]) -> list[Prepared]:
        """The jobs of an ``enqueue_many()``."""
        if task.job_id is not None:
            raise InvalidTask("enqueue_many() cannot give several jobs one id")
        items = list(calls)
        number = self.broker.number(task.queue_name)
        return [
            self.prepare(task, *arguments(item, at), f"{name}.{number}")
            for at, (item, name) in enumerate(zip(items, new_ids(len(items)), strict=True))
        ]

    def id_of(self, task: Task) -> str:
        """The job's id: random or the caller's own, with the queue's number behind a dot."""
        suffix = f".{self.broker.number(task.queue_name)}"
        if task.job_id is None:
            return new_id() + suffix
        return task.job_id if task.job_id.endswith(suffix) else task.job_id + suffix

    # -- pushing ---------------------------------------------------------------------------------

    def push(self, jobs: Sequence[Prepared]) -> None:
        """Sends the jobs, in order, one round trip per queue and 500.

        Raises BrokerUnavailable or BrokerFull with the results in ``error.results``.
        """
        sent = 0
        try:
            for queue, run in groupby(jobs, key=queue_of):
                batch = list(run)
                letters = self.broker.enqueue(queue, [job.draft for job in batch])
                self.settle(batch, letters)
                sent += len(batch)
        except BrokerError as error:
            error.results = [job.result for job in jobs]
            raise

    def settle(self, jobs: Sequence[Prepared], letters: str) -> None:
        """Tells the results what became of their jobs."""
        for job, letter in zip(jobs, letters, strict=True):
            set_field = object.__setattr__
            if letter == "E":
                set_field(job.result, "duplicate", True)
            set_field(job.result, "enqueued_at", to_datetime(job.enqueued))
            self.pushed(job.result)

    def hold(self, jobs: Sequence[Prepared], using: str) -> None:
        """Pushes the jobs when the transaction of ``using`` commits.

        Joins the push before it only where that one is last in line and of the same savepoints:
        one that survives a rolled-back savepoint must not take others along, nor be lost by it.
        """
        connection = connections[using]
        if connection.run_on_commit:
            savepoints, callback, *_ = connection.run_on_commit[-1]
            if (
                isinstance(callback, Push)
                and callback.producer.broker is self.broker
                and savepoints == set(connection.savepoint_ids)
            ):
                callback.jobs.extend(jobs)
                return
        transaction.on_commit(Push(self, list(jobs)), using=using)


class Push:
    """What a transaction calls when it committed."""

    def __init__(self, producer: Producer, jobs: list[Prepared]) -> None:
        self.producer = producer
        self.jobs = jobs

    def __call__(self) -> None:
        self.producer.push(self.jobs)


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
