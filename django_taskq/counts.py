"""What attempts came to, counted: written by workers, read as numbers and times.

Layer 1: pure, no I/O. A counter has a short name: the letter of an outcome (job.Kind), or ``w``
(waited) or ``r`` (ran) with the number of a bucket. Buckets grow by the square root of two, so a
quantile that is read from them is at most a fifth off.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

MOST = 50  # buckets: the last begins at about seven hours
SUCCEEDED, CANCELLED = "S", "C"
FAILED = "RDKQX"  # outcomes of attempts that failed, whether or not they run again
OTHERS = "*"  # the task that those go under which are too many to be counted each

_EDGES = [2 ** (number / 2) for number in range(MOST)]  # where the buckets from 1 on begin, ms
_STARTS = [0.0, *_EDGES]
_COUNTER = re.compile(r"([A-Z]|[wr]\d{1,2})=(\d{1,18})")


def bucket(ms: int) -> int:
    """The number of the bucket that a time falls into: 0 for less than 1 ms."""
    return bisect_right(_EDGES, ms)


def mark(kind: str, task: str, waited: int, took: int) -> str:
    """What an attempt is counted as; times in ms, -1: none.

    ``S w12 r3|the.task``: the counters that it raises, those of all tasks and of its own.
    """
    return kind + _times(task, bisect_right(_STARTS, waited), bisect_right(_STARTS, took))


@lru_cache(maxsize=4096)
def _times(task: str, waited: int, took: int) -> str:
    """The same without the outcome; of numbers of buckets plus one, 0: none."""
    names = (f" w{waited - 1}" if waited else "", f" r{took - 1}" if took else "")
    return f"{''.join(names)}|{task}"


def parse(text: str) -> Counter[str]:
    """The counters in ``S=12,w9=10``; what is none is passed over."""
    return Counter({name: int(count) for name, count in _COUNTER.findall(text)})


def failures(counters: Mapping[str, int]) -> int:
    """How many attempts failed."""
    return sum(counters.get(kind, 0) for kind in FAILED)


def ends(kinds: Sequence[str]) -> tuple[int, int]:
    """Of outcomes, by their letters: how many end an attempt, and how many of those failed."""
    attempts, failed = kinds.count(SUCCEEDED), 0
    if attempts < len(kinds):  # most batches are succeeded jobs and nothing else
        failed = sum(map(kinds.count, FAILED))
        attempts += failed + kinds.count(CANCELLED)
    return attempts, failed


def quantile(counters: Mapping[str, int], what: str, share: float) -> float | None:
    """The time, ms, that ``share`` of what waited (``w``) or ran (``r``) stayed below.

    None if nothing was counted. Within a bucket the times are taken to lie evenly.
    """
    counts = {int(name[1:]): count for name, count in counters.items() if name[0] == what}
    rest = share * sum(counts.values())
    for number, count in sorted(counts.items()):
        if count and rest <= count:
            low = _EDGES[number - 1] if number else 0.0
            high = _EDGES[number] if number < MOST else low
            return low + (high - low) * rest / count
        rest -= count
    return None
