"""How fast a queue goes just now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import dropwhile
from typing import NamedTuple

from ..broker.inspector import Look, Step
from ..counts import failures, quantile
from .past import attempts

RECENT = Look(60_000, 6)  # five whole minutes, and the one that is open


class Pace(NamedTuple):
    """Attempts that ended per minute.

    ``wait``: ms that 95 of 100 jobs waited at most; or None. ``failed``: of 100 attempts.
    """

    per_minute: float
    wait: float | None
    failed: float = 0.0


NO_PACE = Pace(0, None)


def pace_of(steps: Sequence[Step]) -> Pace:
    """The pace since the first of these minutes in which anything ended, without the open one.

    Of a queue that has only just begun, that of the open minute so far.
    """
    begun = list(dropwhile(lambda step: not attempts(step.counters), steps))
    whole = begun[:-1] or begun
    if not whole:
        return NO_PACE
    counters: Counter[str] = Counter()
    for step in whole:
        counters.update(step.counters)
    ended = attempts(counters)
    failed = 100 * failures(counters) / ended if ended else 0.0
    return Pace(ended / len(whole), quantile(counters, "w", 0.95), failed)
