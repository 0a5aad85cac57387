"""What a worker costs that has nothing to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.bench import TEXT, Bench
from benchmarks.figures import cpu_seconds, family, pss_megabytes
from benchmarks.report import Row, Target
from benchmarks.worker import Worker

# A client's own; whatever else runs is inside a script.
SENT = ("blpop", "bzpopmin", "eval", "evalsha", "hgetall", "publish", "subscribe", "ping")
SETTLE = 2.0  # seconds between the last job and the measurement
START_TIMEOUT = 30.0


class Idle(NamedTuple):
    """Commands per second sent and run in all, CPU in % of a core, memory in MB."""

    sent: float
    run: float
    cpu: float
    pss: float


def idle(bench: Bench) -> Iterator[Row]:
    """An idle worker with one queue and with three: supervisor and one child."""
    from benchmarks.tasks import run_noop

    bench.clean()
    with bench.process([sys.executable, "-m", "benchmarks.bare_worker"]) as worker:
        bare = _measure(bench, worker, "the bare loop", lambda: bench.bare.enqueue((0, TEXT)))
    for text, queues in (("1 queue", "default"), ("3 queues", "default,high,low")):
        bench.clean()
        with bench.worker("--queues", queues) as worker:
            ours = _measure(bench, worker, text, lambda: run_noop.enqueue(0, TEXT))
        yield from _rows(text, ours, bare)


def _rows(text: str, ours: Idle, bare: Idle) -> Iterator[Row]:
    for name, unit, at, most in (
        ("commands sent", "1/s", 0, 1.0),
        ("commands run, those in scripts too", "1/s", 1, None),
        ("CPU", "% of a core", 2, 0.3),
        ("PSS", "MB", 3, 70.0),
    ):
        target = None if most is None else Target(most, at_least=False)
        yield Row(f"idle, {text}, {name}", unit, [ours[at]], [bare[at]], target)


def _measure(bench: Bench, worker: Worker, text: str, enqueue: Callable[[], object]) -> Idle:
    """After one job, so that everything is open and loaded."""
    seconds = bench.options.idle_seconds
    bench.say(f"idle for {seconds:.0f} s: {text}")
    enqueue()
    bench.wait(worker, lambda: bool(bench.slots.times[0]), START_TIMEOUT)
    time.sleep(SETTLE)
    pids = family(worker.process.pid)
    before, cpu, began = bench.server.commands(), cpu_seconds(pids), time.monotonic()
    time.sleep(seconds)
    after, took = bench.server.commands(), time.monotonic() - began
    worker.check()
    cpu = cpu_seconds(pids) - cpu
    counts = {name: calls - before.get(name, 0) for name, calls in after.items() if name != "info"}
    return Idle(
        sum(counts.get(name, 0) for name in SENT) / took,
        sum(counts.values()) / took,
        100 * cpu / took,
        pss_megabytes(pids),
    )
