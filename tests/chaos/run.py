"""One run: a fault, in this process, with a server of its own.

``python -m tests.chaos.run FAULT [jobs] [rounds]`` prints the report as JSON.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import django

from tests.chaos.arena import PREFIX, Arena, Late
from tests.chaos.checker import Census, check
from tests.chaos.fault import Fault, load_faults
from tests.chaos.load import Load
from tests.chaos.report import Report

ENDS = {"succeeded", "dead", "cancelled"}
LAST_WORDS = 1_500  # characters of a log that are shown


def run(fault: Fault, jobs: int, rounds: int) -> Report:
    """Tries the fault so many times under at least so many jobs."""
    home = Path(tempfile.mkdtemp(prefix="tqc-"))
    arena = Arena(fault, home)
    report = Report(fault.name)
    began = time.monotonic()
    try:
        fault.serve(arena)
        django.setup()
        census = play(arena, jobs, rounds)
        judge(arena, census, report)
    except Exception as error:
        report.complaints.append(f"{type(error).__name__}: {error}")
        report.lapsed = lapsed(arena)
        if not isinstance(error, Late):
            traceback.print_exc()
    finally:
        report.faults, report.recoveries = arena.struck, arena.recoveries
        report.notes = arena.notes
        report.took = time.monotonic() - began
        arena.close()
        if not report.passed:
            for worker in arena.workers:
                print(f"--- {worker.log.name}\n{worker.output[-LAST_WORDS:]}", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
    return report


def play(arena: Arena, jobs: int, rounds: int) -> Census:
    """From the first job to the last; what Redis holds then."""
    fault = arena.fault
    fault.arrange(arena)
    window = fault.window or jobs
    arena.load = Load(arena.ledger, fault.make, window, fault.pause, fault.bulk)
    arena.load.start()
    fault.fill(arena, jobs)
    fault.attack(arena, rounds)
    fault.settle(arena)
    finish = arena.load.finish
    arena.wait(lambda: arena.load.error or len(arena.load.ids) >= jobs, "jobs are accepted", 3600)
    finish(jobs)
    arena.drain()
    for worker in arena.living:
        worker.stop()
    arena.ledger.read()
    return check(arena.server.client, PREFIX)


def judge(arena: Arena, census: Census, report: Report) -> None:
    """Nothing is lost, nothing is invented, and only what a fault met was done twice."""
    load, ledger, fault = arena.load, arena.ledger, arena.fault
    report.jobs = len(load.ids) + len(arena.expected)
    lost = []
    for number, id in load.ids.items():
        state = census.states.get(id)
        if state == "succeeded" and number in ledger.done:
            continue
        if state == "cancelled" and number in load.cancelled:
            continue
        if not (fault.forgets and state is None):
            lost.append(f"{number} ({state}, {'' if number in ledger.done else 'not '}done)")
    report.lost = len(lost)
    census.complain("jobs lost", lost)
    judge_repeats(arena, census, report)
    for id, (end, _) in arena.expected.items():
        if census.states.get(id) != end:
            census.complaints.append(f"{id} is {census.states.get(id)}, not {end}")
    accepted = {*load.ids.values(), *arena.expected}
    if not load.refused:
        census.complain("jobs that nobody enqueued", census.states.keys() - accepted)
    report.complaints += census.complaints + fault.verify(arena, census)
    most = fault.recovers + arena.starting
    late = [took for took in arena.recoveries if took > most]
    if late:
        arena.late.append(f"a recovery took {max(late):.1f} s, more than {most:.1f}")
    report.late, report.gone, report.oldest = arena.late, arena.gone, arena.oldest


def judge_repeats(arena: Arena, census: Census, report: Report) -> None:
    """Only what a fault met was done twice or told too late, and no fault costs an attempt."""
    fault, ids = arena.fault, arena.load.ids
    again = {number for number, _ in arena.ledger.again}
    numbers = {id: number for number, id in ids.items()}
    refused = [id for worker in arena.workers for id in worker.refused()]
    report.again, report.refused = len(again), len(refused)
    repeats = Census()
    if fault.most_again >= 0 and len(again) > fault.most_again:
        repeats.complain("jobs done again", map(str, again))
    flight = arena.flight | {numbers[id] for id in arena.held if id in numbers}
    repeats.complain("jobs done again that no fault met", map(str, again - flight))
    unmet = {numbers[id] for id in refused if id in numbers}
    if fault.most_again != 0:
        unmet -= flight
    repeats.complain("outcomes refused of runs that kept their lease", map(str, unmet))
    if ended := lapsed(arena):
        report.lapsed = ended + repeats.complaints
    else:
        census.complaints += repeats.complaints
    strays = sum(worker.strays() for worker in arena.workers)
    if strays and not (fault.forgets or fault.lapses):  # a replica may lack an outcome
        census.complaints.append(f"{strays} jobs went astray though the server lost nothing")
    if not fault.spends:
        charged = [
            f"{number} ({census.attempts.get(id)})"
            for number, id in ids.items()
            if census.states.get(id) == "succeeded"
            and census.attempts.get(id) != fault.attempts(number)
        ]
        census.complain("jobs charged with attempts that were not theirs", charged)


def lapsed(arena: Arena) -> list[str]:
    """A complaint of leases that ended although nothing was in their way."""
    lapses = sum(worker.lapses() for worker in arena.workers)
    if arena.fault.lapses or not lapses:
        return []
    return [f"{lapses} leases ended of workers that lived and were heard"]


def main() -> int:
    name, *numbers = sys.argv[1:]
    fault = load_faults()[name]()
    jobs, rounds = (int(n) for n in numbers) if numbers else (fault.jobs, fault.rounds)
    fault.patience = float(os.environ.get("CHAOS_PATIENCE", fault.patience))
    report = run(fault, jobs, rounds)
    print(report.to_json())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
