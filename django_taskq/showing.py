"""A job as people may see it: named, redacted, bounded. Whoever shows it only prints it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from .broker.inspector import Row
from .broker.replies import Stored
from .broker.triage import MOST_NAME, MOST_REASON
from .codec import OPEN, Seals, decode, encode, redact
from .codec.envelope import SEAL_SIZE, is_signed
from .exceptions import MalformedJob
from .job import TRUNCATED, Envelope, Failure, Live, State
from .reader import ENCRYPTED, envelope_of, priority_of
from .task import Task, look_up, unknown_task, variation

PREVIEW = 160  # characters of the arguments in a list
MOST_SHOWN = 20_000  # characters of one value on a job's page
MOST_MESSAGE = 300  # characters of an error's message in a list
MOST_ID = 13  # characters of an id in a list
NO_TASK = "(cannot be read)"
_HEAD = re.compile(rb'\["([^"\\]{1,300})",(\d{1,15})')  # how every envelope begins
_CLASS = re.compile(rb'^\{"c":"([^"\\]{1,300})"')


class Argument(NamedTuple):
    """An argument as it may be shown. ``cut``: characters that are left out at its end."""

    name: str
    text: str
    cut: int = 0


class Note(NamedTuple):
    """Who paused something, why, and since when (ms, 0: it does not say)."""

    by: str = ""
    why: str = ""
    since: int = 0


class Summary(NamedTuple):
    """A job in a list. Times in ms, 0 for none."""

    id: str
    queue: str
    state: State
    task: str
    is_known: bool  # whether this process has the task
    priority: int
    enqueued: int
    started: int
    ended: int
    due: int
    live: Live
    attempts: int  # that counted
    max_attempts: int | None
    tags: tuple[str, ...]
    arguments: str
    size: int  # bytes of the envelope
    exception: str  # of the last failure
    message: str
    failures: int
    waited: int | None  # ms from when it could run to its first start; None: it has not started
    took: int | None  # ms that its last attempt ran; None where that is not known, or it runs

    @property
    def short_id(self) -> str:
        """Enough of it to tell two apart."""
        return self.id if len(self.id) <= MOST_ID else f"{self.id[: MOST_ID - 1]}…"

    @property
    def short_task(self) -> str:
        """The function's name with its module's last part."""
        return ".".join(self.task.rsplit(".", 2)[-2:])

    @property
    def short_exception(self) -> str:
        return self.exception.rpartition(".")[2]

    @property
    def is_running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def set_aside(self) -> str:
        """Why a parked job waits; it may quote an argument."""
        return set_aside(self.live)


def summary(row: Row, seals: Seals | None) -> Summary:
    """What a list shows of a job."""
    seals = seals or OPEN
    envelope = envelope_in(row, seals)
    task = task_in(envelope)
    failure = last_failure(row, seals)
    score = float(row.score)
    stored = Stored(row.state, score, b"", row.live, b"", b"")
    return Summary(
        id=row.id,
        queue=row.queue,
        state=row.state,
        task=envelope.t,
        is_known=look_up(envelope.t) is not None,
        priority=priority_of(stored),
        enqueued=envelope.e,
        started=row.live.started,
        ended=row.live.ended,
        due=round(score) if has_time(row.state, row.live) else 0,
        live=row.live,
        attempts=row.live.attempt,
        max_attempts=task.options.max_attempts,
        tags=task.options.tags,
        arguments=preview(task, envelope) if is_whole(row) else "",
        size=row.size,
        exception=failure.c,
        message=failure.m[:MOST_MESSAGE],
        failures=row.failures,
        waited=wait_of(envelope, row.live),
        took=None if row.state is State.RUNNING else run_time(row, failure, 0),
    )


def wait_of(envelope: Envelope, live: Live) -> int | None:
    """ms from when a job could run to its first start; None where that is not known."""
    first = live.first_started or live.started
    return max(first - max(envelope.e, envelope.r), 0) if first and envelope.e else None


def has_time(state: State, live: Live) -> bool:
    """Whether a job's score is the time at which it goes on: at a gate it is a place in line."""
    return state in (State.SCHEDULED, State.RETRYING) or (
        state is State.WAITING and bool(live.note)
    )


def set_aside(live: Live) -> str:
    """Why a parked job waits: what stands behind its task's name."""
    return live.note.partition(" ")[2]


def is_whole(row: Row) -> bool:
    """Whether the whole envelope was read."""
    return len(row.envelope) == row.size


