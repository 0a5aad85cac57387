"""A schedule: when it is due, and what happens when a tick comes too soon or too late.

Layer 1: pure, no I/O. A tick is one due time of a schedule. Times are ms since the epoch.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .cron import Next, parse
from .job import word_of
from .retry import as_seconds, bad_option
from .spelling import nearest

OVERLAPS = ("skip", "queue", "replace")
CATCH_UPS = ("skip", "one", "all")
LATE = 10_000  # ms after which a tick that nobody fired is a missed one, and catch_up decides
MOST = 1_000  # ticks that catch_up="all" makes up for
LONGEST_JITTER = 86_400.0
MAX_NAME = 200
LAST = int(datetime(9000, 1, 1, tzinfo=UTC).timestamp() * 1000)  # then no tick nears year 10000
PRINT = 12  # characters of a fingerprint


class Backlog(NamedTuple):
    """What becomes of missed ticks: those to fire after all, and how many are given up.

    ``upto``: the newest of them, or where there are none, what was asked about.
    """

    fire: list[int]
    missed: int
    upto: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """A declaration, checked when it is made. Raises InvalidOption.

    ``jitter``: seconds that ticks are spread over. ``start``, ``end``: the first and the last
    moment that a tick may have; naive datetimes are in ``tz``.
    """

    expression: Any
    tz: str = "UTC"
    overlap: str = "skip"
    catch_up: str = "one"
    jitter: Any = 0.0
    start: datetime | None = None
    end: datetime | None = None
    enabled: bool = True

    zone: ZoneInfo = field(init=False, repr=False, compare=False)
    first: int = field(init=False, repr=False, compare=False)
    last: float = field(init=False, repr=False, compare=False)
    _next: Next = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        zone = check_zone(self.tz)
        first, last = _bound(self.start, "start", zone), _bound(self.end, "end", zone)
        if first is not None and last is not None and last < first:
            raise bad_option("end", str(self.end), "must not be before start")
        expression, following = parse(self.expression, zone, -(-(first or 0) // 1000))
        values = {
            "expression": expression,
            "overlap": one_of(OVERLAPS, self.overlap, "overlap"),
            "catch_up": one_of(CATCH_UPS, self.catch_up, "catch_up"),
            "jitter": _jitter(self.jitter),
            "enabled": _flag(self.enabled, "enabled"),
            "zone": zone,
            "first": first or 0,
            "last": float("inf") if last is None else last,
            "_next": following,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def next_after(self, moment: int) -> int | None:
        """The first tick behind ``moment``; None: there is none any more."""
        tick = self._next(max(moment, self.first - 1) // 1000) * 1000
        return tick if tick <= self.last else None

    def next_runs(self, moment: int, count: int) -> list[datetime]:
        """The next ticks, in the schedule's own zone, for a person to read."""
        runs: list[datetime] = []
        tick = self.next_after(moment)
        while tick is not None and len(runs) < count:
            runs.append(datetime.fromtimestamp(tick / 1000, self.zone))
            tick = self.next_after(tick)
        return runs

    def fires_at(self, name: str, tick: int) -> int:
        """When a tick is to be fired: up to ``jitter`` later, the same on every worker."""
        if not self.jitter:
            return tick
        spread = round(self.jitter * 1000) + 1
        return tick + int.from_bytes(_digest(name, tick)[-8:]) % int(spread)

    def backlog(self, after: int, now: int, following: int | None = None) -> Backlog:
        """What ``catch_up`` makes of the ticks behind ``after`` that are more than LATE over.

        ``following``: the first tick behind ``after``, if it is known.
        """
        over = now - LATE - round(self.jitter * 1000)
        if following is None:
            following = self.next_after(after)
        if following is None or following > over:
            return Backlog([], 0, after)
        newest, passed = self.newest(after, over, MOST if self.catch_up == "all" else 1)
        upto = newest[-1]
        if self.catch_up == "all":
            return Backlog(newest, passed, upto)
        following = self.next_after(upto)
        in_time = following is not None and following <= now
        if self.catch_up == "one" and not in_time:
            return Backlog(newest, passed, upto)
        return Backlog([], passed + 1, upto)

    def newest(self, after: int, until: int, most: int) -> tuple[list[int], int]:
        """The last ``most`` ticks in (after, until], and how many others were seen before them.

        A long time with many ticks is not walked through as a whole: then there are more.
        """
        ticks, seen, whole = self._walk(after, until, most)
        passed, floor, span, start = 0, after, until - after, after
        before: deque[int] = deque()  # the last ones up to the floor
        while not whole or (len(ticks) < most and max(floor, until - span) > floor):
            if whole:
                span *= 2  # too small a part of it
            else:
                passed += seen
                span = min(span // 2, ticks[-1] - floor)
                floor, before = ticks[-1], ticks
            start = max(floor, until - span)
            ticks, seen, whole = self._walk(start, until, most)
        found = [*(before if start == floor else ()), *ticks][-most:]
        return found, passed + seen - len(found)

    def _walk(self, after: int, until: int, most: int) -> tuple[deque[int], int, bool]:
        """The last ``most`` of the ticks behind ``after``, how many there were, if all."""
        ticks: deque[int] = deque(maxlen=most)
        steps = max(4 * most, 100)
        following = self.next_after(after)
        for seen in range(steps):
            if following is None or following > until:
                return ticks, seen, True
            ticks.append(following)
            following = self.next_after(following)
        return ticks, steps, following is None or following > until

    @property
    def fingerprint(self) -> str:
        """Differs when the ticks do: what was missed under other times is not made up for."""
        what = [self.expression, self.tz, self.first, self.last, self.enabled]
        return word_of(hashlib.sha256(repr(what).encode()).digest())[:PRINT]


def tick_name(schedule: str, tick: int) -> str:
    """The name of a tick's job: the same whoever fires it."""
    return word_of(_digest(schedule, tick))


def _digest(name: str, tick: int) -> bytes:
    return hashlib.sha256(f"{name}\0{tick}".encode()).digest()


# -- checks of single options ----------------------------------------------------------------------


def check_zone(value: Any) -> ZoneInfo:
    """The zone of that name. Raises InvalidOption."""
    try:
        return ZoneInfo(value)
    except (ValueError, OSError, TypeError, LookupError):
        must = "must be the name of a time zone, such as 'Europe/Berlin'"
        raise bad_option("tz", value, must) from None


def check_name(value: Any) -> str:
    """The name of a schedule. Raises InvalidOption."""
    if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= MAX_NAME:
        return str.__str__(value)
    must = f"must be 1 to {MAX_NAME} characters, none of them a control character"
    raise bad_option("name", value, must)


def one_of(valid: tuple[str, ...], value: Any, option: str) -> str:
    """``value`` if it is one of the words. Raises InvalidOption."""
    if isinstance(value, str) and value in valid:
        return str.__str__(value)
    must = f"must be one of {', '.join(map(repr, valid))}"
    raise bad_option(option, value, f"{must}; {nearest(value, valid)}")


def _jitter(value: Any) -> float:
    if isinstance(value, timedelta | int | float) and not isinstance(value, bool):
        seconds = as_seconds(value, "jitter")
        if seconds <= LONGEST_JITTER:
            return seconds
    raise bad_option("jitter", value, "must be seconds or a timedelta, of a day at most")


def _flag(value: Any, option: str) -> bool:
    if isinstance(value, bool):
        return value
    raise bad_option(option, value, "must be True or False")


def _bound(value: Any, option: str, zone: ZoneInfo) -> int | None:
    """A moment in ms; a naive datetime is in ``zone``."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise bad_option(option, value, "must be a datetime, or None")
    aware = value if value.tzinfo else in_zone(value, zone)
    moment = int(aware.timestamp() * 1000)
    if moment < 0:
        raise bad_option(option, str(value), "must not be before 1970")
    if moment >= LAST:
        raise bad_option(option, str(value), "must be before the year 9000")
    return moment


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """A moment as clocks of a zone show it; a naive one is in that zone."""
    return moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
