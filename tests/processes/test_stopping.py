"""What is done with code that does not stop: its process ends, and nobody else pays for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from django_taskq import TaskCancelled, TaskFailed
from django_taskq.job import State
from django_taskq.slot import GRACE
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import BRIEF, SLOW, WAIT, Station


def crashes(result: Any) -> int:
    """How often the job's process is said to have died of it."""
    backend = result.task.get_backend()
    return int(backend.broker.fetch(result.task.queue_name, [result.id])[0].live.crashes)


def test_a_kill_ends_code_that_does_not_stop_within_two_seconds_of_the_grace(
    station: Station,
) -> None:
    worker = station.worker()
    (child,) = worker.children()
    beside = tasks.endless.enqueue("beside")
    result = tasks.deaf_for_ever.enqueue("deaf")
    station.traced("start beside", "start deaf")
    asked = time.monotonic()

    assert result.kill()
    with pytest.raises(TaskCancelled):
        result.get(timeout=WAIT)

    assert time.monotonic() - asked < GRACE + 2 + SLOW
    assert (result.state, station.lines().count("start deaf")) == (State.CANCELLED, 1)
    eventually(lambda: station.lines().count("start beside") == 2)
    beside.refresh()
    assert (beside.attempts, crashes(beside)) == (1, 0), "run again, and charged with nothing"
    assert child not in worker.children()
    assert "time.sleep(600)" in worker.output, "the log says where it was"


def test_a_kill_ends_code_that_lets_no_other_thread_run(station: Station) -> None:
    worker = station.worker()
    beside = tasks.endless.enqueue("beside")
    station.traced("start beside")
    result = tasks.hold_the_interpreter_for_ever.enqueue()
    station.traced("start holding")
    asked = time.monotonic()

    assert result.kill()
    with pytest.raises(TaskCancelled):
        result.get(timeout=WAIT)

    assert time.monotonic() - asked < GRACE + 2 + SLOW
    eventually(lambda: station.lines().count("start beside") == 2)
    assert crashes(beside) == 0
    assert station.lines().count("start holding") == 1
    assert "probably out of memory" not in worker.output, "it was us"


def test_a_cancellation_leaves_the_process_alone_whatever_the_code_does(station: Station) -> None:
    worker = station.worker()
    children = worker.children()
    result = tasks.swallow_once.enqueue("a")
    station.traced("start a")

    assert result.cancel()
    station.traced("swallowed a")
    result.refresh()
    assert result.state is State.RUNNING, "until its code has stopped"

    assert result.kill()
    with pytest.raises(TaskCancelled):
        result.get(timeout=WAIT)
    assert worker.children() == children, "the second request was heard"


def test_a_timeout_that_the_interpreter_never_hears_of_is_one_failed_attempt(
    station: Station,
) -> None:
    worker = station.worker()
    beside = tasks.endless.enqueue("beside")
    station.traced("start beside")
    result = tasks.hold_the_interpreter.enqueue()

    with pytest.raises(TaskFailed, match="TaskTimeout"):
        result.get(timeout=WAIT)

    assert (result.state, result.attempts) == (State.DEAD, 1)
    assert station.lines().count("start holding") == 1
    eventually(lambda: station.lines().count("start beside") == 2)
    assert crashes(beside) == 0
    assert "does not stop" in worker.output


def test_a_child_that_outgrows_its_memory_is_killed_and_its_job_dead_after_three_times_alone(
    station: Station,
) -> None:
    worker = station.worker("--max-memory", "150")
    result = tasks.bomb.enqueue()

    with pytest.raises(TaskFailed, match=r"it holds \d[\d,]* MB and --max-memory is 150"):
        result.get(timeout=60)

    assert (result.state, result.attempts) == (State.DEAD, 0)
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2, "the queue goes on"
    assert worker.process.poll() is None


def test_no_child_starts_while_another_still_runs_what_it_has_lost(station: Station) -> None:
    """Frozen with its supervisor past the lease, its job runs elsewhere by now."""
    worker = station.worker(**BRIEF)
    result = tasks.deaf_for_ever.enqueue("a")
    station.traced("start a")
    (child,) = worker.children()
    worker.freeze()
    other = station.worker()
    eventually(lambda: station.lines().count("start a") == 2, WAIT)

    worker.thaw()
    worker.says("the lease of .* is over")
    while child in (alive := worker.children()):
        assert alive == [child]
    eventually(lambda: len(worker.children()) == 1)

    assert station.lines().count("start a") == 2
    result.kill()
    with pytest.raises(TaskCancelled):
        result.get(timeout=WAIT)
    assert other.process.poll() is None


def test_a_second_attempt_never_meets_the_first(station: Station) -> None:
    """Though it may begin at once: the first was deaf, and ended with its process."""
    station.worker("--processes", "2")

    result = tasks.deaf_once.enqueue()

    assert result.get(timeout=WAIT) is True
    assert result.attempts == 2
    assert "asked after attempt 1: TaskTimeout" in station.lines(), "the task's own retry rule"


def test_a_cancellation_arrives_though_nobody_hears_the_control_channel(station: Station) -> None:
    """With the next renewal, at most a third of the lease later."""
    station.worker(**BRIEF)
    result = tasks.endless.enqueue("a")
    station.traced("start a")
    broker = result.task.get_backend().broker
    jobs = [(result.id, tasks.endless.module_path)]

    broker.server.call(broker.cancel_call("default", jobs, b"{}", 60_000))  # published nowhere

    with pytest.raises(TaskCancelled):
        result.get(timeout=WAIT)


def test_a_receiver_that_takes_its_time_costs_no_lease(station: Station) -> None:
    """It is told in place of a process that was ended; so long, the others' leases are renewed."""
    size = ("--processes", "2", "--concurrency", "1")
    worker = station.worker(*size, TEST_RECEIVER="yes", **BRIEF)
    neighbour = tasks.hold.enqueue("n", "gate")
    station.traced("start n")
    result = tasks.deaf.enqueue()

    with pytest.raises(TaskFailed, match="TaskTimeout"):
        result.get(timeout=WAIT)

    assert (result.state, result.attempts) == (State.DEAD, 1)
    assert station.lines().count("told") == 1
    worker.says("takes too long")
    station.open("gate")
    assert neighbour.get(timeout=WAIT) == "n"
    assert station.lines().count("start n") == station.lines().count("start deaf") == 1
    assert "lease" not in worker.output
