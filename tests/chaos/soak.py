"""An hour of steady work: neither the worker's memory nor the server's grows.

    python -m tests.chaos.soak --minutes 60 > soak.log 2>&1 &

Flat is what gains no more than 5 % of its mean, or 1 MB (3 files, 3 keys), by a straight line
through all samples after the first quarter.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, mean
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import Fault
from tests.chaos.report import heading
from tests.chaos.run import run

SAMPLES = 240  # in all
LINES = 24  # that are printed meanwhile
WARM_UP = 0.25  # of the time: what is taken at first is no growth
SHARE = 0.05  # of the mean that may be gained in the rest, and
BYTES = 1 << 20  # as much at least
RESULT = 200  # bytes


@dataclass
class Series:
    """A figure over time."""

    name: str
    times: list[float] = field(default_factory=list)  # seconds
    values: list[float] = field(default_factory=list)  # bytes, or a count

    def add(self, value: float) -> None:
        self.times.append(time.monotonic())
        self.values.append(value)

    @property
    def growth(self) -> float:
        """What a straight line through the samples after the warm-up gains."""
        times, values = self._steady()
        return linear_regression(times, values).slope * (times[-1] - times[0])

    @property
    def grows(self) -> bool:
        _, values = self._steady()
        return self.growth > max(SHARE * mean(values), BYTES if mean(values) > BYTES else 3)

    @property
    def latest(self) -> str:
        value = self.values[-1]
        return f"{self.name} {value:.0f}" if value < BYTES else f"{self.name} {value / 1e6:.1f} MB"

    def _steady(self) -> tuple[list[float], list[float]]:
        first = int(len(self.times) * WARM_UP)
        return self.times[first:], self.values[first:]

    def __str__(self) -> str:
        _, values = self._steady()
        if mean(values) < BYTES:
            return f"{self.name} {mean(values):.0f} {self.growth:+.1f}"
        return f"{self.name} {mean(values) / 1e6:.1f} MB {self.growth / 1e6:+.2f}"


class Soak(Fault):
    """No fault at all, for long."""

    name = "soak"
    slow = True
    jobs = 0
    rounds = 1
    forgets = True  # its jobs are short-lived, so that the server has a level to keep
    pause = 0.05
    minutes = 60.0

    def arrange(self, arena: Arena) -> None:
        self.worker = arena.worker()
        self.series = {name: Series(name) for name in ("worker", "server", "files", "keys")}

    def make(self, number: int) -> tuple[Any, tuple[Any, ...]]:
        from tests.chaos.app import tasks

        return tasks.passing, (number, RESULT)

    def attempts(self, number: int) -> int:
        return 1

    def strike(self, arena: Arena) -> None:
        for at in range(1, SAMPLES + 1):
            arena.pass_time(self.minutes * 60 / SAMPLES)
            self.sample(arena)
            if at % (SAMPLES // LINES) == 0:
                figures = "  ".join(each.latest for each in self.series.values())
                print(f"{self.minutes * at / SAMPLES:6.1f} min  {figures}", flush=True)

    def sample(self, arena: Arena) -> None:
        pids = [self.worker.process.pid, *self.worker.children()]
        self.series["worker"].add(sum(map(proportional_memory, pids)))
        self.series["files"].add(sum(len(list(Path(f"/proc/{p}/fd").iterdir())) for p in pids))
        self.series["server"].add(arena.server.used_memory())
        self.series["keys"].add(arena.server.client.dbsize())

    def verify(self, arena: Arena, census: Census) -> list[str]:
        arena.notes += map(str, self.series.values())
        growing = [f"{each.name} grows" for each in self.series.values() if each.grows]
        arena.notes.append("not flat" if growing else "flat")
        return growing


def proportional_memory(pid: int) -> int:
    """Bytes of memory of a process, what it shares divided by those who share it (PSS)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:", 1)[1].split()[0]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=Soak.minutes)
    parser.add_argument("--table", type=Path, help="a file that gets the figures at its end")
    options = parser.parse_args()
    Soak.minutes = options.minutes
    report = run(Soak(), Soak.jobs, Soak.rounds)
    print(heading(), report.row(), sep="\n")
    if options.table:
        with options.table.open("a") as file:
            notes = "; ".join([*report.notes, *report.complaints])
            file.write(
                f"\n## Steady work\n\n{report.jobs:,} jobs in {Soak.minutes:g} min: {notes}\n"
            )
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
