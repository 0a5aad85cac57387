"""Jobs that leave a line where Redis cannot lose it, and jobs that misbehave."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from django_taskq import task
from tests.chaos.ledger import BEGUN, DONE, FAILED, STOPPED, trace

KNOWS = os.environ.get("CHAOS_KNOWS", "old new").split()
STEADY = {"max_attempts": 25, "backoff": 0.05}  # what a fault makes fail is tried again at once


@task(**STEADY)
def work(number: int, ms: float = 10, size: int = 0) -> Any:
    """A short job; what it returns is its process, or so many bytes."""
    trace(BEGUN, number)
    try:
        time.sleep(ms / 1000)
    except BaseException:
        trace(STOPPED, number)
        raise
    trace(DONE, number)
    return "x" * size if size else os.getpid()


@task(**STEADY)
async def awork(number: int, ms: float = 10) -> int:
    """The same on the event loop."""
    trace(BEGUN, number)
    try:
        await asyncio.sleep(ms / 1000)
    except BaseException:
        trace(STOPPED, number)
        raise
    trace(DONE, number)
    return os.getpid()


class Flaky(Exception):
    """What a job raises whose first attempt fails."""


@task(takes_context=True, **STEADY)
def flaky(context: Any, number: int, ms: float = 10) -> int:
    """Fails once and succeeds then: two attempts, whatever happens meanwhile."""
    trace(BEGUN, number)
    time.sleep(ms / 1000)
    if context.attempt == 1:
        trace(FAILED, number)
        raise Flaky
    trace(DONE, number)
    return os.getpid()


@task(retention=1, **STEADY)
def passing(number: int, size: int) -> str:
    """A job that Redis may forget soon, so that a full server gets room."""
    trace(BEGUN, number)
    trace(DONE, number)
    return "x" * size


@task(**STEADY)
def gated(number: int, gate: str, late: bool = False) -> int:
    """Runs until the file ``gate`` exists; ``late``: in this process also until ``gate.pid``."""
    trace(BEGUN, number)
    own = f"{gate}.{os.getpid()}"
    while not (os.path.exists(gate) or (late and os.path.exists(own))):
        time.sleep(0.005)
    trace(DONE, number)
    return os.getpid()


if "old" in KNOWS:

    @task(**STEADY)
    def only_old(number: int) -> int:
        return int(work(number, 1))


if "new" in KNOWS:

    @task(**STEADY)
    def only_new(number: int) -> int:
        return int(work(number, 1))


# -- misbehaviour ----------------------------------------------------------------------------------


def _endless() -> None:
    while True:
        pass


def _bomb() -> None:
    """Takes memory until there is no more: 300 MB above what the process has now."""
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (300 << 20), resource.RLIM_INFINITY))
    hoard = []
    try:
        while True:
            hoard.append(bytearray(8 << 20))
    finally:
        hoard.clear()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _recurse() -> None:
    _recurse()


def _system_exit() -> None:
    raise SystemExit(3)


def _keyboard_interrupt() -> None:
    raise KeyboardInterrupt


MISDEEDS: dict[str, Callable[[], Any]] = {
    "exit": lambda: os._exit(7),
    "segfault": lambda: ctypes.string_at(0),
    "oom-killer": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "endless-c": lambda: ctypes.CDLL(None).sleep(600),
    "endless-c-gil": lambda: ctypes.PyDLL(None).sleep(600),
    "endless-python": _endless,
    "memory-bomb": _bomb,
    "recursion": _recurse,
    "system-exit": _system_exit,
    "keyboard-interrupt": _keyboard_interrupt,
}


@task(max_attempts=1)
def misbehave(how: str) -> None:
    MISDEEDS[how]()
