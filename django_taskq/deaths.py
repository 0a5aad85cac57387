"""What the end of a process says."""

from __future__ import annotations

import signal


def cause_of(code: int, peak: str = "") -> str:
    """What an exit code says, in words. ``peak``: the most memory it held, if that is known."""
    if code >= 0:
        return f"its process left with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, "a real-time signal")
    hint = ", probably out of memory" if -code == signal.SIGKILL else ""
    memory = f"; peak memory {peak}" if peak else ""
    return f"its process was killed by signal {-code} ({name}{hint}{memory})"
