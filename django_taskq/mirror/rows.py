"""A job as rows: what Redis has of it, redacted as the admin shows it.

What is encrypted in Redis stays out of the database: the mirror reads without keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..broker.inspector import Row
from ..broker.listening import Seen
from ..broker.replies import Stored
from ..clock import to_datetime
from ..codec import Seals, encode
from ..exceptions import BadSeal, KeyMissing, MalformedJob
from ..job import Envelope, Failure, Live
from ..reader import ENCRYPTED, priority_of
from ..showing import (
    Argument,
    envelope_in,
    has_time,
    is_whole,
    shown_arguments,
    shown_value,
    task_in,
)
from ..task import Task

LARGE = "(too large)"  # stands for what the mirror does not read
MOST_FAILURES = 50  # of one job, the newest
MOST_TRACEBACK = 20_000  # characters of one

RECORD = (
    *("backend", "job", "queue", "task", "state", "priority"),
    *("enqueued_at", "due_at", "started_at", "ended_at", "duration"),
    *("attempts", "worker", "error", "tags", "gone_at", "version"),
)
PAYLOAD = ("record_id", "arguments", "value", "failures")
ATTEMPT = ("record_id", "number", "started_at", "ended_at", "worker", "error")


class Rows(NamedTuple):
    """Of one job: values in the order of RECORD, and of the others without their first."""

    record: tuple[Any, ...]
    payload: tuple[str, str, str]
    attempts: list[tuple[Any, ...]]


class Redactor:
    """Makes rows of the jobs of one queue."""

    def __init__(self, backend: str, queue: str, seals: Seals) -> None:
        self._backend = backend
        self._queue = queue
        self._seals = seals.without_keys()

    def rows(self, seen: Seen, version: int) -> Rows:
        """The rows of a job that is there."""
        assert seen.state is not None
        live = seen.live
        row = Row(seen.id, self._queue, seen.state, str(seen.score), seen.envelope, seen.size, live)
        envelope = envelope_in(row, self._seals)
        task = task_in(envelope)
        failures = self._failures(seen)
        stored = Stored(seen.state, seen.score, b"", live, b"", seen.value)
        ended = live.ended or 0
        record = (
            self._backend,
            storable(seen.id, 64),
            self._queue,
            storable(envelope.t, 255),
            seen.state.value,
            max(min(priority_of(stored), 32767), -32768),
            moment(envelope.e),
            moment(round(seen.score)) if has_time(seen.state, live) else None,
            moment(live.started),
            moment(ended),
            duration(live, failures),
            live.attempt,
            storable(live.holder, 32),
            storable(failures[-1].c, 255) if failures else "",
            storable(f" {' '.join(task.options.tags)} ", 500) if task.options.tags else "",
            None,
            version,
        )
        arguments = encode(list(map(list, self._arguments(row, task, envelope)))).decode()
        texts = [[f.c, f.m, f.b[-MOST_TRACEBACK:]] for f in failures]
        payload = (arguments, self._value(seen, stored), encode(texts).decode())
        return Rows(record, tuple(map(without_zeros, payload)), attempts(failures))  # type: ignore[arg-type]

    def _failures(self, seen: Seen) -> list[Failure]:
        if not seen.errors:
            return []
        return self._seals.open_failures(seen.id, self._queue, seen.errors)[-MOST_FAILURES:]

    def _arguments(self, row: Row, task: Task, envelope: Envelope) -> Sequence[Argument]:
        if not is_whole(row):
            return [Argument("", LARGE)]
        return shown_arguments(task, envelope.a, envelope.k)

    def _value(self, seen: Seen, stored: Stored) -> str:
        if seen.value_size > len(seen.value):
            return LARGE
        try:
            shown = shown_value(stored, seen.id, self._seals)
        except KeyMissing:
            return ENCRYPTED
        except (BadSeal, MalformedJob) as error:
            return f"({error})"
        return shown.text if shown else ""


def duration(live: Live, failures: Sequence[Failure]) -> float | None:
    """Seconds of the last attempt of an ended job: it may have been over long before the job was,
    where that waited to run again."""
    if not live.ended or not live.started:
        return None
    over = [failure.f for failure in failures if failure.f and failure.s == live.started]
    return max((over[-1] if over else live.ended) - live.started, 0) / 1000


def attempts(failures: Sequence[Failure]) -> list[tuple[Any, ...]]:
    """Those that ended at a known time; a notice of a script is one that did not count."""
    return [
        (f.n, moment(f.s), moment(f.f), storable(f.w, 32), storable(f.c, 255))
        for f in failures
        if f.f
    ]


def moment(ms: int) -> datetime | None:
    """A time for the database; None for 0, and for what is none."""
    try:
        return to_datetime(ms)
    except (OverflowError, ValueError, OSError):
        return None


def storable(text: str, most: int) -> str:
    """Text that any database takes."""
    return without_zeros(text)[:most]


def without_zeros(text: str) -> str:
    """PostgreSQL takes neither NUL nor half a surrogate pair."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return text
