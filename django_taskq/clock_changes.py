"""When the clocks of a schedule's zone are set, and what that does to its ticks.

Layer 1: pure, no I/O. A wall time is what clocks show, written as seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from .cron import cron_in, is_hourly, offset_at, turns, walls
from .schedule import Schedule

NEAR = 7 * 86_400  # seconds between a run and a change that is worth a word
MOST = 6  # wall times that are named one by one


class ClockChange(NamedTuple):
    """The clocks are set at ``at`` (s), from ``before`` to ``after``.

    ``way`` is how the schedule takes it: by the ``wall``, each of its times once; by ``elapsed``
    time, as it names every hour; or as an ``interval``, which knows no clocks. ``times``: its wall
    times that are left out, or come twice; where there are more than MOST of them, the first ones.
    """

    at: int
    before: int
    after: int
    way: str
    times: Sequence[int] = ()

    @property
    def is_forward(self) -> bool:
        """Whether wall times are left out; else some come twice."""
        return self.after > self.before


def clock_changes(schedule: Schedule, now: int, runs: Sequence[datetime]) -> list[ClockChange]:
    """The changes behind ``now`` (ms) that lie within NEAR of one of these runs, in order."""
    zone, soonest = schedule.zone, now // 1000
    found = {
        turn
        for run in map(datetime.timestamp, runs)
        for turn in turns(zone, max(int(run) - NEAR, soonest), int(run) + NEAR)
    }
    return [_change(schedule, turn) for turn in sorted(found)]


def _change(schedule: Schedule, turn: int) -> ClockChange:
    before, after = offset_at(schedule.zone, turn - 1), offset_at(schedule.zone, turn)
    cron = cron_in(schedule.expression)
    shown = (turn + before, turn + after)
    if not cron:
        return ClockChange(turn, *shown, "interval")
    way = "elapsed" if is_hourly(cron) else "wall"
    named = (
        wall
        for wall in walls(cron, *sorted(shown))
        if _is_due(schedule, min(wall - before, turn))  # what is left out is due at the change
    )
    return ClockChange(turn, *shown, way, tuple(islice(named, MOST + 1)))


def _is_due(schedule: Schedule, moment: int) -> bool:
    """Whether it has begun, and its end is not over."""
    return schedule.first <= moment * 1000 <= schedule.last
