"""What a waiting job takes of the server's memory."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import TEXT, Bench
from benchmarks.report import Row, Target

JOBS = 100_000  # fixed: hash tables grow by doubling, so the figure moves with the count


def memory(bench: Bench) -> Iterator[Row]:
    """Bytes per ready job; a task name of 25 characters, a small integer and a short text."""
    from benchmarks.tasks import run_noop

    assert len(run_noop.module_path) == 25
    bench.say(f"memory of {JOBS:,} jobs")
    bench.clean()
    bench.bare.enqueue_many((i, TEXT) for i in range(10))  # buffers have their size
    bench.clean()
    before = bench.server.used_memory()
    bench.bare.enqueue_many((i, TEXT) for i in range(JOBS))
    bare = (bench.server.used_memory() - before) / JOBS
    bench.clean()
    run_noop.enqueue_many([(0, TEXT)])
    before = bench.server.used_memory()
    bench.fill(run_noop, JOBS)
    ours = (bench.server.used_memory() - before) / JOBS
    bench.clean()
    most = 200 if bench.server.info("server").get("server_name") == "valkey" else 320
    yield Row("memory per ready job", "B", [ours], [bare], Target(most, at_least=False))
