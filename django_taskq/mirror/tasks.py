"""A task of ours: it deletes old rows. Django finds this module as it finds a project's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..clock import to_datetime
from ..reporting import progress
from ..task import Task
from ..tasks import enqueue_own, own_task
from .models import JobRecord
from .places import writing_database
from .pruning import prune_all

if TYPE_CHECKING:
    from ..broker.inspector import QueueState

PRUNE = "django_taskq.mirror.tasks.prune"


def prune(context: Any, before: int) -> int:
    """Deletes the rows of jobs that ended before a time (ms); how many it were."""
    using = writing_database(JobRecord)  # all of it: a copy to read may be behind
    moment = to_datetime(before)
    assert moment is not None
    total = JobRecord.objects.using(using).count()
    looked = deleted = 0
    for rows, gone in prune_all(using, moment):
        looked, deleted = looked + rows, deleted + gone
        progress(looked, max(total, looked))
    return deleted


def prune_task() -> Task | None:
    """The task above; None where no backend can run it."""
    return own_task(PRUNE, prune)


def enqueue_prune(alias: str, before: int, states: Sequence[QueueState] = ()) -> Any:
    """Enqueues it; ``before``: ms, ``states``: how the queues stand."""
    task = prune_task()
    assert task is not None
    return enqueue_own(task, alias, states, before)


prune_task()
