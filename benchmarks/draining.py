"""One drain: jobs wait, a worker starts and runs them all."""

from __future__ import annotations

from time import process_time, time_ns
from typing import Any, NamedTuple

from benchmarks.bench import Bench
from benchmarks.figures import cpu_seconds, family, rate

PATIENCE = 60.0  # seconds until the first job must have begun, and for each 10,000 jobs


class Drain(NamedTuple):
    """Jobs per second, and CPU per job in µs."""

    rate: float
    worker: float
    server: float


def drain(bench: Bench, count: int, *options: str, task: Any = None, url: str = "") -> Drain:
    """Drains ``count`` jobs with a real worker of these command line options."""
    from benchmarks.tasks import run_noop

    bench.clean()
    bench.fill(task or run_noop, count)
    with bench.worker("--queues", "default", *options, url=url) as worker:
        bench.wait(worker, lambda: bool(bench.slots.times[0]), PATIENCE)
        pids = family(worker.process.pid)
        began = _Usage.now(bench, pids)
        patience = PATIENCE * (1 + count / 10_000)
        bench.wait(worker, lambda: bench.slots.is_full(count), patience)
        ended = _Usage.now(bench, pids)
    times = bench.slots.read(count)
    jobs = sum(began.at < at <= ended.at for at in times)  # that began while CPU was counted
    return Drain(
        rate(times),
        (ended.worker - began.worker) / jobs * 1e6,
        (ended.server - began.server) / jobs * 1e6,
    )


def drain_bare(bench: Bench, count: int, url: str = "") -> Drain:
    """Drains as many with the bare loop, in this process."""
    from benchmarks.bare import Bare
    from benchmarks.bench import TEXT

    bench.clean()
    bench.bare.enqueue_many((i, TEXT) for i in range(count))
    times = bench.slots.times

    def body(i: int, s: str) -> None:
        times[i] = time_ns()

    loop = Bare(url or bench.server.url, bench.prefix)
    worker, server = process_time(), bench.server.cpu_seconds()
    ran = loop.drain(body)
    worker, server = process_time() - worker, bench.server.cpu_seconds() - server
    assert ran == count, f"{ran} of {count} jobs"
    return Drain(rate(bench.slots.read(count)), worker / count * 1e6, server / count * 1e6)


class _Usage(NamedTuple):
    """CPU seconds used up to a moment (ns)."""

    at: int
    worker: float
    server: float

    @classmethod
    def now(cls, bench: Bench, pids: list[int]) -> _Usage:
        return cls(time_ns(), cpu_seconds(pids), bench.server.cpu_seconds())
