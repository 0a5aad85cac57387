"""How much of a core processes use."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from .clock import monotonic

SHORTEST = 1.0  # seconds between two looks; the kernel counts in steps of 10 ms
USER, SYSTEM = 11, 12  # fields behind the program's name, which may hold anything


def seconds_of(pid: int | None = None) -> float | None:
    """The processor time that a process, or this one, has used; None where it cannot be known.

    Without that of its children. Off Linux only this one's is known.
    """
    pid = pid or os.getpid()
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:  # no /proc, or the process is gone
        return time.process_time() if pid == os.getpid() else None
    return (int(fields[USER]) + int(fields[SYSTEM])) / os.sysconf("SC_CLK_TCK")


class Look(NamedTuple):
    """What was seen of a process at a time (monotonic). ``share``: since the look before."""

    at: float
    seconds: float | None
    share: int | None = None


class Load:
    """Of some processes the share of one core that each uses, from one look to the next."""

    def __init__(self) -> None:
        self._looks: dict[int, Look] = {}

    def look(self, pids: Iterable[int]) -> dict[int, int | None]:
        """pid -> percent of a core; None where nothing is known to compare with."""
        now = monotonic()
        self._looks = {pid: again(pid, self._looks.get(pid), now) for pid in pids}
        return {pid: look.share for pid, look in self._looks.items()}


def again(pid: int, before: Look | None, now: float) -> Look:
    """Another look at a process."""
    if before is not None and now - before.at < SHORTEST:
        return before
    seconds = seconds_of(pid)
    if before is None or before.seconds is None or seconds is None or seconds < before.seconds:
        return Look(now, seconds)  # less than before: another process has its number now
    return Look(now, seconds, round(100 * (seconds - before.seconds) / (now - before.at)))
