"""How many jobs at once, and how many in a time: what limits may say.

Layer 1: pure, no I/O. Times are seconds.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from .exceptions import InvalidOption
from .retry import as_seconds, bad_option
from .spelling import nearest

UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
UNITS |= {"h": 3_600.0, "hour": 3_600.0, "d": 86_400.0, "day": 86_400.0}
MOST = 1_000_000  # jobs at once, or in one unit of time
PER = (0.001, 366 * 86_400.0)
WEIGHTS = (0.01, 1_000.0)

_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{0,6})\s*([A-Za-z]+)\s*")

# Pairs of key and weight, which can be hashed as all options of a task can, or a function of a key.
Weights = tuple[tuple[str, float], ...] | Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` jobs in ``per`` seconds, evenly.

    ``burst``: how many may start at once after a rest; None: what a second's worth is, and at
    least one. In any ``per`` seconds at most ``count`` + ``burst`` start.
    """

    count: int
    per: float | timedelta
    burst: int | None = None

    def __post_init__(self) -> None:
        _whole("Rate(count)", self.count)
        seconds = as_seconds(self.per, "Rate(per)", zero=False)
        if not PER[0] <= seconds <= PER[1]:
            raise bad_option("Rate(per)", self.per, "must be from 0.001 seconds to a year")
        object.__setattr__(self, "per", seconds)
        if self.burst is not None:
            _whole("Rate(burst)", self.burst)

    @property
    def interval(self) -> float:
        """Milliseconds from one job to the next."""
        return float(self.per) * 1000 / self.count  # type: ignore[arg-type]

    @property
    def slack(self) -> float:
        """Milliseconds that a job may come too early."""
        return (self.at_once - 1) * self.interval

    @property
    def at_once(self) -> int:
        """How many may start at once after a rest."""
        return max(int(1000 / self.interval), 1) if self.burst is None else self.burst

    @classmethod
    def of(cls, interval: float, slack: float) -> Rate:
        """The rate with these milliseconds. Raises ArithmeticError or ValueError for none."""
        exact = Fraction(1000 / interval).limit_denominator(40_000_000)  # more seconds than a year
        count = min(exact.numerator, MOST)
        rate = cls(count, float(count / exact))
        burst = round(slack / interval) + 1
        return rate if burst == rate.at_once else cls(count, rate.per, burst)

    @property
    def text(self) -> str:
        """As ``check_rate()`` takes it, without ``burst``: with one unit of time if it can be."""
        return self._in_units(1) or self._in_units(999_999) or f"{self.count}/{self.per:g}s"

    def _in_units(self, most: int) -> str:
        """The shortest text with at most so many units of time; "" for none."""
        exact = Fraction(self.count) / Fraction(self.per)  # type: ignore[arg-type]
        found = []
        for unit in "smhd":
            seconds = Fraction(UNITS[unit])
            rate = (exact * seconds).limit_denominator(most)
            if abs(rate / seconds - exact) * 10**9 <= exact:  # what floats lose is no difference
                times = "" if rate.denominator == 1 else rate.denominator
                found.append(f"{rate.numerator}/{times}{unit}")
        return min(found, key=len, default="")


class Limit(NamedTuple):
    """The numbers of a gate: how many at once, and how many in a time; None: no such limit."""

    concurrency: int | None = None
    rate: Rate | None = None

    def told(self) -> dict[str, Any]:
        """What it says, by names: ``concurrency``, ``rate`` (text), ``burst``."""
        rate = self.rate
        return {
            "concurrency": self.concurrency,
            "rate": rate.text if rate else None,
            "burst": rate.burst if rate else None,
        }

    def __bool__(self) -> bool:
        return self.concurrency is not None or self.rate is not None


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise bad_option(name, value, f"must be a whole number from 1 to {MOST:,}")
    return value


def made_limit(concurrency: int | None, rate: Rate | None, burst: int | None = None) -> Limit:
    """The limit that a person asks for. Raises InvalidOption."""
    if burst is not None:
        if rate is None:
            raise InvalidOption("burst: needs a rate")
        rate = Rate(rate.count, rate.per, burst)
    limit = Limit(check_concurrency(concurrency, "concurrency"), rate)
    if not limit:
        raise InvalidOption("a limit needs a number of jobs at once, a rate, or both")
    return limit


def check_rate(value: Any, name: str) -> Rate | None:
    """The option, a Rate or text such as "100/m", as a Rate. Raises InvalidOption."""
    if value is None or isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) and value.isascii() else None
    if match is None:
        must = "must be a number per time, such as '100/m', '5/30s', '10/s' or Rate(100, per=60)"
        raise bad_option(name, value, must)
    count, times, unit = match.groups()
    seconds = UNITS.get(unit[:-1] if len(unit) > 3 and unit.endswith("s") else unit)
    if seconds is None:
        raise bad_option(name, value, f"there is no unit {unit!r}; {nearest(unit, UNITS)}")
    try:
        return Rate(int(count), float(times or 1) * seconds)
    except InvalidOption as error:
        raise bad_option(name, value, str(error)) from None


def check_concurrency(value: Any, name: str) -> int | None:
    """The option as it is kept. Raises InvalidOption."""
    return None if value is None else _whole(name, value)


def check_weights(value: Any, name: str) -> Weights | None:
    """The option as it is kept. Raises InvalidOption."""
    if value is None:
        return None
    if inspect.iscoroutinefunction(value):
        raise bad_option(name, value, "must not be an async function: enqueue() calls it")
    if callable(value):
        return value  # type: ignore[no-any-return]
    try:
        weights = dict(value) if isinstance(value, Mapping | tuple) else None  # a tuple: as kept
    except (TypeError, ValueError):
        weights = None
    if weights is None:
        raise bad_option(name, value, "must be a dict of keys and weights, or a function of a key")
    return tuple((str(k), check_weight(w, f"{name}[{k!r}]")) for k, w in weights.items())


def check_weight(value: Any, name: str) -> float:
    """The weight as a float. Raises InvalidOption."""
    least, most = WEIGHTS
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise bad_option(name, value, f"must be a number from {least:g} to {most:g}")
    return float(value)
