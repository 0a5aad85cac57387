"""isolate=True: a process for the job alone, so that it takes nobody with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from django_taskq import TaskCancelled, TaskFailed
from django_taskq.job import State
from django_taskq.slot import GRACE
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import BRIEF, HEARD, LASTING, SLOW, WAIT, Station
from tests.processes.test_faults import is_gone


@pytest.fixture
def beside(station: Station) -> Any:
    """A job that runs in the worker's one child, whatever happens to the others."""
    station.worker(**LASTING)
    result = tasks.hold.enqueue("beside", "end")
    station.traced("start beside")
    yield result
    station.open("end")
    assert result.get(timeout=WAIT) == "beside"
    assert station.lines().count("start beside") == 1, "it was left alone"


def test_a_job_runs_in_a_process_of_its_own(station: Station, beside: Any) -> None:
    (child,) = station.workers[0].children()
    first, second = (tasks.apart.enqueue(1, n).get(timeout=WAIT) for n in (1, 2))

    assert (first[0], second[0]) == (2, 3)
    assert len({child, *first[1:], *second[1:]}) == 4, "one each, forked from one that runs nothing"


def test_spawned_children_isolate_too(station: Station) -> None:
    station.worker(TEST_START_METHOD="spawn")

    assert tasks.apart.enqueue(1, 1).get(timeout=WAIT)[0] == 2


def test_async_jobs_do_too(beside: Any) -> None:
    assert tasks.aapart.enqueue(1).get(timeout=WAIT) == 2


def test_what_it_raises_is_kept(beside: Any) -> None:
    result = tasks.apart_fails.enqueue()

    with pytest.raises(TaskFailed, match="ValueError: apart"):
        result.get(timeout=WAIT)
    assert 'raise ValueError("apart")' in result.errors[0].traceback
    assert result.attempts == 1


def test_its_timeout_reaches_it(beside: Any) -> None:
    result = tasks.apart_spins.enqueue()

    with pytest.raises(TaskFailed, match="TaskTimeout"):
        result.get(timeout=WAIT)
    assert "in apart_spins" in result.errors[0].traceback, "and it stopped where it was"


def test_a_cancellation_reaches_it(station: Station, beside: Any) -> None:
    result = tasks.apart_sleeps.enqueue("apart")
    station.traced("start apart")
    station.workers[0].heard()

    assert result.cancel()
    with pytest.raises(TaskCancelled):
        result.get(timeout=HEARD)


def test_one_that_does_not_stop_dies_alone(station: Station, beside: Any) -> None:
    children = station.workers[0].children()
    result = tasks.apart_holds.enqueue()
    station.traced("start holding apart")
    began = time.monotonic()

    with pytest.raises(TaskFailed, match="TaskTimeout"):
        result.get(timeout=WAIT)

    assert time.monotonic() - began < 2 + GRACE + 2 + SLOW
    assert (result.state, result.attempts) == (State.DEAD, 1)
    assert station.workers[0].children() == children


def test_one_that_crashes_is_dead_after_three_times(station: Station, beside: Any) -> None:
    children = station.workers[0].children()
    result = tasks.apart_crashes.enqueue()

    with pytest.raises(TaskFailed, match="signal 11"):
        result.get(timeout=WAIT)

    assert (result.state, result.attempts) == (State.DEAD, 0)
    assert station.lines().count("start crashing apart") == 3
    assert station.workers[0].children() == children


@pytest.mark.parametrize("who", ["the child", "the worker"])
def test_it_dies_with_its_child(station: Station, who: str) -> None:
    worker = station.worker(**(BRIEF if who == "the worker" else {}))
    result = tasks.apart_holds_its_pid.enqueue("gate")
    (line,) = eventually(station.lines)
    pid = int(line.removeprefix("pid "))

    if who == "the child":
        os.kill(worker.children()[0], signal.SIGKILL)
    else:
        worker.kill_all()
        station.worker()

    eventually(lambda: is_gone(pid), WAIT)
    eventually(lambda: len(station.lines()) == 2, WAIT)
    station.open("gate")
    assert result.get(timeout=WAIT) != pid
    assert result.attempts == 1
    backend = result.task.get_backend()
    (stored,) = backend.broker.fetch("default", [result.id])
    assert stored.live.crashes == 0


def test_one_that_hears_nothing_dies_with_its_worker_all_the_same(station: Station) -> None:
    worker = station.worker()
    tasks.apart_holds_for_ever.enqueue()
    (line,) = eventually(station.lines)

    worker.kill_all()

    eventually(lambda: is_gone(int(line.removeprefix("pid "))), WAIT)


def test_a_death_is_noticed_though_something_else_holds_the_pipe(station: Station) -> None:
    station.worker()
    result = tasks.apart_leaves_a_child_and_dies.enqueue()

    with pytest.raises(TaskFailed, match="signal 9"):
        result.get(timeout=45)
    assert station.lines().count("start forking apart") == 3


def test_how_one_died_is_known_whoever_else_asks(station: Station) -> None:
    station.worker()
    tasks.look_at_processes.enqueue("gate")
    station.traced("start looking")

    for _ in range(2):
        with pytest.raises(TaskFailed, match="signal 11"):
            tasks.apart_crashes.enqueue().get(timeout=WAIT)
    station.open("gate")
    assert station.lines().count("start crashing apart") == 6


def test_the_death_of_the_process_they_are_forked_from_is_charged_to_nobody(
    station: Station,
) -> None:
    worker = station.worker()
    result = tasks.apart_holds_its_pid.enqueue("gate")
    (line,) = eventually(station.lines)
    pid = int(line.removeprefix("pid "))

    os.kill(parent_of(pid), signal.SIGKILL)

    eventually(lambda: len(station.lines()) == 2)
    station.open("gate")
    assert result.get(timeout=WAIT) != pid
    backend = result.task.get_backend()
    (stored,) = backend.broker.fetch("default", [result.id])
    assert (stored.live.attempt, stored.live.lost) == (1, 0)
    assert "exit code" not in worker.output


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])


def test_the_project_is_imported_once_wherever_it_lies(station: Station, tmp_path: Path) -> None:
    """Only sys.path of the worker leads to it: not the environment, nor the working directory."""
    far = tmp_path / "far"
    far.mkdir()
    (far / "far_settings.py").write_text("from tests.processes.settings import *")
    (far / "manage.py").write_text(
        "import sys\n"
        "from django.core.management import execute_from_command_line\n"
        "if __name__ == '__main__':\n"
        "    execute_from_command_line(sys.argv)\n"
    )
    station.worker(program=[str(far / "manage.py")], DJANGO_SETTINGS_MODULE="far_settings")

    imported_by, server = tasks.apart_tells_who_imported_it.enqueue().get(timeout=WAIT)

    assert imported_by == server
