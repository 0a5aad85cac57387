"""From what Redis has of a job to the result its caller reads."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from .broker.replies import Stored
from .clock import to_datetime
from .codec import OPEN, Seals
from .compat import TaskError
from .exceptions import BadSeal, JobCancelled, KeyMissing, MalformedJob, ResultTruncated
from .job import TRUNCATED, Envelope, Failure, Live, State
from .report import Report, decode_report
from .result import STATUS, TaskResult, Unreadable
from .task import Task, look_up, unknown_task, variation

ENCRYPTED = "(encrypted)"  # stands for arguments that this process has no key for
PRIORITY = 1 << 45  # what one priority is worth in the score of a ready job

_CANCELLED = TaskError(
    exception_class_path=f"{JobCancelled.__module__}.{JobCancelled.__qualname__}",
    traceback="",
)


def read_result(id: str, queue: str, alias: str, stored: Stored, seals: Seals = OPEN) -> TaskResult:
    """The result of a stored job; ``stored.state`` must not be None.

    What is not ours by its seal is never returned: arguments are left out, an error says so in
    its place, and the value raises BadSeal where it is asked for.
    """
    assert stored.state is not None
    envelope = envelope_of(id, stored.envelope, seals)
    live = stored.live
    failures = seals.open_failures(id, queue, stored.errors)
    result = build_result(
        task_of(envelope, queue, alias, priority_of(stored)),
        id,
        envelope,
        live,
        stored.state,
        failures,
    )
    if stored.state is State.CANCELLED and not failures:
        result.errors.append(_CANCELLED)
    object.__setattr__(result, "report", report_in(id, stored.report, seals))
    if stored.state is State.SUCCEEDED:
        object.__setattr__(result, "_return_value", value_of(result, stored.value, seals))
    return result


def envelope_of(id: str, raw: bytes, seals: Seals) -> Envelope:
    """The envelope as far as it can be shown."""
    try:
        envelope = seals.verify_envelope(id, raw)
        try:
            return seals.decrypt_envelope(id, envelope)
        except KeyMissing:
            return msgspec.structs.replace(envelope, a=[ENCRYPTED], k={})
    except MalformedJob:
        return Envelope(t="malformed.job", e=0)


def value_of(result: TaskResult, raw: bytes, seals: Seals = OPEN) -> Any:
    """The value as the task's annotation names it; a ResultTruncated where it was cut.

    A value that may not or cannot be read is an Unreadable, see TaskResult.return_value.
    """
    try:
        raw = seals.open_value(result.id, raw)
    except (BadSeal, KeyMissing) as error:
        return Unreadable(type(error), f"the value of job {result.id}: {error}")
    if raw == TRUNCATED:
        return ResultTruncated(f"the value of job {result.id} was dropped: Redis was nearly full")
    return result.task.signature.load_value(raw or b"null")


def report_in(id: str, raw: bytes, seals: Seals) -> Report | None:
    """What the job said of itself; None if it said nothing, or nothing that can be read."""
    try:
        return decode_report(seals.open_report(id, raw)) if raw else None
    except (BadSeal, KeyMissing):
        return None


def task_of(envelope: Envelope, queue: str, alias: str, priority: int) -> Task:
    """The task of a job, with what its enqueue changed; a stand-in where it is unknown here."""
    task = look_up(envelope.t) or unknown_task(envelope.t)
    return variation(
        task,
        envelope.o,
        queue_name=queue,
        backend=alias,
        run_after=to_datetime(envelope.r),
        priority=priority,
    )


def priority_of(stored: Stored) -> int:
    """The job's priority: in its place while it is ready (see common.lua), else on its record."""
    if stored.state is State.READY:
        return -math.floor(stored.due / PRIORITY + 0.5)
    return stored.live.priority


def build_result(
    task: Task,
    id: str,
    envelope: Envelope,
    live: Live,
    state: State,
    failures: list[Failure],
) -> TaskResult:
    """A TaskResult with Django's fields filled from our records."""
    return TaskResult(
        task=task,
        id=id,
        status=STATUS[state],
        state=state,
        enqueued_at=to_datetime(envelope.e),
        started_at=to_datetime(live.first_started or live.started),
        finished_at=to_datetime(live.ended),
        last_attempted_at=to_datetime(live.started),
        args=envelope.a,
        kwargs=envelope.k,
        backend=task.backend,
        errors=[TaskError(exception_class_path=f.c, traceback=f.b or f.m) for f in failures],
        worker_ids=worker_ids(live, state, failures),
    )


def worker_ids(live: Live, state: State, failures: list[Failure]) -> list[str]:
    """One holder per attempt that counted, and the one that is running.

    Old failures are dropped from a long list; what is missing is filled with the latest holder,
    because Django's ``attempts`` is the length of this list.
    """
    counted = live.attempt + (state is State.RUNNING)
    holders = [failure.w for failure in failures if failure.n][:counted]
    return holders + [live.holder] * (counted - len(holders))


def failure_of(result: TaskResult) -> str:
    """One line that says why a job did not succeed."""
    last = result.errors[-1] if result.errors else None
    if result.state is State.CANCELLED and (last is None or last is _CANCELLED):
        return f"job {result.id} was cancelled"
    text: Any = last.traceback.strip().rsplit("\n", 1)[-1] if last else "no error is on record"
    return f"job {result.id} is {result.state}: {text}"
