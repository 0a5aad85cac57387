"""One job, shaped for its page: its story, its arguments, its attempts, its record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from .. import frames
from ..broker.inspector import Examined
from ..broker.replies import Stored
from ..codec import OPEN, Seals
from ..exceptions import BadSeal, KeyMissing, MalformedJob
from ..job import ENDED, Envelope, Failure, State
from ..reader import envelope_of, priority_of, report_in
from ..report import Line, Progress, Report
from ..showing import (
    NO_TASK,
    Argument,
    bounded,
    pretty,
    shown_arguments,
    shown_value,
    task_in,
)
from ..task import Task, look_up
from . import words
from .options import Option, options_of

CLASS = re.compile(r"[\w.<>]+")  # <locals> of a class in a function
MOST_CONTEXT = 500  # characters of one value that goes along
MOST_ATTEMPTS = 50  # failures that a page shows, the newest first


class Step(NamedTuple):
    """A moment in a job's life. ``gap``: ms since the step before, -1 for the first."""

    at: int
    text: str
    css: str
    gap: int = -1


class Attempt(NamedTuple):
    """A failed attempt, or a notice that a script wrote; ``number`` is 0 for what did not count."""

    number: int
    exception: str
    message: str
    started: int
    finished: int
    holder: str
    release: str
    memory: int  # bytes that its process held then; 0 unknown
    queries: int  # of a database
    blocks: list[Any]  # of (before, parts, said)
    id: str

    @property
    def took(self) -> int:
        """ms that it ran; 0 where that is not known."""
        return max(self.finished - self.started, 0) if self.started and self.finished else 0

    @property
    def short_exception(self) -> str:
        return self.exception.rpartition(".")[2]


class Detail(NamedTuple):
    """What the page shows. Times in ms."""

    id: str
    queue: str
    state: State
    task: str
    is_known: bool
    doc: str
    priority: int
    tags: tuple[str, ...]
    max_attempts: int | None
    options: list[Option]
    attempt: int  # those that counted
    due: int
    enqueued: int
    started: int
    ended: int
    size: int
    arguments: list[Argument]
    context: list[Argument]  # what goes along
    value: Argument | None
    progress: Progress | None
    log: list[Line]
    attempts: list[Attempt]
    steps: list[Step]
    holder: str
    raw: str
    code: str

    @property
    def short_task(self) -> str:
        return ".".join(self.task.rsplit(".", 2)[-2:])

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    @property
    def is_running(self) -> bool:
        return self.state is State.RUNNING


def detail(
    id: str, queue: str, examined: Examined, alias: str, seals: Seals | None, *, with_args: bool
) -> Detail:
    """The job of a backend as the reader may see it; ``with_args``: also what it carries."""
    stored, live = examined.stored, examined.stored.live
    assert stored.state is not None
    envelope = envelope_of(id, stored.envelope, seals or OPEN)
    task = task_in(envelope)
    failures = (seals or OPEN).open_failures(id, queue, stored.errors)
    report = report_in(id, stored.report, seals or OPEN)
    arguments = shown_arguments(task, envelope.a, envelope.k) if with_args else []
    return Detail(
        id=id,
        queue=queue,
        state=stored.state,
        task=envelope.t if envelope.e else NO_TASK,
        is_known=look_up(envelope.t) is not None,
        doc=(task.func.__doc__ or "").strip().split("\n", 1)[0],
        priority=priority_of(stored),
        tags=task.options.tags,
        max_attempts=task.options.max_attempts,
        options=options_of(envelope, alias, queue, priority_of(stored)),
        attempt=live.attempt,
        due=round(stored.due) if stored.state in (State.SCHEDULED, State.RETRYING) else 0,
        enqueued=envelope.e,
        started=live.started,
        ended=live.ended,
        size=len(stored.envelope),
        arguments=arguments,
        context=[bounded(*each, MOST_CONTEXT) for each in envelope.c.items()] if with_args else [],
        value=value_of(stored, id, seals) if with_args else None,
        progress=progress_of(report, with_args=with_args),
        log=report.lines if report and with_args else [],
        attempts=attempts(failures, with_args=with_args),
        steps=steps(envelope, stored, failures),
        holder=live.holder,
        raw=raw_record(envelope, stored) if with_args else "",
        code=as_code(envelope, task, queue, arguments) if with_args else "",
    )


def progress_of(report: Report | None, *, with_args: bool) -> Progress | None:
    """How far the job has come; in numbers alone for who may not see what it carries."""
    progress = report.progress if report else None
    return progress if progress is None or with_args else progress._replace(message="")


