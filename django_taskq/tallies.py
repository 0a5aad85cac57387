"""What attempts came to, counted by task: written by workers, read as numbers and histograms.

Layer 1: pure, no I/O. A tally is text, ``S=12,w9=10,ws=731,...``: how many of each outcome (the
letters of job.Kind), how many waited and ran how long (``w`` and ``r`` with the number of a
bucket), and the sums of both (``ws``, ``rs``, ms). Buckets grow by the square root of two, so a
quantile read from them is at most a fifth off.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .job import Outcome

MOST = 50  # buckets: the last begins at about nine hours


def _exact_bucket(ms: int) -> int:
    """The bucket of a time: 0 for less than 1 ms, then two to each power of two."""
    if ms < 1:
        return 0
    bits = ms.bit_length()
    upper_half = ms * ms >= 1 << (2 * bits - 1)  # beyond 2 ** (bits - 0.5)
    return min(2 * bits - 1 + upper_half, MOST)


_SMALL = [_exact_bucket(ms) for ms in range(4096)]


def bucket(ms: int) -> int:
    """The number of the bucket that a time in ms falls into."""
    return _SMALL[ms] if 0 <= ms < 4096 else _exact_bucket(ms)


def floor_of(number: int) -> float:
    """Where a bucket begins, ms."""
    return 0.0 if number == 0 else 2 ** ((number - 1) / 2)


def tally(outcomes: Sequence[Outcome]) -> str:
    """The outcomes of one call as lines ``task tally``; those without a task are left out."""
    seen = Counter(
        [(o.task, o.kind, o.waited, o.took) for o in outcomes if o.task and o.kind != "G"]
    )
    by_task: dict[str, Counter[str]] = {}
    for (task, kind, waited, took), count in seen.items():
        found = by_task.setdefault(task, Counter())
        found[str(kind)] += count
        if waited >= 0:
            found[f"w{bucket(waited)}"] += count
            found["ws"] += waited * count
        if took >= 0:
            found[f"r{bucket(took)}"] += count
            found["rs"] += took * count
    return "".join(
        f"{task} {','.join(f'{name}={count}' for name, count in found.items())}\n"
        for task, found in by_task.items()
    )


@dataclass(slots=True)
class Tally:
    """A tally as numbers. ``outcomes``: by the letters of Kind; ``waits``, ``runs``: by bucket."""

    outcomes: Counter[str] = field(default_factory=Counter)
    waits: Counter[int] = field(default_factory=Counter)
    runs: Counter[int] = field(default_factory=Counter)
    waited: int = 0  # ms in all
    ran: int = 0

    def add(self, other: Tally) -> None:
        """Counts another in."""
        self.outcomes += other.outcomes
        self.waits += other.waits
        self.runs += other.runs
        self.waited += other.waited
        self.ran += other.ran

    @property
    def attempts(self) -> int:
        """How many attempts came to an end."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """How many failed, whether or not they run again."""
        return sum(self.outcomes[kind] for kind in "RDKQX")


_PAIR = re.compile(r"([a-zA-Z])(s|\d{1,2})?=(\d{1,18})")


def parse(raw: str) -> Tally:
    """The tally in a text; what is none of its pairs is passed over."""
    found = Tally()
    for name, more, count in _PAIR.findall(raw):
        if name.isupper() and not more:
            found.outcomes[name] += int(count)
        elif name == "w" and more == "s":
            found.waited += int(count)
        elif name == "r" and more == "s":
            found.ran += int(count)
        elif name in "wr" and more:
            (found.waits if name == "w" else found.runs)[int(more)] += int(count)
    return found


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them in one."""
    found = Tally()
    for each in tallies:
        found.add(each)
    return found


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The time, ms, that ``share`` of what was counted stayed below; None if there was nothing.

    Within a bucket the times are taken to lie evenly.
    """
    rest = share * sum(counts.values())
    for number, count in sorted(counts.items()):
        if count and rest <= count:
            low, high = floor_of(number), floor_of(number + 1)
            return low + (high - low) * rest / count
        rest -= count
    return None
