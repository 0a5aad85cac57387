"""The jobs that are measured: they do nothing but say when they began.

With the module the names are 25 characters long, as the figure for memory asks.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import time_ns

from benchmarks.slots import Slots
from django_taskq import task

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
