"""The checker is checked: with one line taken out of a script, a run has to fail.

    python -m tests.chaos.mutants

Each mutant is tried by the fault that makes it visible: what is redelivered must still run when
the late word comes, queues must be short, and some jobs must fail once. A mutant that goes
unnoticed fails, and so does one whose text is no longer in its script.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from django_taskq.broker.scripts import Script
from tests.chaos.report import Report

VARIABLE = "CHAOS_MUTANT"  # read by every process of a run
ROW = "{:<22} {:<10} {:<16} {:>5} {:>6} {:>7} {:>6}  {}"


@dataclass(frozen=True)
class Mutant:
    """``old`` is what ``script`` says, ``new`` what it says instead.

    ``fault`` makes it visible, ``says`` is in the complaint. ``patience``: seconds for what it may
    hold up for ever; few where the wait that is the first to fail is the one that shows it.
    """

    name: str
    script: str
    old: str
    new: str
    fault: str
    says: str
    patience: int = 40

    def of(self, script: Script) -> Script:
        """The script without the line, if it is the one."""
        if script.name != self.script:
            return script
        if script.source.count(self.old) != 1:
            raise LookupError(f"{script.name}.lua has no longer one {self.old!r}: mend the mutant")
        source = script.source.replace(self.old, self.new)
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        return replace(script, source=source, sha=sha)

    def noticed(self, report: Report) -> bool:
        """Whether the run failed, and by what this mutant breaks."""
        return any(re.search(self.says, each) for each in report.failures())


MUTANTS = [
    # the fence
    Mutant(
        "settle-unfenced",
        "exchange",
        "if fence ~= told then",
        "if not raw then",
        "freeze-overlap",
        "accepted: outcome S",
    ),
    # a call that is sent again
    Mutant(
        "settle-twice",
        "exchange",
        "elseif settled == fence or seen[id] then",
        "elseif seen[id] then",
        "lost-reply",
        "charged with attempts",
    ),
    Mutant(
        "settle-refused-again",
        "exchange",
        "elseif settled == fence or seen[id] then\n      letters[i] = 'D'",
        "elseif settled == fence or seen[id] then\n      letters[i] = 'S'",
        "lost-reply",
        "refused of runs that kept their lease",
    ),
    Mutant(
        "claim-forgets",
        "exchange",
        "if resent and request == last and",
        "if false and",
        "lost-reply",
        "went astray",
    ),
    Mutant(
        "enqueue-twice",
        "enqueue",
        "if known[i] or seen[id] then",
        "if seen[id] then",
        "lost-reply",
        "done again",
    ),
    Mutant(
        "enqueue-one-twice",
        "enqueue",
        "redis.call('HSETNX', jobs, ARGV[2], ARGV[3]) == 0",
        "redis.call('HSET', jobs, ARGV[2], ARGV[3]) < 0",
        "lost-reply",
        "done again",
    ),
    # leases
    Mutant(
        "reap-no-end",
        "reclaim",
        "redis.call('ZREM', holders, holder)",
        "",
        "kill-supervisor",
        "what the dead held",
        patience=25,
    ),
    Mutant(
        "renew-nothing",
        "renew",
        "redis.call('ZADD', holders, now + lease, ARGV[i])",
        "",
        "long-jobs",
        "leases ended",
    ),
    Mutant(
        "claim-unheld",
        "exchange",
        "redis.call('ZADD', holders, now + lease, holder)",
        "",
        "kill-child",
        "have ended, and new ones start",
        patience=10,
    ),
]


def install() -> None:
    """Makes this process load the mutant that the environment names, if it names one."""
    name = os.environ.get(VARIABLE)
    if not name:
        return
    from django_taskq.broker import broker

    (mutant,) = (each for each in MUTANTS if each.name == name)
    load: Callable[[str], Script] = broker.load
    broker.load = lambda script: mutant.of(load(script))  # type: ignore[assignment]


def try_mutants(at_once: int) -> Iterator[tuple[Mutant, Report]]:
    """Each with its fault, in a process of its own; in order."""
    from tests.chaos.__main__ import try_one
    from tests.chaos.fault import load_faults

    faults = load_faults()

    def attempt(mutant: Mutant) -> Report:
        fault = faults[mutant.fault]
        env = {VARIABLE: mutant.name, "CHAOS_PATIENCE": str(mutant.patience)}
        return try_one(fault, fault.jobs, fault.rounds, env)

    with ThreadPoolExecutor(at_once) as pool:
        yield from zip(MUTANTS, pool.map(attempt, MUTANTS), strict=True)


def row(mutant: Mutant, report: Report) -> str:
    said = "; ".join(report.failures())[:120]
    return ROW.format(
        mutant.name,
        mutant.script,
        mutant.fault,
        report.lost,
        report.again,
        report.refused,
        f"{report.took:.0f}",
        said if mutant.noticed(report) else f"NOT NOTICED {said}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--table", type=Path, help="a file that gets the table at its end")
    options = parser.parse_args()
    began = time.monotonic()
    missed, lines = 0, ["| script | without | fault | what the run says |", "|---|---|---|---|"]
    print(ROW.format("mutant", "script", "fault", "lost", "again", "refused", "s", ""), flush=True)
    for mutant, report in try_mutants(options.at_once):
        missed += not mutant.noticed(report)
        print(row(mutant, report), flush=True)
        said = "; ".join(report.failures()).split(":")[0]
        lines.append(f"| {mutant.script} | {mutant.name} | {mutant.fault} | {said} |")
    if options.table:
        with options.table.open("a") as file:
            file.write("\n## How the checks are checked\n\n" + "\n".join(lines) + "\n")
    print(f"{len(MUTANTS)} mutants in {time.monotonic() - began:.0f} s, {missed} not noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
