"""How late schedules fire: many that are due at one moment, and single ones."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.figures import percentile
from benchmarks.report import Row, Target
from django_taskq.schedule import Schedule

MANY = 10_000
AHEAD = 20.0  # seconds from the worker's start to the first tick: it has to declare them all
EVERY = 0.025  # seconds between the ticks of single ones, on average
PATIENCE = 90.0


def schedules(bench: Bench) -> Iterator[Row]:
    """Seconds until all are enqueued and started; ms from a tick to its job's first line."""
    for what, kind in (("of one expression", "same"), ("each of its own", "own")):
        enqueued: list[float] = []
        started: list[float] = []
        for _ in bench.rounds(f"{MANY:,} due schedules {what}"):
            due, times = _fired(bench, MANY, kind, 0)
            started.append((max(times) - due) * 1000)
            enqueued.append(_last_enqueued(bench) - due * 1000)
        target = Target(2_000, at_least=False)
        yield Row(f"{MANY:,} due schedules {what}, enqueued", "ms", enqueued, [], target)
        yield Row(f"{MANY:,} due schedules {what}, started", "ms", started)
    late: list[list[float]] = []
    picks = bench.options.picks
    spread = Schedule("@hourly", jitter=picks * EVERY)
    for _ in bench.rounds(f"lateness of {picks} schedules within {picks * EVERY:.0f} s"):
        due, times = _fired(bench, picks, "same", picks * EVERY)
        at = [spread.fires_at(f"s{i}", round(due * 1000)) for i in range(picks)]
        late.append([begun * 1000 - when for begun, when in zip(times, at, strict=True)])
    for name, share, most in (("p50", 0.5, 2.0), ("p99", 0.99, 10.0)):
        found = [percentile(each, share) for each in late]
        yield Row(f"lateness of a schedule, {name}", "ms", found, [], Target(most, at_least=False))
    yield Row("earliest start of one", "ms", [min(each) for each in late])


def _fired(bench: Bench, count: int, kind: str, jitter: float) -> tuple[float, list[float]]:
    """The first tick's time, and when the job of each schedule began."""
    bench.clean()
    due = float(int(time.time() + AHEAD))
    with _declared(f"{count} {kind} {due} {jitter}"), bench.worker("--queues", "default") as worker:
        bench.wait(worker, lambda: bench.slots.is_full(count), PATIENCE)
    return due, [at / 1e9 for at in bench.slots.read(count)]


@contextmanager
def _declared(text: str) -> Iterator[None]:
    """What benchmarks.tasks declares in the worker."""
    os.environ["BENCH_SCHEDULES"] = text
    try:
        yield
    finally:
        del os.environ["BENCH_SCHEDULES"]


def _last_enqueued(bench: Bench) -> float:
    """When the last tick was fired, by Redis' clock in ms."""
    from benchmarks.tasks import run_noop

    key = run_noop.get_backend().broker.key("default", "tick_log")
    lines = bench.server.client.hvals(key)
    return float(max(int(line.split()[1]) for line in lines))
