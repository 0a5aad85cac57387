"""How late scheduled jobs start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from benchmarks.bench import TEXT, Bench
from benchmarks.figures import percentile
from benchmarks.report import Row, Target

AHEAD = 1.0  # seconds from the enqueue to the first job's time
EVERY = 0.025  # seconds between two jobs' times
PATIENCE = 60.0


def lateness(bench: Bench) -> Iterator[Row]:
    """ms from a job's time to the first line of its body; a worker waits, all are enqueued."""
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    for _ in bench.rounds(f"lateness of {bench.options.picks} jobs, one each 25 ms"):
        bare.append(_bare(bench))
        ours.append(_ours(bench))
    for name, share, most in (("p50", 0.5, 2.0), ("p99", 0.99, 10.0)):
        yield Row(
            f"lateness of a scheduled job, {name}",
            "ms",
            [percentile(each, share) for each in ours],
            [percentile(each, share) for each in bare],
            Target(most, at_least=False),
        )
    yield Row("earliest start of one", "ms", [min(each) for each in ours], [min(b) for b in bare])


def _ours(bench: Bench) -> list[float]:
    from benchmarks.tasks import run_noop

    count = bench.options.picks
    bench.clean()
    with bench.worker("--queues", "default") as worker:
        run_noop.enqueue(count, TEXT)
        bench.wait(worker, lambda: bool(bench.slots.times[count]), PATIENCE)
        due = _times(count)
        for i, at in enumerate(due):
            moment = datetime.fromtimestamp(at, UTC)
            run_noop.using(run_after=moment).enqueue(i, TEXT)
        bench.wait(worker, lambda: bench.slots.is_full(count), PATIENCE)
    return _late(bench, due)


def _bare(bench: Bench) -> list[float]:
    count = bench.options.picks
    times = bench.slots.times

    def body(i: int, s: str) -> None:
        times[i] = time.time_ns()

    bench.clean()
    due = _times(count)
    for i, at in enumerate(due):
        bench.bare.enqueue((i, TEXT), at)
    bench.bare.run_when_due(body, count)
    return _late(bench, due)


def _times(count: int) -> list[float]:
    """Whole ms, which is what Redis keeps."""
    first = round(time.time() + AHEAD, 3)
    return [round(first + i * EVERY, 3) for i in range(count)]


def _late(bench: Bench, due: list[float]) -> list[float]:
    return [
        at / 1e6 - when * 1000 for at, when in zip(bench.slots.read(len(due)), due, strict=True)
    ]
