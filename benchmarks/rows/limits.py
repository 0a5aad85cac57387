"""What locks, limits and turns cost where they keep nobody out: beside a plain drain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.bench import Bench
from benchmarks.draining import drain
from benchmarks.report import Row, Target

TENANTS = 100  # keys that take turns
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "unique": {"unique": "until_finished"},
    "concurrency": {"concurrency_limit": 1_000},
    "rate": {"rate_limit": "1000000/s"},
    "fair": {"fair_by": lambda i, s: i % TENANTS},
}


def limits(bench: Bench) -> Iterator[Row]:
    """Drains of jobs with each of the options, and how fast they are enqueued in bulk."""
    from benchmarks.tasks import run_noop

    count = bench.options.jobs
    drained: dict[str, list[float]] = {name: [] for name in VARIANTS}
    filled: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in bench.rounds(f"drain of {count:,} jobs with each option"):
        for name, options in VARIANTS.items():
            task = run_noop.using(**options)
            bench.clean()
            filled[name].append(count / bench.fill(task, count))
            drained[name].append(drain(bench, count, task=task).rate)
    for what, found in (("drain", drained), ("enqueue_many", filled)):
        target = Target(0.7, of="ratio") if what == "drain" else None
        for name in VARIANTS:
            if name != "plain":
                yield Row(
                    f"{what}, {name}, beside plain", "/s", found[name], found["plain"], target
                )
