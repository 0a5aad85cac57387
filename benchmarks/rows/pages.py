"""How long the pages of the admin take where there is much to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.report import Row, Target
from benchmarks.rows.mirror import databases, mirrored
from testproject.processes import ROOT

MOST = 200.0  # ms
SUCCEEDED, DEAD = 0.1, 0.01  # shares of all jobs: what a queue keeps of a million
RETRYING, SCHEDULED = 0.05, 0.2
PATIENCE = 600.0


def pages(bench: Bench) -> Iterator[Row]:
    """Every page with a backlog in Redis, and those of as many rows in each database."""
    count = bench.options.backlog
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-site-")))
        bench.say(f"{count:,} jobs in Redis")
        fill(bench, count)
        yield from rows("", timed(folder, count))
        for name, entry in databases(bench, stack).items():
            bench.say(f"{count:,} rows in {name}")
            with mirrored(entry):
                yield from rows(f", {name}", timed(folder, count))


def rows(where: str, found: dict[str, list[float]]) -> Iterator[Row]:
    """A row per page."""
    for name, took in found.items():
        yield Row(f"{name}{where}", "ms", took, [], Target(MOST, at_least=False))


def timed(folder: Path, count: int) -> dict[str, list[float]]:
    """What benchmarks.pages says."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.pages", str(count)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.site",
            "BENCH_SITE": str(folder / "site.sqlite3"),
        },
    )
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def fill(bench: Bench, count: int) -> None:
    """Jobs in most states; what ended or failed was really run."""
    from benchmarks.tasks import run_failing, run_noop

    bench.clean()
    dead, retrying = int(count * DEAD), int(count * RETRYING)
    succeeded, scheduled = int(count * SUCCEEDED), int(count * SCHEDULED)
    bench.fill(run_failing.using(max_attempts=1), dead)
    bench.fill(run_failing, retrying)
    bench.fill(run_noop, succeeded)
    _work(bench)
    bench.fill(run_noop.using(run_after=86_400), scheduled)
    bench.fill(run_noop, count - dead - retrying - succeeded - scheduled)


def _work(bench: Bench) -> None:
    from benchmarks.tasks import run_noop

    broker: Any = run_noop.get_backend().broker

    def is_empty() -> bool:
        return not bench.server.client.zcard(broker.key("default", "ready"))

    with bench.worker("--queues", "default") as worker:
        bench.wait(worker, is_empty, PATIENCE)
