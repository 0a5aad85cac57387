"""What a waiting job takes of the server's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.bench import TEXT, Bench
from benchmarks.report import Row, Target

JOBS = 100_000  # fixed: hash tables grow by doubling, so the figure moves with the count


def memory(bench: Bench) -> Iterator[Row]:
    """Bytes per ready job with a task name of 25 characters, for two sizes of arguments."""
    from benchmarks.tasks import run_noop

    assert len(run_noop.module_path) == 25
    bench.say(f"memory of {JOBS:,} jobs")
    most = 200 if bench.server.info("server").get("server_name") == "valkey" else 320
    for what, arguments in (
        ("one number", [(i,) for i in range(JOBS)]),
        ("a number and a text", [(i, TEXT) for i in range(JOBS)]),
    ):
        bare = used(bench, lambda calls=arguments: bench.bare.enqueue_many(calls))
        ours = used(bench, lambda calls=arguments: run_noop.enqueue_many(calls))
        target = Target(most, at_least=False) if what == "one number" else None
        yield Row(f"memory per ready job, {what}", "B", [ours], [bare], target)


def used(bench: Bench, enqueue: Callable[[], object]) -> float:
    """The server's memory per job; once beforehand, so that all buffers have their size."""
    enqueue()
    bench.clean()
    before = bench.server.used_memory()
    enqueue()
    taken = (bench.server.used_memory() - before) / JOBS
    bench.clean()
    return taken
