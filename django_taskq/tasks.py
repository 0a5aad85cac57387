"""Tasks of our own, which every worker has: Django finds this module as it finds a project's."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.conf import settings

from . import bulk as work
from . import registry
from .compat import InvalidTaskBackend, task_backends
from .operations import OWN_TASK, Operations
from .task import Task

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
    """The task above, declared for the first backend that can run it; None where none can.

    Not by a decorator: that would fail at import in a project whose default backend is another.
    """
    known = registry.find(BULK)
    if known is None and (aliases := redis_aliases()):
        alias = aliases[0]
        queue = busiest_queue(alias)
        Task(
            func=bulk,
            backend=alias,
            queue_name=queue,
            takes_context=True,
            timeout=None,
            max_attempts=3,
            tags=("taskq",),
        )
        known = registry.find(BULK)
    return known


def busiest_queue(alias: str, but: tuple[str, ...] = ()) -> str:
    """The queue of a backend that workers look at most, of those that are not ``but``."""
    weights = dict(task_backends[alias].conf.queues) or {"default": 1}
    rest = {name: weight for name, weight in weights.items() if name not in but} or weights
    return str(max(rest, key=lambda name: (rest[name], name)))


def enqueue_bulk(alias: str, order: work.Order, paused: tuple[str, ...] = ()) -> Any:
    """Enqueues the work, ahead of everything else in a queue that is not paused."""
    task = bulk_task()
    assert task is not None
    queue = busiest_queue(alias, paused)
    return task.using(backend=alias, queue_name=queue, priority=100).enqueue(work.to_json(order))


bulk_task()
