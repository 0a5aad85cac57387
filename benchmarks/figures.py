"""Arithmetic on measurements, and what the kernel knows about a process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds


def percentile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def rate(times: Sequence[int]) -> float:
    """Starts per second: (N-1) / (last start - first start). ``times`` in ns."""
    return (len(times) - 1) / ((max(times) - min(times)) / 1e9)


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in listing.read_text().split()]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time the processes used so far, user and system."""
    return sum(_cpu_seconds(pid) for pid in pids)


def _cpu_seconds(pid: int) -> float:
    # The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def pss_megabytes(pids: Iterable[int]) -> float:
    """Memory of the processes, where each counts its share of the pages they have in common."""
    kilobytes = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kilobytes += int(line.split()[1])
    return kilobytes / 1024
