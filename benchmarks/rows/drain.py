"""How fast waiting no-op jobs are run, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import draining
from benchmarks.bench import Bench
from benchmarks.draining import Drain, drain_bare
from benchmarks.report import Row, Target


def drain(bench: Bench) -> Iterator[Row]:
    """One worker process, two, and one whose jobs return a value; CPU per job of the first."""
    from benchmarks.tasks import run_echo

    bare: list[Drain] = []
    one: list[Drain] = []
    two: list[Drain] = []
    echo: list[Drain] = []
    count = bench.options.jobs
    for _ in bench.rounds(f"drain of {count:,} jobs"):
        bare.append(drain_bare(bench, count))
        one.append(draining.drain(bench, count))
        two.append(draining.drain(bench, count, "--processes", "2"))
        echo.append(draining.drain(bench, count, task=run_echo))
    rates = [each.rate for each in bare]
    yield Row("drain, 1 process", "/s", [d.rate for d in one], rates, Target(30_000))
    yield Row("drain, 2 processes", "/s", [d.rate for d in two], rates)
    yield Row("drain, 1 process, values kept", "/s", [d.rate for d in echo], rates)
    yield from _cpu("1 process", one, bare, Target(45, at_least=False))
    yield from _cpu("2 processes", two, bare, None)


def _cpu(text: str, ours: list[Drain], bare: list[Drain], target: Target | None) -> Iterator[Row]:
    yield Row(
        f"CPU per job, {text}, worker + server",
        "µs",
        [d.worker + d.server for d in ours],
        [d.worker + d.server for d in bare],
        target,
    )
    yield Row(
        f"CPU per job, {text}, worker", "µs", [d.worker for d in ours], [d.worker for d in bare]
    )
    yield Row(
        f"CPU per job, {text}, server", "µs", [d.server for d in ours], [d.server for d in bare]
    )
