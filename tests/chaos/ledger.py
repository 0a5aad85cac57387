"""What jobs did, in a file that only ever grows: no fault of Redis can touch it.

A line is ``mark number pid time``, written by one system call, so lines of many processes never
mix. The time is CLOCK_MONOTONIC, which all processes of a machine share and no fault here moves.
"""

from __future__ import annotations

import os
import time
from collections import deque
from functools import cache
from itertools import pairwise
from pathlib import Path

BEGUN, DONE, FAILED = "B", "D", "F"
STOPPED = "S"  # the code was told to stop, and noticed


@cache
def _descriptor(pid: int) -> int:
    return os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def trace(mark: str, number: int) -> None:
    """Writes a line; called by jobs."""
    pid = os.getpid()
    os.write(_descriptor(pid), f"{mark} {number} {pid} {time.monotonic():.4f}\n".encode())


class Ledger:
    """The lines so far, read as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self.open: dict[int, float] = {}  # number -> when its latest run began
        self.done: dict[int, float] = {}  # number -> when it was done first
        self.again: list[tuple[int, float]] = []  # done once more
        self.runs: dict[int, list[int]] = {}  # number -> pids, while it is not done
        self.latest = 0.0  # when a run began last
        self._recent: deque[tuple[float, int]] = deque(maxlen=20_000)  # whose runs ended last

    def read(self) -> None:
        """Takes in what was written since."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            mark, number, pid, when = line.decode().split()
            self._take(mark, int(number), int(pid), float(when))

    def _take(self, mark: str, number: int, pid: int, when: float) -> None:
        if mark == BEGUN:
            self.latest = max(self.latest, when)
            if number not in self.done:
                self.open[number] = when
                self.runs.setdefault(number, []).append(pid)
        elif mark in (STOPPED, FAILED):
            self._recent.append((when, number))
            self.open.pop(number, None)
        elif number in self.done:
            self.again.append((number, when))
        else:
            self.done[number] = when
            self._recent.append((when, number))
            self.open.pop(number, None)
            self.runs.pop(number, None)

    def done_since(self, when: float) -> set[int]:
        """The numbers of jobs of which a run ended after ``when``, the last 20,000 at most."""
        return {number for at, number in self._recent if at >= when}

    def longest_gap(self, since: float) -> float:
        """Seconds in which nothing was done, at most; of the last 20,000 jobs."""
        times = sorted(at for at, _ in self._recent if at >= since)
        return max((b - a for a, b in pairwise(times)), default=0.0)

    def close(self) -> None:
        self._file.close()
