"""How soon an idle worker starts a job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.bench import TEXT, Bench
from benchmarks.figures import percentile
from benchmarks.report import Row, Target
from benchmarks.worker import Worker

EVERY = 0.050  # seconds between two jobs
WARM_UP = 10  # jobs before the first that counts
START_TIMEOUT = 30.0


def pickup(bench: Bench) -> Iterator[Row]:
    """ms from just before the enqueue to the first line of the body, one job at a time."""
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    from benchmarks.tasks import run_noop

    for _ in bench.rounds(f"pick-up of {bench.options.picks} jobs, one at a time"):
        bench.clean()
        with bench.process([sys.executable, "-m", "benchmarks.bare_worker"]) as worker:
            bare.append(_delays(bench, worker, lambda i: bench.bare.enqueue((i, TEXT))))
        bench.clean()
        with bench.worker("--queues", "default") as worker:
            ours.append(_delays(bench, worker, lambda i: run_noop.enqueue(i, TEXT)))
    for name, share, most in (("p50", 0.5, 0.8), ("p99", 0.99, 2.0)):
        yield Row(
            f"pick-up by an idle worker, {name}",
            "ms",
            [percentile(each, share) for each in ours],
            [percentile(each, share) for each in bare],
            Target(most, at_least=False),
        )


def _delays(bench: Bench, worker: Worker, enqueue: Callable[[int], object]) -> list[float]:
    times = bench.slots.times
    delays = []
    for i in range(WARM_UP + bench.options.picks):
        before = time.time_ns()
        enqueue(i)
        time.sleep(EVERY)
        bench.wait(worker, lambda i=i: bool(times[i]), START_TIMEOUT)  # type: ignore[misc]
        delays.append((times[i] - before) / 1e6)
    return delays[WARM_UP:]
