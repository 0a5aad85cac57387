"""Tasks of our own, which every worker has: Django finds this module as it finds a project's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.conf import settings

from . import bulk as work
from . import registry
from .compat import InvalidTaskBackend, task_backends
from .operations import Operations
from .registry import OWN_TASK
from .task import Task

if TYPE_CHECKING:
    from .broker.inspector import QueueState

BULK = OWN_TASK


def bulk(context: Any, order: dict[str, Any]) -> dict[str, int]:
    """Does one thing to every job that matches; how many became what."""
    job = context.task_result
    backend = task_backends[job.backend]
    operations = Operations(backend.broker, backend.conf.max_payload)

    def tell(progress: work.Progress) -> None:
        said = work.encode_progress(progress)
        operations.steering.note(job.task.queue_name, job.id, said)

    return dict(work.carry_out(operations, work.from_json(order), job.id, tell))


def redis_aliases() -> list[str]:
    """The backends in TASKS that keep their jobs in Redis, "default" first."""
    from .backends import RedisBackend

    found = []
    for name in sorted(getattr(settings, "TASKS", {}), key=lambda name: (name != "default", name)):
        with suppress(InvalidTaskBackend):  # the system check says what is wrong with it
            if isinstance(task_backends[name], RedisBackend):
                found.append(name)
    return found


def bulk_task() -> Task | None:
    """The task above; None where no backend can run it."""
    return own_task(BULK, bulk)


def own_task(name: str, func: Callable[..., Any]) -> Task | None:
    """A task of ours, declared for the first backend that can run it; None where none can.

    Not by a decorator: that would fail at import in a project whose default backend is another.
    """
    known = registry.find(name)
    if known is None and (aliases := redis_aliases()):
        alias = aliases[0]
        queue = busiest_queue(alias)
        Task(
            func=func,
            backend=alias,
            queue_name=queue,
            takes_context=True,
            timeout=None,
            max_attempts=3,
            tags=("taskq",),
        )
        known = registry.find(name)
    return known


def busiest_queue(alias: str, states: Sequence[QueueState] = ()) -> str:
    """The queue of a backend that workers look at most.

    ``states``: how the queues stand; those that are not paused come first, and among them those
    that some worker serves.
    """
    known = {state.name: 1 for state in states}
    weights = dict(task_backends[alias].conf.queues) or known or {"default": 1}
    paused = {state.name for state in states if state.paused}
    served = {state.name for state in states if state.holders > state.lapsed}
    going = weights.keys() - paused
    best = (going & served) or going or weights.keys()
    return str(max(best, key=lambda name: (weights[name], name)))


def enqueue_bulk(alias: str, order: work.Order, states: Sequence[QueueState] = ()) -> Any:
    """Enqueues the work, see ``enqueue_own()``."""
    task = bulk_task()
    assert task is not None
    return enqueue_own(task, alias, states, work.to_json(order))


def enqueue_own(task: Task, alias: str, states: Sequence[QueueState], *args: Any) -> Any:
    """Enqueues a job of ours, ahead of everything else in a queue that is served and not paused.

    At once, whatever transaction is open: whoever asked is told that the work was enqueued.
    """
    varied = task.using(backend=alias, queue_name=busiest_queue(alias, states), priority=100)
    return varied.get_backend().enqueue_now(varied, args, {})


bulk_task()
