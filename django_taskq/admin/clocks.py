"""Clocks that are set soon, and what that does to a schedule, in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from django.utils.formats import date_format
from django.utils.translation import gettext as _

from ..clock_changes import MOST, ClockChange, clock_changes
from ..schedule import Schedule
from .saying import clock, joined


def notes(schedule: Schedule, now: int, runs: Sequence[datetime]) -> list[str]:
    """A sentence or two for each change near one of these runs, behind ``now`` (ms)."""
    return [in_words(change, schedule.tz) for change in clock_changes(schedule, now, runs)]


def in_words(change: ClockChange, zone: str) -> str:
    """When the clocks of a zone are set, and what becomes of the schedule's times."""
    said = {
        "zone": zone,
        "day": date_format(shown(change.before), "DATE_FORMAT"),
        "before": wall_time(change.before),
        "after": wall_time(change.after),
    }
    if change.is_forward:
        head = _("On %(day)s clocks in %(zone)s go forward from %(before)s to %(after)s.") % said
    else:
        head = _("On %(day)s clocks in %(zone)s go back from %(before)s to %(after)s.") % said
    return f"{head} {effect(change)}"


def effect(change: ClockChange) -> str:
    """What it does to the schedule's times; see clock_changes.py for each way."""
    if change.way == "interval":
        return _("It counts elapsed time, whatever they show.")
    if not change.times:
        return _("None of its times lies between the two: nothing changes for it.")
    said = {"times": times_of(change), "instead": wall_time(change.after)}
    match change.way, change.is_forward:
        case "wall", True:
            text = _("There is no %(times)s that day: it runs at %(instead)s, once.")
        case "wall", False:
            text = _("They show %(times)s twice: it runs the first time only.")
        case _, True:
            text = _("There is no %(times)s that day: it follows elapsed time and leaves that out.")
        case _:
            text = _("They show %(times)s twice: it follows elapsed time and runs both times.")
    return text % said


def times_of(change: ClockChange) -> str:
    """The wall times that are meant; of many, between what they lie."""
    if len(change.times) <= MOST:
        return joined(*map(wall_time, change.times))
    ends = sorted((change.before, change.after))
    return "\N{EN DASH}".join(map(wall_time, ends))


def wall_time(wall: int) -> str:
    """What clocks show."""
    moment = shown(wall)
    return clock(moment.hour, moment.minute, moment.second)


def shown(wall: int) -> datetime:
    """A wall time as a datetime."""
    return datetime.fromtimestamp(wall, UTC)
