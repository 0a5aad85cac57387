"""What several screens work out alike: queues as rows, what needs attention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..broker.inspector import QueueState
from ..broker.roster import Worker
from ..job import State
from ..showing import Note, note_of
from . import charts, words
from .pace import NO_PACE, RECENT, Pace, pace_of

LATE = 5_000  # ms after which what is due should long be ready
BACKLOG = (State.READY, State.RUNNING, State.SCHEDULED, State.RETRYING, State.WAITING, State.DEAD)


class QueueRow(NamedTuple):
    """A queue as lists show it."""

    state: QueueState
    pause: Note | None
    weight: int | None  # in QUEUES; None: it is not there
    pace: Pace = NO_PACE
    memory: int | None = None  # bytes; None: the server does not tell

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def until(self) -> int:
        """When its pause ends (ms); 0: when somebody resumes it."""
        return self.state.pause or 0

    @property
    def workers(self) -> int:
        """Processes whose lease lasts."""
        return self.state.holders - self.state.lapsed

    @property
    def is_stuck(self) -> bool:
        """Whether jobs wait and nobody takes them."""
        return self.state.states[State.READY] > 0 and not self.workers and not self.pause

    @property
    def empty_in(self) -> float | None:
        """ms until nothing is ready, at this pace and if no more came; None: nobody knows."""
        ready, pace = self.state.states[State.READY], self.pace.per_minute
        return 60_000 * ready / pace if ready and pace and not self.pause else None

    def count(self, state: State) -> int:
        return self.state.states[state]

    @property
    def counts(self) -> dict[str, int]:
        return {str(state): number for state, number in self.state.states.items()}


class Alert(NamedTuple):
    """Something that a person should look at. ``page``, ``args``, ``params``: where."""

    level: str  # error, warning or info
    text: str
    page: str = ""
    args: tuple[str, ...] = ()
    params: Mapping[str, str] = MappingProxyType({})


def queue_rows(
    overview: Sequence[tuple[QueueState, bytes]],
    weights: dict[str, int],
    recent: Sequence[Any] = (),
    memory: Sequence[int | None] = (),
) -> list[QueueRow]:
    """The queues with their pauses. ``recent``: what RECENT read of each; ``memory``: bytes."""
    paces = [pace_of(RECENT.steps([reply])) for reply in recent] or [NO_PACE] * len(overview)
    bytes_ = memory or [None] * len(overview)
    return [
        QueueRow(
            state, note_of(note) if state.paused else None, weights.get(state.name), pace, size
        )
        for (state, note), pace, size in zip(overview, paces, bytes_, strict=True)
    ]


def totals(rows: Sequence[QueueRow]) -> dict[State, int]:
    """Jobs per state, of all queues together."""
    return {state: sum(row.count(state) for row in rows) for state in State}


def processes(rows: Sequence[QueueRow]) -> int:
    """Processes whose lease lasts, each once: one may serve many queues, or few of many."""
    seen = {holder.id for row in rows for holder in row.state.page if holder.left > 0}
    return max(len(seen), max((row.workers for row in rows), default=0))  # a page is not all


def alerts(rows: Sequence[QueueRow], others: Iterable[Alert] = ()) -> list[Alert]:
    """What needs a person, the worst first. ``others``: what is of no queue."""
    found = [alert for row in rows for alert in of_queue(row)] + [*others]
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda alert: order[alert.level])


def of_queue(row: QueueRow) -> Iterable[Alert]:
    """What needs a person in one queue."""
    here: dict[str, Any] = {"page": "queue_change", "args": (row.name,)}
    waiting = row.count(State.READY)
    said: dict[str, Any] = {"queue": row.name, "count": waiting}
    if row.pause:
        yield Alert("warning", _("Queue %(queue)s is paused.") % said, **here)
    elif row.is_stuck:
        text = ngettext(
            "No worker serves queue %(queue)s: %(count)d job waits.",
            "No worker serves queue %(queue)s: %(count)d jobs wait.",
            waiting,
        )
        yield Alert("error", text % said, **here)
    if row.state.late > LATE:
        text = _("Jobs of queue %(queue)s are due and not ready: no worker keeps its time.")
        yield Alert("error", text % said, **here)
    if row.state.parked:
        text = _("No worker knows %(tasks)s: jobs of queue %(queue)s are set aside.")
        names = ", ".join(list(row.state.parked)[:3])
        where = {"queue": row.name, "state": str(State.WAITING)}
        yield Alert("warning", text % {**said, "tasks": names}, "job_changelist", params=where)
    if dead := row.count(State.DEAD):
        text = ngettext(
            "%(count)d job of queue %(queue)s is dead.",
            "%(count)d jobs of queue %(queue)s are dead.",
            dead,
        )
        where = {"queue": row.name, "state": str(State.DEAD)}
        yield Alert("warning", text % {**said, "count": dead}, "job_changelist", params=where)


def of_worker(worker: Worker) -> Iterable[Alert]:
    """What needs a person in one worker."""
    if worker.is_stale:
        text = _("Worker %(name)s has not reported for %(time)s.")
        age = (worker.age or 0) // 1000 * 1000
        said = {"name": worker.name, "time": words.duration(age)}
        yield Alert("warning", text % said, "worker_change", (worker.id,))


def backlog_chart(rows: Sequence[QueueRow]) -> str:
    """What each queue holds that is not over."""
    series = [
        charts.Series(str(words.STATES[state]), str(state), [row.count(state) for row in rows])
        for state in BACKLOG
    ]
    return charts.stack(_("Jobs that are not over, by queue"), [row.name for row in rows], series)


def legend(states: Iterable[State] = BACKLOG) -> list[tuple[str, str]]:
    """(class, name) of the colours of a chart."""
    return [(str(state), str(words.STATES[state])) for state in states]
