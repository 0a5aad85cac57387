"""What several screens work out alike: queues as rows, what needs attention, notes of pauses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..broker.inspector import QueueState
from ..codec import decode
from ..exceptions import MalformedJob
from ..job import State
from . import charts, words

LATE = 5_000  # ms after which what is due should long be ready
BACKLOG = (State.READY, State.RUNNING, State.SCHEDULED, State.RETRYING, State.WAITING, State.DEAD)


class Pause(NamedTuple):
    """Who paused a queue, why, and since when (ms)."""

    by: str = ""
    why: str = ""
    since: int = 0


class QueueRow(NamedTuple):
    """A queue as lists show it."""

    state: QueueState
    pause: Pause | None
    weight: int | None  # in QUEUES; None: it is not there

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def workers(self) -> int:
        """Processes whose lease lasts."""
        return self.state.holders - self.state.lapsed

    @property
    def is_stuck(self) -> bool:
        """Whether jobs wait and nobody takes them."""
        return self.state.states[State.READY] > 0 and not self.workers and not self.pause

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
    overview: Iterable[tuple[QueueState, bytes]], weights: dict[str, int]
) -> list[QueueRow]:
    """The queues with their pauses."""
    return [
        QueueRow(state, pause_of(state, note), weights.get(state.name)) for state, note in overview
    ]


def pause_of(state: QueueState, note: bytes) -> Pause | None:
    """The pause of a queue; None if it has none. A note that cannot be read says nothing."""
    if not state.paused:
        return None
    try:
        said = decode(note) if note else {}
    except MalformedJob:
        said = {}
    if not isinstance(said, dict):
        said = {}
    since = said.get("since")
    return Pause(
        str(said.get("by", ""))[:150],
        str(said.get("why", ""))[:500],
        since if isinstance(since, int) else 0,
    )


def totals(rows: Sequence[QueueRow]) -> dict[State, int]:
    """Jobs per state, of all queues together."""
    return {state: sum(row.count(state) for row in rows) for state in State}


def alerts(rows: Sequence[QueueRow], memory: tuple[int, int] = (0, 0)) -> list[Alert]:
    """What needs a person, the worst first."""
    found = [alert for row in rows for alert in of_queue(row)]
    used, most = memory
    if most and used > 0.9 * most:
        text = _("Redis is nearly full: %(share)d %% of its memory is used.")
        found.append(Alert("error", text % {"share": 100 * used / most}))
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
