"""What rows of jobs in a database cost, and how fast they are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import draining
from benchmarks.bench import Bench
from benchmarks.draining import Drain
from benchmarks.report import Row, Target
from testproject.processes import ROOT
from tests.postgres import binaries, missing, running

Entry = dict[str, Any]  # of DATABASES


def mirror(bench: Bench) -> Iterator[Row]:
    """Rows per second of jobs that have ended, and a drain with a worker that writes them."""
    with ExitStack() as stack:
        for name, entry in databases(bench, stack).items():
            yield from _of(bench, name, entry)


def databases(bench: Bench, stack: ExitStack) -> dict[str, Entry]:
    """The databases that there can be here, empty; gone with the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-db-")))
    found = {"SQLite": sqlite(folder)}
    if reason := missing():
        bench.say(f"no PostgreSQL: {reason}")
    else:
        found["PostgreSQL"] = stack.enter_context(postgresql())
    return found


def _of(bench: Bench, name: str, entry: Entry) -> Iterator[Row]:
    count = bench.options.jobs
    written: list[float] = []
    plain: list[Drain] = []
    with_rows: list[Drain] = []
    for _ in bench.rounds(f"rows of {count:,} jobs in {name}"):
        plain.append(draining.drain(bench, count))
        with mirrored(entry):
            _empty()
            rows, seconds = _run("-m", "benchmarks.mirroring").split()
            written.append(int(rows) / float(seconds))
            _empty()
            with_rows.append(draining.drain(bench, count))
    target = Target(8_000) if name == "PostgreSQL" else None
    yield Row(f"mirror, rows to {name}", "/s", written, [], target)
    rates = [each.rate for each in plain]
    yield Row(f"drain with rows in {name}", "/s", [d.rate for d in with_rows], rates)


@contextmanager
def mirrored(entry: Entry) -> Iterator[None]:
    """A block in which processes have the app and the database."""
    os.environ["BENCH_MIRROR"] = json.dumps(entry)
    try:
        yield
    finally:
        del os.environ["BENCH_MIRROR"]


def _empty() -> None:
    _run("-m", "django", "migrate", "taskq_mirror", "zero", "--database", "mirror", "-v", "0")
    _run("-m", "django", "migrate", "taskq_mirror", "--database", "mirror", "-v", "0")


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def sqlite(folder: Path) -> Entry:
    """A file, as a site that is careful has it."""
    options = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    name = str(folder / "mirror.sqlite3")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options}


@contextmanager
def postgresql() -> Iterator[Entry]:
    """A server of our own on a unix socket."""
    folder = binaries()
    assert folder is not None
    with running(folder) as server:
        yield server.create()
