"""How a process of the worker's ends: what that says, and how it takes others along."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
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


def die_with_parent(*, behind_server: bool = False) -> None:
    """Linux kills this process when its parent dies; elsewhere the closed socket tells.

    One whose parent died before it asked for that ends here: a fork that holds a copy of the
    parent's end of the socket would never be told. ``behind_server``: a fork server is its parent.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    lives = parent.is_alive() if behind_server else os.getppid() == parent.pid
    if not lives:
        os._exit(1)


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
