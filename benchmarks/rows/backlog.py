"""Whether a long queue is a slow one."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.draining import drain, drain_bare
from benchmarks.report import Row, Target

SHORT = 10_000  # jobs


def backlog(bench: Bench) -> Iterator[Row]:
    """The drain of a long queue, and its share of the rate of a short one."""
    count = bench.options.backlog
    short: list[float] = []
    long: list[float] = []
    bare_short: list[float] = []
    bare_long: list[float] = []
    for _ in bench.rounds(f"drain of {count:,} jobs and of {SHORT:,}"):
        bare_short.append(drain_bare(bench, SHORT).rate)
        short.append(drain(bench, SHORT).rate)
        bare_long.append(drain_bare(bench, count).rate)
        long.append(drain(bench, count).rate)
    yield Row(f"drain, backlog of {count:,}", "/s", long, bare_long)
    yield Row(
        f"share of the rate at {SHORT:,}",
        "%",
        [100 * big / small for big, small in zip(long, short, strict=True)],
        [100 * big / small for big, small in zip(bare_long, bare_short, strict=True)],
        Target(85),
    )
