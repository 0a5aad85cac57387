"""A job once more, as a new one: what an operator enqueues who has another job before him."""

from __future__ import annotations

from .codec import OPEN
from .exceptions import ArgumentsDoNotBind
from .operations import Operations
from .options import restore
from .reader import priority_of
from .registry import is_own
from .result import TaskResult
from .task import look_up


def enqueue_copy(operations: Operations, alias: str, queue: str, id: str) -> TaskResult | None:
    """Enqueues the same call with the same options, to run at once; None where there is no job.

    As by ``enqueue()``, so it is checked, sealed and locked as any other, but at once, whatever
    transaction is open. What goes along is what went along with the job, and nothing of whoever
    asks for the copy: what is not there is a value too, such as no tenant. ``alias``: the
    backend's. Raises what ``enqueue()`` does, and ArgumentsDoNotBind, KeyMissing or MalformedJob
    for a job that cannot be enqueued here.
    """
    (job,) = operations.broker.fetch(queue, [id])
    if job.state is None:
        return None
    seals = operations.broker.seals or OPEN
    envelope = seals.decrypt_envelope(id, seals.verify_envelope(id, job.envelope))
    declared = look_up(envelope.t)
    if declared is None or is_own(declared.module_path):
        raise ArgumentsDoNotBind(f"a job of the task {envelope.t!r} cannot be enqueued here")
    args, kwargs = declared.signature.load(envelope.a, envelope.k)
    same = restore(envelope.o)
    task = declared.using(queue_name=queue, backend=alias, priority=priority_of(job), **same)
    backend = task.get_backend()
    with backend.carrier.restored(envelope.c, {"job": id}):  # for the functions that make its keys
        return backend.enqueue_now(task, args, kwargs, envelope.c)  # type: ignore[no-any-return]
