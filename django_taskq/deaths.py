"""How a process of the worker's ends: what that says, and how it takes others along."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PROBE = signal.SIGTTIN  # to a child: write where all threads are, without the interpreter's help
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN)


def cause_of(code: int, peak: str = "") -> str:
    """What an exit code says, in words. ``peak``: the most memory it held, if that is known."""
    if code >= 0:
        return f"its process left with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, "a real-time signal")
    hint = ", probably out of memory" if -code == signal.SIGKILL else ""
    memory = f"; peak memory {peak}" if peak else ""
    return f"its process was killed by signal {-code} ({name}{hint}{memory})"


def die_with_parent() -> None:
    """Linux kills this process when its parent dies; elsewhere the closed socket tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ignore_signals() -> None:
    """The supervisor says what they mean. Not SIG_IGN: what jobs start would inherit that."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(-1)


def leave(code: int) -> NoReturn:
    """Ends this process; threads that still run a job must not hold it up."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