def value_of(stored: Stored, id: str, seals: Seals | None) -> Argument | None:
    """The value; in its place what keeps it from being shown."""
    try:
        return shown_value(stored, id, seals)
    except (BadSeal, KeyMissing, MalformedJob) as error:
        return Argument("", f"({error})")


# -- its story -------------------------------------------------------------------------------------


def steps(envelope: Envelope, stored: Stored, failures: list[Failure]) -> list[Step]:
    """What happened to the job, in order, with the time between."""
    known = sorted(moments(envelope, stored, failures), key=lambda step: step.at)
    before = [step.at for step in known]
    return [
        step._replace(gap=step.at - before[at - 1] if at else -1) for at, step in enumerate(known)
    ]


def moments(envelope: Envelope, stored: Stored, failures: list[Failure]) -> Iterator[Step]:
    """The moments that are on record, in any order."""
    live, state = stored.live, stored.state
    if envelope.e:
        yield Step(envelope.e, _("enqueued"), "ready")
    if envelope.r > envelope.e:
        yield Step(envelope.r, _("due"), "scheduled")
    for failure in failures[-MOST_ATTEMPTS:]:
        name = failure.c.rpartition(".")[2]
        if failure.s and failure.n:
            text = _("attempt %(number)d started") % {"number": failure.n}
            yield Step(failure.s, text, "running")
        if failure.f:
            said = {"number": failure.n, "error": name}
            text = _("attempt %(number)d failed: %(error)s") if failure.n else "%(error)s"
            yield Step(failure.f, text % said, "dead")
    ran = {failure.s for failure in failures}
    if live.started and live.started not in ran:
        number = live.attempt + (state is State.RUNNING)
        text = _("attempt %(number)d started") if number else _("taken by a worker")
        yield Step(live.started, text % {"number": number} if number else text, "running")
    if state is State.RETRYING:
        yield Step(round(stored.due), _("next attempt"), "retrying")
    if live.ended and state is not None:
        yield Step(live.ended, str(words.STATES[state]), str(state))


# -- its attempts ----------------------------------------------------------------------------------


def attempts(failures: list[Failure], *, with_args: bool) -> list[Attempt]:
    """The failures, the newest first. Messages may quote arguments, so they go with those."""
    newest = failures[-MOST_ATTEMPTS:][::-1]
    return [
        Attempt(
            number=failure.n,
            exception=failure.c,
            message=failure.m if with_args else "",
            started=failure.s,
            finished=failure.f,
            holder=failure.w,
            release=failure.r,
            memory=failure.k,
            queries=failure.q,
            blocks=list(blocks(failure.b, with_args=with_args)),
            id=f"tq-attempt-{len(failures) - at}",
        )
        for at, failure in enumerate(newest)
    ]


def blocks(traceback: str, *, with_args: bool) -> Iterator[dict[str, Any]]:
    """A traceback's exceptions with their frames in runs: the project's open, libraries' folded.

    What stands between frames may be the rest of a message, so it goes with the arguments too.
    """
    for block in frames.blocks(traceback):
        if with_args or block.frames:
            yield {
                "before": block.before if with_args else "",
                "parts": list(frames.folded(block.frames)),
                "said": block.said if with_args else class_in(block.said),
            }


def class_in(said: str) -> str:
    """The exception's name without its message; "" for what does not begin with one."""
    name = said.partition("\n")[0].partition(":")[0]
    return name if CLASS.fullmatch(name) else ""


# -- what Redis has, and what to write -------------------------------------------------------------


def raw_record(envelope: Envelope, stored: Stored) -> str:
    """The record as Redis keeps it, without the arguments, which stand above as they may be."""
    record = {
        "state": stored.state,
        "score": stored.due,
        "envelope": {
            "task": envelope.t,
            "enqueued": envelope.e,
            "run_after": envelope.r,
            "options": envelope.o,
            "bytes": len(stored.envelope),
        },
        "live": {name: value for name, value in stored.live._asdict().items() if value},
        "errors_bytes": len(stored.errors),
        "value_bytes": len(stored.value),
    }
    return pretty(record)


def as_code(envelope: Envelope, task: Task, queue: str, arguments: list[Argument]) -> str:
    """The call that would enqueue the same once more."""
    name = envelope.t.rpartition(".")[2]
    known = len(envelope.a)
    call = [
        one_line(each.text) if at < known else f"{each.name}={one_line(each.text)}"
        for at, each in enumerate(arguments)
    ]
    using = f'.using(queue_name="{queue}")' if queue != task.queue_name else ""
    return f"{name}{using}.enqueue({', '.join(call)})"


def one_line(text: str) -> str:
    return " ".join(text.split())
