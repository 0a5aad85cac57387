"""`python -m benchmarks [ROW ...]`: measures, and prints a table on stdout."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bench import Bench, Options
from benchmarks.machine import describe, load
from benchmarks.report import Row, table
from benchmarks.rows import ROWS
from benchmarks.server import Server, serving
from testproject.processes import Interrupted, signals

DEFAULTS = Options()
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - slots must not be written back to a disk meanwhile


def main() -> None:
    """See the module."""
    command_line = parser()
    arguments = command_line.parse_args()
    unknown = [name for name in arguments.rows if name not in ROWS]
    if unknown:
        command_line.error(f"no row {unknown[0]!r}: there are {', '.join(ROWS)}")
    options = Options(
        jobs=arguments.jobs,
        backlog=arguments.backlog,
        repeat=arguments.repeat,
        picks=arguments.picks,
        idle_seconds=arguments.idle_seconds,
    )
    rows = arguments.rows or list(ROWS)
    with (
        signals(),
        tempfile.TemporaryDirectory(prefix="bench-") as data,
        serving(arguments.server, Path(data), arguments.aof) as server,
    ):
        about = describe(server)
        for name, text in about.items():
            print(f"{name:10} {text}", flush=True)
        found = measure(server, options, rows)
        about["afterwards"] = f"load {load()}"
        print(f"afterwards {about['afterwards']}")
    print(f"\n{table(found)}")
    if arguments.json:
        write(arguments.json, about, found)


def measure(server: Server, options: Options, rows: Sequence[str]) -> list[Row]:
    """The rows of these names."""
    home = SHARED_MEMORY if os.path.isdir(SHARED_MEMORY) else None
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=home) as folder:
        bench = Bench(server, options, Path(folder))
        try:
            for name in rows:
                for row in ROWS[name](bench):
                    found.append(row)
                    bench.say("  ".join(cell for cell in row.cells() if cell))
        finally:
            bench.forget()
    return found


def write(path: Path, about: Mapping[str, str], rows: Sequence[Row]) -> None:
    """All that was measured, each repetition by itself."""
    data = {"about": about, "rows": [row.data() for row in rows]}
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(ROWS)} (all)")
    made.add_argument(
        "--server",
        default=os.environ.get("REDIS_URL") or "valkey",
        metavar="WHICH",
        help="valkey or redis: one of our own on a free loopback port; or a URL (%(default)s)",
    )
    made.add_argument("--aof", action="store_true", help="our own server writes an AOF (everysec)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every repetition there")
    for name, text in (
        ("jobs", "jobs of a drain and of an enqueue_many()"),
        ("backlog", "jobs of the long backlog; 1000000 for the whole truth"),
        ("repeat", "repetitions; the median counts"),
        ("picks", "jobs of pick-up and lateness"),
    ):
        made.add_argument(
            f"--{name}",
            type=int,
            default=getattr(DEFAULTS, name),
            metavar="N",
            help=f"{text} (%(default)s)",
        )
    made.add_argument(
        "--idle-seconds",
        type=float,
        default=DEFAULTS.idle_seconds,
        metavar="S",
        help="how long an idle worker is watched (%(default)s)",
    )
    return made


if __name__ == "__main__":
    try:
        main()
    except Interrupted as signal:
        sys.exit(f"stopped by {signal}")
