"""Locks, limits and turns across real workers, also when one is killed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django_taskq.job import State
from django_taskq.result import TaskResult
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import BRIEF, WAIT, Station


def inside(lines: Sequence[str]) -> list[int]:
    """How many were between their ``in`` and their ``out`` after each line of the ledger."""
    counts = [0]
    for line in lines:
        counts.append(counts[-1] + {"in": 1, "out": -1}[line.split()[0]])
    return counts


def states(results: Sequence[TaskResult]) -> list[State]:
    for result in results:
        result.refresh()
    return [result.state for result in results]


def test_two_workers_never_run_more_than_the_limit(station: Station) -> None:
    station.worker()
    station.worker()
    results = tasks.crowd.enqueue_many([(f"{n}", f"gate{n % 2}") for n in range(12)])
    eventually(lambda: len(station.lines()) == 3, WAIT)
    eventually(lambda: states(results).count(State.WAITING) == 9, WAIT)

    station.open("gate0")
    eventually(lambda: inside(station.lines())[-1] == 3 and len(station.lines()) > 3, WAIT)
    station.open("gate1")

    assert [result.get(timeout=WAIT) for result in results] == [f"{n}" for n in range(12)]
    assert max(inside(station.lines())) == 3
    assert inside(station.lines())[-1] == 0


def test_a_killed_worker_gives_its_places_back(station: Station) -> None:
    first = station.worker(**BRIEF)
    results = tasks.crowd.enqueue_many([(f"{n}", "gate") for n in range(6)])
    eventually(lambda: len(station.lines()) == 3, WAIT)
    lost = station.lines()

    first.kill_all()
    station.worker()
    station.open("gate")

    assert [result.get(timeout=WAIT) for result in results] == [f"{n}" for n in range(6)]
    counts = inside(station.lines()[len(lost) :])
    assert max(counts) <= 3
    assert counts[-1] == 0
    assert len(station.lines()) == len(lost) + 12


def test_a_rate_is_kept_by_all_workers_together(station: Station) -> None:
    station.worker()
    station.worker()
    began = time.monotonic()
    results = tasks.paced.enqueue_many([(n,) for n in range(60)])
    for result in results:
        result.get(timeout=WAIT)

    at = sorted(float(line.split()[1]) - began for line in station.lines())
    early = [n for n, second in enumerate(at) if second < n / 20 - 0.01]  # two clocks, one in ms
    assert len(at) == 60
    assert early == []


def test_a_tenant_with_many_jobs_delays_another_by_a_round(station: Station) -> None:
    tasks.fair.enqueue_many([("large", n) for n in range(2000)])
    tasks.fair.enqueue("small", 0)
    station.burst("--concurrency", "1")
    assert station.lines().index("small 0") <= 2
    assert len(station.lines()) == 2001


def test_a_lock_outlives_the_worker_that_ran_its_job(station: Station) -> None:
    first = station.worker(**BRIEF)
    result = tasks.alone.enqueue("gate")
    station.traced("in alone")
    first.kill_all()

    again = tasks.alone.enqueue("gate")
    assert (again.duplicate, again.id) == (True, result.id)

    station.worker()
    station.open("gate")
    assert again.get(timeout=WAIT) == result.get(timeout=WAIT)
    assert station.lines() == ["in alone", "in alone", "out alone"]
    assert not tasks.alone.enqueue("gate").duplicate


def test_a_burst_runs_all_that_limits_let_in_and_leaves_what_waits_for_a_rate(
    station: Station,
) -> None:
    narrow = tasks.note.using(concurrency_limit=1, limit_key="narrow", priority=1)
    narrow.enqueue_many([(f"narrow {n}",) for n in range(100)])
    later = tasks.note.using(rate_limit="1/h").enqueue_many([("a",), ("b",)])
    station.burst()
    lines = station.lines()
    assert [line for line in lines if line != "a"] == [f"narrow {n}" for n in range(100)]
    assert lines.count("a") == 1
    assert states(later) == [State.SUCCEEDED, State.WAITING]
