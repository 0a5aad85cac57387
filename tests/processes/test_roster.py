"""Workers say how they stand, and do what a person wants of them."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_taskq.broker.inspector import Inspector
from django_taskq.broker.releases import Release, Releases, releases_in
from django_taskq.broker.roster import Roster, Worker
from django_taskq.compat import task_backends
from django_taskq.job import State
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import BRIEF, WAIT, Station
from tests.processes.test_runworker import is_left


def roster() -> Roster:
    return Roster(task_backends["default"].broker)


def only() -> Worker:
    """The worker that stands."""

    def found() -> Worker | None:
        _, workers = roster().workers()
        return workers[0] if len(workers) == 1 and workers[0].record.processes else None

    worker = eventually(found, WAIT)
    assert isinstance(worker, Worker)
    return worker


def test_a_worker_says_what_it_is_and_is_gone_when_it_leaves(station: Station) -> None:
    running = station.worker("--queues", "default", "--concurrency", "3", "--processes", "2")

    worker = only()
    assert worker.record.pid == running.process.pid
    assert worker.record.queues == {"default": 3}
    assert worker.slots == 6
    assert worker.memory > 1 << 20
    assert {each.pid for each in worker.record.processes} <= set(running.children())

    running.stop()
    assert roster().workers()[1] == []


def test_one_that_is_told_so_takes_no_more_and_says_that_it_is_quiet(station: Station) -> None:
    running = station.worker("--queues", "default")

    roster().order(only().id, "quiet")

    running.says("quiet: running jobs finish")
    eventually(lambda: only_state() == "quiet")
    eventually(lambda: not running.children())
    tasks.note.enqueue("late")
    assert running.stop() == 0
    assert "late" not in station.lines()


def test_a_quiet_one_whose_processes_have_left_takes_jobs_again(station: Station) -> None:
    running = station.worker("--queues", "default", "--processes", "2")
    id = only().id
    roster().order(id, "quiet")
    eventually(lambda: not running.children())
    tasks.note.enqueue("later")

    roster().order(id, "resume")

    station.traced("later")
    eventually(lambda: only_state() == "running" and len(running.children()) == 2)


def test_a_quiet_one_that_still_runs_something_takes_jobs_again_beside_it(
    station: Station,
) -> None:
    running = station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    children = running.children()
    id = only().id
    roster().order(id, "quiet")
    running.says("quiet: running jobs finish")
    running.heard()
    later = tasks.note.enqueue("later")
    assert is_left(later)

    roster().order(id, "resume")

    assert later.get(timeout=WAIT) is None
    assert running.children() == children
    assert "end a" not in station.lines()
    station.open("gate")


def test_a_burst_worker_that_was_quiet_has_as_many_processes_again(station: Station) -> None:
    tasks.hold.enqueue("a", "first")
    tasks.hold.enqueue("b", "second")
    size = ("--burst", "--processes", "2", "--concurrency", "1")
    running = station.worker("--queues", "default", *size)
    station.traced("start a", "start b")
    id = only().id
    roster().order(id, "quiet")
    running.says("quiet: running jobs finish")
    station.open("second")
    eventually(lambda: len(running.children()) == 1)
    tasks.note.enqueue("c")

    roster().order(id, "resume")

    station.traced("c")
    assert "end a" not in station.lines()
    station.open("first")
    assert running.wait() == 0


def test_a_quiet_one_keeps_nothing_that_it_has_not_started(station: Station) -> None:
    running = station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    (child,) = running.children()
    os.kill(child, signal.SIGSTOP)
    tasks.note.enqueue_many([(f"n{number}",) for number in range(4_000)])
    os.kill(child, signal.SIGCONT)
    station.traced("n200")

    os.kill(child, signal.SIGSTOP)  # or it might be through before it is told
    running.signal(signal.SIGTSTP)
    running.says("quiet: running jobs finish")
    os.kill(child, signal.SIGCONT)
    running.heard()

    eventually(lambda: counted(State.RUNNING) == 1)
    assert counted(State.READY) > 0
    station.open("gate")


def counted(state: State) -> int:
    """The jobs in that state."""
    return Inspector(task_backends["default"].broker).queue("default").states[state]


def test_one_that_stops_cannot_be_called_back(station: Station) -> None:
    running = station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    id = only().id
    roster().order(id, "stop")
    eventually(lambda: only_state() == "stopping")

    roster().order(id, "resume")
    running.heard()
    tasks.note.enqueue("late")
    station.open("gate")

    assert running.wait() == 0
    assert "late" not in station.lines()


@pytest.mark.parametrize("orders", [("stop", "restart"), ("restart", "stop")])
def test_one_that_is_to_stop_does_not_start_anew(station: Station, orders: tuple[str, str]) -> None:
    running = station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    id = only().id
    for order in orders:
        roster().order(id, order)
        eventually(lambda: only_state() == "stopping")
        running.heard()

    station.open("gate")

    assert running.wait() == 0
    assert running.output.count("worker ready") == 1


def test_a_worker_says_what_its_processes_did_and_those_before_them(station: Station) -> None:
    station.worker("--queues", "default", "--max-jobs", "2", **BRIEF)
    for number in range(5):
        tasks.add.enqueue(number, 1)
    tasks.control.enqueue("fail")

    worker = eventually(lambda: attempted(6), WAIT)

    assert worker.failed == 1
    eventually(lambda: attempted(6).cpu is not None)


def attempted(number: int) -> Any:
    """The worker that stands, once so many attempts ended in it."""
    worker = only()
    return worker if worker.attempts == number else None


def test_one_that_vanished_is_stale_until_it_is_forgotten(station: Station) -> None:
    running = station.worker("--queues", "default", **BRIEF)
    assert not only().is_stale

    running.kill_all()

    eventually(lambda: only().is_stale, WAIT)


def test_the_release_of_the_project_is_reported_and_noted_once(station: Station) -> None:
    station.worker("--queues", "default", TASKQ_RELEASE="4f2a91c")
    assert only().record.release == "4f2a91c"
    first = eventually(releases)
    second = station.worker("--queues", "default", TASKQ_RELEASE="4f2a91c")
    eventually(lambda: len(roster().workers()[1]) == 2)
    second.stop()
    station.worker("--queues", "default", TASKQ_RELEASE="next")

    both = eventually(lambda: len(releases()) == 2 and releases())

    assert [release.name for release in both] == ["4f2a91c", "next"]
    assert both[0] == first[0]


def releases() -> list[Release]:
    broker = task_backends["default"].broker
    return releases_in(broker.server.call(Releases(broker).call()))


def only_state() -> str:
    _, workers = roster().workers()
    return workers[0].record.state if workers else ""


def test_one_that_is_told_to_stop_leaves_and_no_other(station: Station) -> None:
    first = station.worker("--queues", "default")
    id = only().id
    second = station.worker("--queues", "default")
    eventually(lambda: len(roster().workers()[1]) == 2)

    roster().order("nobody", "stop")
    roster().order(id, "stop")

    assert first.wait() == 0
    assert second.process.poll() is None


def test_one_that_is_told_to_restart_finishes_and_comes_back_as_another(station: Station) -> None:
    running = station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    before = only()

    roster().order(before.id, "restart")
    eventually(lambda: only_state() == "stopping")
    station.open("gate")

    station.traced("end a")
    eventually(lambda: running.output.count("worker ready") == 2, WAIT)
    after = only()
    assert after.id != before.id
    assert after.record.pid == before.record.pid
    assert after.record.state == "running"


def test_the_command_lists_workers_and_tells_them_what_to_do(station: Station) -> None:
    running = station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    id = only().id

    (row,) = json.loads(said("--json"))
    assert (row["worker"], row["state"], row["pid"]) == (id, "running", running.children()[0])
    eventually(lambda: "in hold" in said("--stack", id[:12]))
    assert "takes no more jobs" in said("--quiet", id)
    eventually(lambda: json.loads(said("--json"))[0]["state"] == "quiet")
    assert "takes jobs again" in said("--resume", id)
    eventually(lambda: json.loads(said("--json"))[0]["state"] == "running")
    with pytest.raises(CommandError, match="no worker has an id that begins"):
        call_command("taskq", "workers", "--stop", "nobody")
    station.open("gate")
    assert "stops" in said("--stop", id)
    assert running.wait() == 0


def said(*options: str) -> str:
    out = io.StringIO()
    with pytest.raises(SystemExit, match="0"):
        call_command("taskq", "workers", *options, stdout=out)
    return out.getvalue()


def test_a_process_says_where_its_code_is(station: Station) -> None:
    station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    worker = only()
    holder = worker.record.processes[0].holder

    def told() -> str:
        roster().order(worker.id, "stack")
        _, text = roster().told([holder]).get(holder, (0, ""))
        return text if "in hold" in text else ""

    said = str(eventually(told, WAIT))

    assert said.startswith("Job ")
    assert "Thread MainThread" in said
    assert 'File "tests/processes/app/tasks.py", line' in said
    station.open("gate")


@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_a_process_that_hangs_in_c_is_seen_from_outside(station: Station, how: str) -> None:
    """Its loop cannot answer: whoever has the interpreter does not let go of it."""
    running = station.worker("--queues", "default", "--concurrency", "10", TEST_START_METHOD=how)
    for number in range(9):
        tasks.hold.enqueue(f"h{number}", "gate")
    station.traced(*(f"start h{number}" for number in range(9)))
    hanging = tasks.hold_the_interpreter_for_ever.enqueue()
    station.traced("start holding")
    worker = only()
    holder = worker.record.processes[0].holder

    def told() -> tuple[int, str]:
        return roster().told([holder]).get(holder, (0, ""))

    for _ in range(5):  # where it is starved, a part of the frames is there when they are read
        before, _ = told()
        roster().order(worker.id, "stack")
        eventually(lambda since=before: told()[0] > since, WAIT)
        _, said = told()
        if said.count("in hold\n") == 9 and "in hold_the_interpreter_for_ever" in said:
            break
        time.sleep(2)  # or the rest of them would be read with the next

    assert f"Process {worker.record.processes[0].pid} does not answer" in said
    assert said.count("in hold\n") == 9, "every thread is there"
    assert "in run_child" in said
    assert f"Job {hanging.id} runs in it." in said
    assert 'File "tests/processes/app/tasks.py", line' in said
    assert "in hold_the_interpreter_for_ever" in said
    running.shows("in hold_the_interpreter_for_ever")
    assert running.process.poll() is None
