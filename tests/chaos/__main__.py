"""Tries faults, two at a time, each in a process of its own, and prints a table.

python -m tests.chaos                              the short run of all
python -m tests.chaos --faults kill-child,restart-always --jobs 100000 --rounds 50
python -m tests.chaos --long                       as long as each fault deserves
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from testproject.processes import ROOT
from tests.chaos.fault import Fault, load_faults
from tests.chaos.report import Report, heading, summary
from tests.chaos.tables import render

TIMEOUT = 4 * 3600  # seconds for one fault


def try_one(
    fault: type[Fault], jobs: int, rounds: int, env: dict[str, str] | None = None
) -> Report:
    """One fault in a process of its own, with ``env`` added to its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.run", fault.name, str(jobs), str(rounds)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    try:
        report = Report.from_json(done.stdout.splitlines()[-1])
    except (IndexError, ValueError, TypeError):
        report = Report(fault.name, complaints=[f"the run ended with {done.returncode}"])
    if not report.passed and not env:  # a mutant is meant to fail
        print(done.stderr, file=sys.stderr, flush=True)
    return report


def try_all(options: argparse.Namespace) -> Iterator[Report]:
    """The chosen faults, as they end."""
    faults = load_faults()
    short = [name for name, fault in faults.items() if options.long or not fault.slow]
    chosen = options.faults or short
    with ThreadPoolExecutor(options.at_once) as pool:
        waiting = []
        for name in chosen:
            fault = faults[name]
            jobs, rounds = fault.long if options.long else (fault.jobs, fault.rounds)
            waiting.append(
                pool.submit(try_twice, fault, options.jobs or jobs, options.rounds or rounds)
            )
        for each in as_completed(waiting):
            yield each.result()


def try_twice(fault: type[Fault], jobs: int, rounds: int) -> Report:
    """A second time if nothing was wrong that shows more than a slow machine."""
    report = try_one(fault, jobs, rounds)
    if report.inconclusive:
        first = "; ".join(report.failures())
        report = try_one(fault, jobs, rounds)
        report.notes.append(f"the second try, in the first {first}")
    return report


def names(text: str) -> list[str]:
    """Names of faults, separated by commas."""
    known = load_faults()
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise argparse.ArgumentTypeError(f"no fault {unknown}; there are {', '.join(known)}")
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=names, help="names, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, help="times that each fault is done")
    parser.add_argument("--jobs", type=int, help="jobs at least, per fault")
    parser.add_argument("--long", action="store_true", help="as long as each fault deserves")
    parser.add_argument("--table", type=Path, help="a file that gets the tables in Markdown")
    parser.add_argument("--at-once", type=int, default=2, help="faults tried at the same time")
    reports = []
    options = parser.parse_args()
    if options.table:  # now, and not after the first hour
        options.table.parent.mkdir(parents=True, exist_ok=True)
    print(heading(), flush=True)
    for report in try_all(options):
        print(report.row(), flush=True)
        reports.append(report)
        if options.table:  # each time: a long run may be cut short
            options.table.write_text(render(load_faults(), reports), "utf-8")
    print(summary(reports))
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
