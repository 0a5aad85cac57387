"""How much memory a process holds."""

from __future__ import annotations

import re
import resource
import sys
from typing import NamedTuple

_LINE = re.compile(r"^Vm(HWM|RSS):\s+(\d+) kB$", re.MULTILINE)


class Memory(NamedTuple):
    """Bytes held now, and at most so far; 0 where it cannot be known."""

    now: int = 0
    peak: int = 0


def memory_of(pid: int | None = None) -> Memory:
    """The memory of a process, or of this one. Off Linux only this one's peak is known."""
    try:
        with open(f"/proc/{pid or 'self'}/status") as status:
            found = dict(_LINE.findall(status.read()))
    except OSError:  # no /proc, or the process is gone
        peak = 0 if pid else _peak(resource.RUSAGE_SELF)
        return Memory(peak, peak)
    return Memory(int(found.get("RSS", 0)) << 10, int(found.get("HWM", 0)) << 10)


def peak_of_the_dead() -> int:
    """The most that any child of this process held that has been waited for, bytes."""
    return _peak(resource.RUSAGE_CHILDREN)


def _peak(who: int) -> int:
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
