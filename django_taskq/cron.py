"""When a schedule is due: cron expressions and intervals, where days are of 23 and 25 hours.

Layer 1: pure. Moments are whole seconds since the epoch; a wall time is what a clock on the wall
shows, counted as if it hung in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from .retry import as_seconds, bad_option

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
DAY = 86_400
RANDOM = re.compile(
    r"(?<![a-z])[rh](?![a-z])", re.IGNORECASE
)  # croniter's own: differs per process
SPAN = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
EVERY = "@every"
FORMS = (
    "must be five fields of cron (minute hour day month weekday), six with the seconds in front, "
    f"one of {', '.join(MACROS)}, '@every 90s', or a timedelta"
)

# moment -> the first due moment behind it
Next = Callable[[int], int]


def parse(expression: str | timedelta, zone: ZoneInfo, anchor: int = 0) -> tuple[str, Next]:
    """The expression in its one written form, and what computes its moments.

    ``anchor``: the moment that intervals are counted from. Raises InvalidOption.
    """
    if isinstance(expression, timedelta):
        return _interval(expression.total_seconds(), expression, anchor)
    if not isinstance(expression, str):
        raise bad_option("expression", expression, FORMS)
    text = " ".join(expression.split())
    word, _, rest = text.casefold().partition(" ")
    if word == EVERY:
        return _interval(seconds_of(rest), expression, anchor)
    cron = _cron(MACROS.get(text.casefold(), text), expression)
    compute = _next_elapsed if is_hourly(cron) else _next_by_the_wall
    return text, lambda moment: compute(cron, zone, moment)


def cron_in(written: str) -> str:
    """The cron of an expression in its written form; "" of an interval."""
    if written.startswith(EVERY):
        return ""
    return _cron(MACROS.get(written.casefold(), written), written)


def is_hourly(cron: str) -> bool:
    """Whether it is for every hour, and so follows elapsed time."""
    return bool(croniter.expand(cron)[0][1] == ["*"])


def walls(cron: str, low: int, high: int) -> Iterator[int]:
    """The wall times in [low, high) that it names, as if they were seconds since the epoch."""
    wall = _next_wall(cron, low - 1)
    while wall < high:
        yield wall
        wall = _next_wall(cron, wall)


# -- intervals -------------------------------------------------------------------------------------


def seconds_of(text: str) -> float | None:
    """Seconds of ``1h30m``; None when that is no length of time."""
    if not SPAN.fullmatch(text):
        return None
    parts = re.findall(r"([\d.]+)([dhms])", text)
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _interval(seconds: float | None, given: object, anchor: int) -> tuple[str, Next]:
    if seconds is None:
        must = "must be '@every' and a duration, such as 90s, 10m, 1h30m or 1d"
        raise bad_option("expression", given, must)
    if seconds < 1 or seconds != int(seconds):
        raise bad_option("expression", given, "must be whole seconds, at least one")
    step = int(as_seconds(seconds, "expression"))
    return f"@every {step}s", lambda moment: moment + step - (moment - anchor) % step


# -- cron ------------------------------------------------------------------------------------------


def _cron(text: str, given: object) -> str:
    """The expression as croniter reads it: five fields, or six with the seconds at the end."""
    fields = text.split()
    if text.startswith("@") or len(fields) not in (5, 6) or RANDOM.search(text):
        raise bad_option("expression", given, FORMS)
    cron = " ".join(fields if len(fields) == 5 else [*fields[1:], fields[0]])
    try:
        croniter.expand(cron)
        _next_wall(cron, 0)
    except CroniterBadDateError:
        raise bad_option("expression", given, "never fires: there is no such date") from None
    except (ValueError, KeyError) as error:
        raise bad_option("expression", given, f"{FORMS}; {error}") from None
    return cron


@lru_cache(maxsize=4096)  # many schedules share an expression, and are due together
def _next_wall(cron: str, wall: int) -> int:
    """The first wall time behind ``wall`` that the expression names."""
    return int(croniter(cron, wall).get_next(float))


def offset_at(zone: ZoneInfo, moment: int) -> int:
    """Seconds that the zone's clocks are ahead of UTC."""
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def turns(zone: ZoneInfo, low: int, high: int) -> Iterator[int]:
    """The moments in (low, high] from which on the clocks are set otherwise than before."""
    for start in range(low, high, DAY):
        end = min(start + DAY, high)
        if offset_at(zone, start) != offset_at(zone, end):
            yield _turn(zone, start, end)


def _turn(zone: ZoneInfo, low: int, high: int) -> int:
    """The moment in (low, high] from which on the clocks are set as at ``high``."""
    after = offset_at(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(zone, middle) == after:
            high = middle
        else:
            low = middle
    return high


def _moment_of(zone: ZoneInfo, wall: int) -> int:
    """When the clocks show ``wall`` for the first time; the end of the gap if they never do."""
    shown = datetime.fromtimestamp(wall, UTC).replace(tzinfo=zone)
    moment = int(shown.timestamp())
    if moment + offset_at(zone, moment) == wall:
        return moment
    return _turn(zone, int(shown.replace(fold=1).timestamp()) - 1, moment)


def _next_by_the_wall(cron: str, zone: ZoneInfo, moment: int) -> int:
    """Each wall time once: the first time it is shown, or when it would have been."""
    wall = moment + offset_at(zone, moment)
    while True:
        wall = _next_wall(cron, wall)
        due = _moment_of(zone, wall)
        if due > moment:
            return due


def _next_elapsed(cron: str, zone: ZoneInfo, moment: int) -> int:
    """Every moment whose wall time is named: twice in an hour that comes twice."""
    offset = offset_at(zone, moment)
    while True:
        due = _next_wall(cron, moment + offset) - offset
        horizon = min(due, moment + DAY)
        if offset_at(zone, horizon) != offset:  # the clocks are changed before
            turn = _turn(zone, moment, horizon)
            offset = offset_at(zone, turn)
            moment = turn - 1
        elif due <= horizon:
            return due
        else:  # nothing is named until then, whatever the clocks do
            moment = max(due - 2 * DAY, horizon)
            offset = offset_at(zone, moment)
