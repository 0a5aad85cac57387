"""From a task and its arguments to a job in Redis: made, held back until the commit, pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import Any

from django.db import connections, transaction

from .broker.broker import CHUNK, Broker, chunks
from .broker.replies import Answer, answers
from .compat import InvalidTask
from .context.carrier import Carrier
from .duplicates import Conflict, Duplicates, refuse
from .exceptions import BrokerError, BrokerUnavailable, InvalidArgument
from .job import new_id, new_ids
from .recipe import Prepared, Recipe
from .result import TaskResult, mark_duplicate, mark_enqueued
from .task import Task


class Producer:
    """Makes and pushes the jobs of one backend.

    ``pushed`` is called with the results whose jobs are in Redis now.
    """

    def __init__(
        self,
        broker: Broker,
        alias: str,
        max_payload: int,
        pushed: Callable[[Sequence[TaskResult]], None],
        carrier: Carrier,
    ) -> None:
        self.carrier = carrier
        self.broker = broker
        self.alias = alias
        self.max_payload = max_payload
        self.pushed = pushed
        self.duplicates = Duplicates(broker, alias)

    # -- making ----------------------------------------------------------------------------------

    def number(self, queue: str) -> int:
        """What stands behind the dot in the ids of the queue's jobs."""
        return self.broker.number(queue)

    def prepare_one(
        self, task: Task, args: Any, kwargs: Any, recipe: Recipe | None = None
    ) -> Prepared:
        """The one job of an ``enqueue()``. Raises BrokerError with what can be sent later.

        ``recipe``: of another thread, which this one works for.
        """
        name = new_id() if task.job_id is None else task.job_id
        recipe = recipe or self.recipe(task)
        try:
            suffix = f".{self.number(task.queue_name)}"
        except BrokerError as error:
            raise unsent(error, [recipe.make(name, args, kwargs)]) from error
        return recipe.make(name if name.endswith(suffix) else name + suffix, args, kwargs)

    def prepare_many(self, task: Task, calls: Iterable[Any]) -> list[Prepared]:
        """The jobs of an ``enqueue_many()``."""
        if task.job_id is not None:
            raise InvalidTask("enqueue_many() cannot give several jobs one id")
        items = [arguments(item, at) for at, item in enumerate(calls)]
        names = new_ids(len(items))

        def prepared(suffix: str) -> list[Prepared]:
            make = self.recipe(task).make
            return [make(name + suffix, *item) for item, name in zip(items, names, strict=True)]

        try:
            number = self.number(task.queue_name)
        except BrokerError as error:
            raise unsent(error, prepared("")) from error
        return prepared(f".{number}")

    def recipe(self, task: Task, along: dict[str, Any] | None = None) -> Recipe:
        """What all jobs of one call have in common.

        ``along``: what they take along; None: what there is here and now.
        """
        if along is None:
            along = self.carrier.capture()
        broker = self.broker
        return Recipe(task, self.alias, self.max_payload, broker.seals, broker.gates, along)

    # -- pushing ---------------------------------------------------------------------------------

    def push(self, jobs: Sequence[Prepared]) -> None:
        """Sends the jobs, in order, one round trip per queue and 500.

        Raises BrokerUnavailable or BrokerFull with the results in ``error.results``,
        NotReplicated when all of them are in, and DuplicateJob when all are in but those whose
        lock another job has.
        """
        try:
            if len(jobs) == 1:
                (job,) = jobs
                found = answers(self.broker.enqueue_one(job.queue, job.draft))
                self.conclude(jobs, zip(jobs, found, strict=True))
            else:
                self.conclude(jobs, self._send(jobs))
        except BrokerError as error:
            error.results = [job.result for job in jobs]
            raise

    def _send(self, jobs: Sequence[Prepared]) -> Iterator[tuple[Prepared, Answer]]:
        by_queue: dict[str, list[Prepared]] = {}
        for job in jobs:
            by_queue.setdefault(job.queue, []).append(job)
        for queue, run in by_queue.items():
            batches = list(chunks(run, CHUNK))
            drafts = ([job.draft for job in batch] for batch in batches)
            replies = self.broker.enqueue_batches(queue, drafts)
            for batch, found in zip(batches, replies, strict=True):
                yield from zip(batch, answers(found), strict=True)

    def conclude(
        self, jobs: Sequence[Prepared], told: Iterable[tuple[Prepared, Answer]], tries: int = 3
    ) -> None:
        """Tells the results what became of their jobs, and settles what others kept out."""
        unconfirmed = 0
        pushed: list[TaskResult] = []
        conflicts: list[Conflict] = []
        try:
            for job, answer in told:
                unconfirmed += not answer.confirmed
                if answer.letter == "U":
                    conflicts.append(Conflict(job, answer.other))
                    continue
                result = job.result
                mark_enqueued(result, job.moment)
                if answer.letter == "E" and result.task.job_id is not None:
                    mark_duplicate(result, result.id)
                else:  # a random id that exists is this very job: the reply to its push was lost
                    pushed.append(result)
        finally:  # those that are in are in, also when the server went away before the rest
            self.pushed(pushed)
        if conflicts:
            unconfirmed += self._settle(conflicts, tries)
        if unconfirmed:
            raise self.broker.unconfirmed(unconfirmed)
        if conflicts:
            refuse(jobs)

    def _settle(self, conflicts: Sequence[Conflict], tries: int) -> int:
        """How many jobs were replaced and are not as safe yet as ``durability`` asks."""
        again, unconfirmed = self.duplicates.settle(conflicts)
        if again and tries:
            self.conclude(again, self._send(again), tries - 1)
        elif again:  # whoever has the lock is gone each time it is looked for
            freed = {id(job) for job in again}
            self.duplicates.read([c for c in conflicts if id(c.job) in freed])
        return unconfirmed

    def hold(self, jobs: Sequence[Any], using: str) -> None:
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
                and callback.producer.alias == self.alias
                and savepoints == set(connection.savepoint_ids)
            ):
                callback.jobs.extend(jobs)
                return
        transaction.on_commit(Push(self, list(jobs), using), using=using)

    def release(self, jobs: Sequence[Any], using: str) -> None:
        """The transaction committed for which ``hold()`` held the jobs back."""
        self.push(jobs)

    def raise_if_away(self, jobs: Sequence[Prepared]) -> None:
        """Raises BrokerUnavailable where it is known that no push can succeed now."""

    rescues = False  # whether rescue() does anything

    def rescue(self, jobs: Sequence[Prepared], error: BrokerError) -> None:
        """Keeps jobs that could not be pushed, or raises the error."""
        raise error


def is_in_test_case(connection: Any) -> bool:
    """Whether Django's TestCase holds the transaction open.

    Its captureOnCommitCallbacks() counts callbacks: a job that joined an earlier one would never
    be seen by it, nor be pushed.
    """
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


class Push:
    """What a transaction calls when it committed."""

    def __init__(self, producer: Producer, jobs: list[Any], using: str) -> None:
        self.producer = producer
        self.jobs = jobs
        self.using = using

    def __call__(self) -> None:
        self.producer.release(self.jobs, self.using)


def unsent(error: BrokerError, jobs: Sequence[Prepared]) -> BrokerError:
    """The error of a server that could not be asked for the queue's number: no job was sent.

    Ids that lack the number get it when they are sent under ``using(id=)``.
    """
    own = copy(error)
    own.results = [job.result for job in jobs]
    if isinstance(own, BrokerUnavailable):
        own.maybe_sent = False
    return own


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