def envelope_in(row: Row, seals: Seals) -> Envelope:
    """The envelope of a row; of one that was cut only task and time."""
    if is_whole(row):
        envelope = envelope_of(row.id, row.envelope, seals)
        return envelope if envelope.e else msgspec.structs.replace(envelope, t=NO_TASK)
    raw = row.envelope[SEAL_SIZE:] if is_signed(row.envelope) else row.envelope
    head = _HEAD.match(raw)
    if head is None:
        return Envelope(t=NO_TASK, e=0)
    return Envelope(t=head[1].decode("utf-8", "replace"), e=int(head[2]))


def task_in(envelope: Envelope) -> Task:
    """The task with the options of this job; a stand-in where it is unknown here."""
    task = look_up(envelope.t) or unknown_task(envelope.t)
    return variation(task, envelope.o) if envelope.o else task


def last_failure(row: Row, seals: Seals) -> Failure:
    """The last failure of a row; of one that was cut only its class, which nobody can verify."""
    if not row.failure:
        return Failure(c="")
    if len(row.failure) == row.failure_size:
        opened = seals.open_failures(row.id, row.queue, row.failure)
        if opened:
            return opened[-1]
    raw = row.failure[SEAL_SIZE:] if is_signed(row.failure) else row.failure
    head = _CLASS.match(raw)
    return Failure(c=head[1].decode("utf-8", "replace") if head else "")


def attempts_of(row: Row) -> int:
    """The attempts that counted, and the one that is under way."""
    return row.live.attempt + (row.state is State.RUNNING)


def run_time(row: Row, failure: Failure, now: int) -> int | None:
    """ms that the last attempt ran, or has run until ``now``; None where that is not known.

    ``failure``: the last one. A job may end long after its last attempt did.
    """
    live = row.live
    if not live.started:
        return None
    if row.state is State.RUNNING:
        over = now
    elif failure.f and failure.s == live.started:
        over = failure.f
    else:
        over = live.ended
    return max(over - live.started, 0) if over else None


# -- arguments -------------------------------------------------------------------------------------


def shown_arguments(
    task: Task, args: Sequence[Any], kwargs: Mapping[str, Any], most: int = MOST_SHOWN
) -> list[Argument]:
    """The arguments as the function's signature names them, without what is sensitive."""
    if list(args) == [ENCRYPTED] and not kwargs:
        return [Argument("", ENCRYPTED)]
    shown = redact(task, args, kwargs)
    return [bounded(name, value, most) for name, value in task.signature.labelled(*shown)]


def bounded(name: str, value: Any, most: int) -> Argument:
    """A value as JSON, cut where it is too long to be looked at."""
    text = pretty(value) if most > PREVIEW else encode(value).decode()
    return Argument(name, text[:most], max(len(text) - most, 0))


def pretty(value: Any) -> str:
    """JSON in lines, or in one where it is short."""
    raw = encode(value)
    return (raw if len(raw) <= 60 else msgspec.json.format(raw, indent=2)).decode()


def preview(task: Task, envelope: Envelope) -> str:
    """The arguments in one line."""
    shown = shown_arguments(task, envelope.a, envelope.k, PREVIEW)
    text = ", ".join(f"{each.name}={each.text}" if each.name else each.text for each in shown)
    return text if len(text) <= PREVIEW else f"{text[:PREVIEW]}…"


def shown_value(stored: Stored, id: str, seals: Seals | None) -> Argument | None:
    """The value of a job that succeeded, cut; None where there is none."""
    if stored.state is not State.SUCCEEDED:
        return None
    raw = (seals or OPEN).open_value(id, stored.value)
    if raw == TRUNCATED:
        return Argument("", "(dropped: Redis was nearly full)")
    text = msgspec.json.format(raw or b"null", indent=2).decode("utf-8", "replace")
    return Argument("", text[:MOST_SHOWN], max(len(text) - MOST_SHOWN, 0))


# -- pauses ----------------------------------------------------------------------------------------


def note_of(raw: bytes) -> Note:
    """The note of a pause, bounded. One that cannot be read says nothing."""
    try:
        said = decode(raw) if raw else {}
    except MalformedJob:
        said = {}
    if not isinstance(said, dict):
        said = {}
    since = said.get("since")
    return Note(
        str(said.get("by", ""))[:MOST_NAME],
        str(said.get("why", ""))[:MOST_REASON],
        since if isinstance(since, int) else 0,
    )
