"""Workers say how they stand, and do what a person wants of them."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from django_taskq.broker.roster import Roster, Worker
from django_taskq.compat import task_backends
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import Station


def roster() -> Roster:
    return Roster(task_backends["default"].broker)


def only() -> Worker:
    """The worker that stands."""

    def found() -> Worker | None:
        _, workers = roster().workers()
        return workers[0] if len(workers) == 1 and workers[0].record.processes else None

    worker = eventually(found, 20.0)
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
    tasks.note.enqueue("late")
    assert running.stop() == 0
    assert "late" not in station.lines()


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


def test_the_command_lists_workers_and_tells_them_what_to_do(station: Station) -> None:
    running = station.worker("--queues", "default")
    tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    id = only().id

    (row,) = json.loads(said("--json"))
    assert (row["worker"], row["state"], row["pid"]) == (id, "running", running.children()[0])
    assert "in hold" in said("--stack", id[:12])
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

    said = str(eventually(told, 20.0))

    assert said.startswith("Job ")
    assert "Thread MainThread" in said
    assert 'File "tests/processes/app/tasks.py", line' in said
    station.open("gate")
