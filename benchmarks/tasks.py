"""The jobs that are measured: they do nothing but say when they began.

With the module the names are 25 characters long, as the figure for memory asks.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time_ns

from benchmarks.slots import Slots
from django_taskq import periodic, task

TEXT = "hello-world"  # the second argument of every job

slots = Slots(Path(os.environ["BENCH_SLOTS"]))
_times = slots.times


@task
def run_noop(i: int, s: str = TEXT) -> None:
    """Returns None, of which Redis keeps nothing but that the job succeeded."""
    _times[i] = time_ns()


@task
def run_echo(i: int, s: str) -> int:
    """Returns a value, which is kept with the job."""
    _times[i] = time_ns()
    return i


REFUSALS = [type(f"Refused{kind}", (ValueError,), {"__module__": __name__}) for kind in range(7)]


@task(max_attempts=5, backoff=86_400)
def run_failing(i: int, s: str) -> None:
    """Fails in one of seven ways."""
    refuse(i)


def refuse(i: int) -> None:
    """Raises."""
    raise REFUSALS[i % len(REFUSALS)](f"{i} is refused")


def own(i: int, at: datetime) -> str:
    """A cron expression that no other number has; each of them names the same moment."""
    minute, hour, day = i % 59 + 1, i // 59 % 23 + 1, i // 59 // 23 % 27 + 1
    return (
        f"{at.second} {at.minute},{(at.minute + minute) % 60} {at.hour},{(at.hour + hour) % 24} "
        f"{at.day},{(at.day + day - 1) % 28 + 1} * *"
    )


def declare_schedules(count: int, kind: str, first: float, jitter: float) -> None:
    """Schedules with their first tick at ``first``."""
    start = datetime.fromtimestamp(first, UTC)
    for i in range(count):
        when = own(i, start) if kind == "own" else timedelta(hours=1)
        periodic(when, name=f"s{i}", tz="UTC", start=start, jitter=jitter, args=[i])(run_noop)


if os.environ.get("BENCH_SCHEDULES"):  # see rows/schedules.py
    _count, _kind, _first, _jitter = os.environ["BENCH_SCHEDULES"].split()
    declare_schedules(int(_count), _kind, float(_first), float(_jitter))
