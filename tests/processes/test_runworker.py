"""``manage.py runworker``: what it runs, in which order, and how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import pytest

from django_taskq import TaskCancelled, TaskFailed
from django_taskq.broker.broker import Draft, Exchange
from django_taskq.codec import encode
from django_taskq.compat import TaskResultStatus, task_backends
from django_taskq.job import Envelope, Kind, Outcome, State, new_id
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import BRIEF, HEARD, LASTING, ROOT, WAIT, Station


def test_a_worker_runs_a_job_and_its_value_can_be_read(station: Station) -> None:
    station.worker()
    result = tasks.add.enqueue(1, 2)
    assert result.get(timeout=WAIT) == 3
    assert result.state is State.SUCCEEDED
    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.attempts == 1
    assert result.started_at is not None
    assert result.finished_at >= result.started_at >= result.enqueued_at


def test_burst_runs_everything_and_leaves_with_zero(station: Station) -> None:
    results = tasks.add.enqueue_many([(n, 1) for n in range(1200)])
    station.burst()
    assert [r.get(timeout=0.1) for r in results[::100]] == list(range(1, 1201, 100))


def test_higher_priorities_run_first_and_equals_in_order(station: Station) -> None:
    for text, priority in (("a", 0), ("b", -5), ("c", 10), ("d", 0), ("e", 100)):
        tasks.note.using(priority=priority).enqueue(text)
    station.burst("--concurrency", "1")
    assert station.lines() == ["e", "c", "a", "d", "b"]


def test_a_strict_worker_empties_the_heavier_queue_first(station: Station) -> None:
    for n in range(5):
        tasks.note.using(queue_name="low").enqueue(f"low {n}")
        tasks.note.using(queue_name="critical").enqueue(f"critical {n}")
    station.burst("--strict", "--concurrency", "1")
    assert [line.split()[0] for line in station.lines()] == ["critical"] * 5 + ["low"] * 5


def test_a_worker_serves_only_the_queues_it_is_told(station: Station) -> None:
    other = tasks.note.using(queue_name="low").enqueue("low")
    tasks.note.enqueue("default")
    station.burst("--queues", "default,critical:9")
    other.refresh()
    assert (station.lines(), other.state) == (["default"], State.READY)


def test_an_async_job_and_a_sync_job_run_at_once(station: Station) -> None:
    station.worker()
    jobs = [tasks.hold.enqueue("s", "gate"), tasks.ahold.enqueue("a", "gate")]
    station.traced("start s", "start a")
    station.open("gate")
    assert [job.get(timeout=WAIT) for job in jobs] == ["s", "a"]


def test_sync_and_async_jobs_together_never_exceed_the_concurrency(station: Station) -> None:
    station.worker("--concurrency", "3")
    jobs = [(tasks.hold if n % 2 else tasks.ahold).enqueue(f"job {n}", "gate") for n in range(8)]
    eventually(lambda: len(station.lines()) >= 3)
    time.sleep(0.3)  # nothing else may start: there is no event to wait for
    assert len(station.lines()) == 3
    station.open("gate")
    for job in jobs:
        job.get(timeout=WAIT)


def test_a_scheduled_job_waits_for_its_time(station: Station) -> None:
    station.worker()
    asked = time.monotonic()
    result = tasks.add.using(run_after=1.0).enqueue(1, 1)
    assert result.state is State.SCHEDULED
    assert result.get(timeout=WAIT) == 2
    assert time.monotonic() - asked >= 1.0


def test_a_failing_job_is_tried_again_until_it_succeeds(station: Station) -> None:
    station.worker()
    result = tasks.fail_twice.enqueue()
    assert result.get(timeout=WAIT) == "at last"
    assert result.attempts == 3
    assert len(result.errors) == 2
    assert "failure 1" in result.errors[0].traceback


@pytest.mark.parametrize(
    ("kind", "state", "attempts"),
    [("fail", State.DEAD, 1), ("cancel", State.CANCELLED, 1), ("retry", State.DEAD, 3)],
)
def test_a_task_says_how_its_attempt_ended(
    station: Station, kind: str, state: State, attempts: int
) -> None:
    station.worker()
    result = tasks.control.enqueue(kind)
    with pytest.raises(TaskFailed):
        result.get(timeout=WAIT)
    assert (result.state, result.attempts) == (state, attempts)
    assert station.lines() == [f"control {kind}"] * attempts


def test_a_snoozed_job_counts_no_attempt(station: Station) -> None:
    result = tasks.control.enqueue("snooze")
    station.burst()
    result.refresh()
    assert (result.state, result.attempts) == (State.SCHEDULED, 0)


def test_a_retried_job_sees_its_earlier_failures(station: Station) -> None:
    station.worker()
    result = tasks.context.enqueue()
    assert result.get(timeout=WAIT) == [2, result.id, ["builtins.ValueError"]]


def test_a_value_that_cannot_be_stored_fails_the_job_without_another_run(station: Station) -> None:
    station.worker()
    result = tasks.unreadable_value.enqueue()
    with pytest.raises(TaskFailed, match="return value"):
        result.get(timeout=WAIT)
    assert station.lines() == ["ran"]


@pytest.mark.parametrize("task", [tasks.spin, tasks.aspin])
def test_a_job_that_runs_too_long_is_interrupted(station: Station, task: tasks.task) -> None:
    station.worker()
    result = task.enqueue()
    with pytest.raises(TaskFailed, match="TaskTimeout"):
        result.get(timeout=WAIT)
    assert result.state is State.DEAD
    assert "swallowed" not in station.lines()
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2


@pytest.mark.parametrize("task", [tasks.endless, tasks.aendless])
def test_a_running_job_is_cancelled_at_once(station: Station, task: tasks.task) -> None:
    worker = station.worker(**LASTING)
    result = task.enqueue("x")
    station.traced("start x")
    worker.heard()
    assert result.cancel()
    with pytest.raises(TaskCancelled):
        result.get(timeout=HEARD)
    assert result.state is State.CANCELLED


def test_a_job_that_expired_is_cancelled_unrun(station: Station) -> None:
    result = tasks.note.using(expires_in=0.01).enqueue("late")
    time.sleep(0.05)
    station.burst()
    result.refresh()
    assert (result.state, station.lines()) == (State.CANCELLED, [])
    assert "JobExpired" in result.errors[0].exception_class_path


def test_garbage_is_quarantined_and_the_rest_of_the_batch_runs(station: Station) -> None:
    broker = task_backends["default"].broker
    good = [tasks.add.enqueue(1, n) for n in range(3)]
    bad = tasks.add.enqueue(1, 3)
    broker.server.command("HSET", broker.key("default", "jobs"), bad.id, b"\xff{garbage")
    worker = station.burst()
    assert [r.get(timeout=1) for r in good] == [1, 2, 3]
    bad.refresh()
    assert bad.state is State.DEAD
    assert "MalformedJob" in bad.errors[0].exception_class_path
    assert f"job {bad.id} of queue default cannot be read" in worker.output


def test_an_unknown_task_is_parked_and_never_imported(station: Station) -> None:
    broker = task_backends["default"].broker
    number = broker.number("default")
    id = f"unknown.{number}"
    envelope = encode(Envelope(t="os.system", e=1, a=["touch /tmp/never"]))
    broker.enqueue("default", [Draft(id, envelope)])
    station.burst()
    (stored,) = broker.fetch("default", [id])
    assert stored.state is State.WAITING
    assert "no task of this name" in stored.live.note


def test_a_parked_job_runs_when_a_worker_knows_its_task(station: Station) -> None:
    broker = task_backends["default"].broker
    result = tasks.note.enqueue("known")
    (answer,) = broker.exchange([Exchange("default", "H" * 22, 30000, True, 1, 1)])
    outcome = Outcome(answer.grants[0], Kind.PARKED, b"old code", task=tasks.note.module_path)
    assert broker.park("default", [outcome]) == "O"
    station.worker(**BRIEF)
    assert result.get(timeout=WAIT) is None


def test_term_finishes_what_runs_and_gives_back_the_rest(station: Station) -> None:
    worker = station.worker("--concurrency", "1")
    running = tasks.hold.enqueue("a", "gate")
    waiting = tasks.hold.enqueue("b", "gate")
    station.traced("start a")
    worker.signal(signal.SIGTERM)
    worker.says("stopping")
    worker.heard()
    station.open("gate")
    assert worker.wait() == 0
    running.refresh()
    waiting.refresh()
    assert (running.state, waiting.state) == (State.SUCCEEDED, State.READY)


def test_what_does_not_finish_in_time_is_given_back_uncounted(station: Station) -> None:
    worker = station.worker("--shutdown-timeout", "0.2")
    result = tasks.endless.enqueue("x")
    station.traced("start x")
    assert worker.stop() == 0
    result.refresh()
    assert (result.state, result.attempts) == (State.READY, 0)


def test_a_second_interrupt_stops_at_once(station: Station) -> None:
    worker = station.worker()
    result = tasks.endless.enqueue("x")
    station.traced("start x")
    worker.signal(signal.SIGINT)
    worker.says("stopping")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0
    result.refresh()
    assert result.state is State.READY


def test_tstp_takes_no_more_jobs_and_finishes_the_running(station: Station) -> None:
    worker = station.worker()
    running = tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    worker.signal(signal.SIGTSTP)
    worker.says("quiet")
    worker.heard()
    later = tasks.note.enqueue("later")
    assert is_left(later)
    station.open("gate")
    assert running.get(timeout=WAIT) == "a"
    later.refresh()
    assert later.state is State.READY
    assert worker.process.poll() is None
    assert worker.stop() == 0


def is_left(result: Any) -> bool:
    """Whether nobody takes a job."""
    try:
        result.get(timeout=0.5)
    except TimeoutError:
        result.refresh()
        return bool(result.state is State.READY)
    return False


def test_ttin_dumps_the_stacks(station: Station) -> None:
    worker = station.worker()
    tasks.endless.enqueue("x")
    station.traced("start x")
    worker.signal(signal.SIGTTIN)
    worker.says("in endless")


def test_hup_starts_anew_under_the_same_pid(station: Station) -> None:
    worker = station.worker()
    before = tasks.pid.enqueue().get(timeout=WAIT)
    worker.signal(signal.SIGHUP)
    eventually(lambda: worker.output.count("worker ready") == 2, WAIT)
    after = tasks.pid.enqueue().get(timeout=WAIT)
    assert before != after
    assert worker.process.poll() is None
    assert worker.stop() == 0


def test_a_child_is_replaced_after_max_jobs(station: Station) -> None:
    station.worker("--max-jobs", "2", "--concurrency", "1")
    pids = [tasks.pid.enqueue().get(timeout=WAIT) for _ in range(5)]
    assert len(set(pids)) >= 2


def test_several_processes_share_the_work(station: Station) -> None:
    worker = station.worker("--processes", "2", "--concurrency", "1")
    jobs = [tasks.hold.enqueue(f"{n}", "gate") for n in range(2)]
    station.traced("start 0", "start 1")
    assert len(worker.children()) == 2
    station.open("gate")
    for job in jobs:
        job.get(timeout=WAIT)


def test_children_can_be_spawned_instead_of_forked(station: Station) -> None:
    station.worker(TEST_START_METHOD="spawn")
    assert tasks.add.enqueue(2, 2).get(timeout=WAIT) == 4


@pytest.mark.parametrize("leave", [tasks.leave_transaction_open, tasks.leave_atomic_block_open])
def test_a_transaction_left_open_does_not_reach_the_next_job(
    station: Station, leave: tasks.task
) -> None:
    station.worker("--concurrency", "1")
    leave.enqueue().get(timeout=WAIT)
    assert tasks.connection_is_usable.enqueue().get(timeout=WAIT) is True


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--queues", "defualt"], "did you mean 'default'"),
        (["--queues", "low:0"], "not a whole number"),
        (["--backend", "other"], "TASKS has no backend 'other'"),
        (["--concurrency", "0"], "invalid positive value"),
        (["--concurency", "2"], "did you mean '--concurrency'"),
        (["--shutdown-timeout", "inf"], "invalid seconds value"),
    ],
)
def test_a_bad_command_line_is_refused_with_a_reason(
    station: Station, args: list[str], message: str
) -> None:
    worker = station.start(*args)
    assert worker.wait() != 0
    assert message in worker.output


def test_an_unreachable_server_is_said_at_the_start(station: Station) -> None:
    worker = station.start(TASKQ_URL="redis://:secret@127.0.0.1:1/0")
    assert worker.wait() == 1
    assert "127.0.0.1:1" in worker.output
    assert "secret" not in worker.output


def test_jobs_are_logged_with_their_fields(station: Station) -> None:
    tasks.add.enqueue(1, 1)
    worker = station.burst()
    assert "INFO django_taskq.job tests.processes.app.tasks.add succeeded" in worker.output
    assert os.path.exists(station.ledger)


def test_the_worker_has_a_second_name_that_nobody_else_uses(station: Station) -> None:
    tasks.note.enqueue("seen")
    done = subprocess.run(
        [sys.executable, "-m", "django", "taskq", "worker", "--burst"],
        env=station.env(),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, station.lines()) == (0, ["seen"]), done.stderr


def test_short_jobs_are_not_stranded_behind_a_long_one(station: Station) -> None:
    first = station.worker("--concurrency", "1")
    for result in tasks.add.enqueue_many([(n, 1) for n in range(300)]):
        result.get(timeout=WAIT)  # by now the worker claims ahead
    broker = task_backends["default"].broker
    first.signal(signal.SIGSTOP)
    long = tasks.hold.enqueue("long", "gate")
    short = tasks.note.enqueue_many([(f"short {n}",) for n in range(20)])
    first.signal(signal.SIGCONT)
    station.traced("start long")
    station.worker("--concurrency", "1")
    for result in short:
        result.get(timeout=WAIT)
    assert broker.fetch("default", [long.id])[0].state is State.RUNNING
    station.open("gate")
    assert long.get(timeout=WAIT) == "long"


def test_reload_runs_new_code_and_keeps_the_old_while_the_new_does_not_load(
    station: Station,
) -> None:
    app = station.home / "extra"
    app.mkdir()
    (app / "__init__.py").touch()

    def write(body: str) -> None:
        (app / "tasks.py").write_text(
            f"from django_taskq import task\n\n\n@task\ndef value():\n    {body}\n"
        )
        os.utime(app / "tasks.py", (next(moments), next(moments)))

    def value() -> object:
        broker = task_backends["default"].broker
        id = f"{new_id()}.{broker.number('default')}"
        broker.enqueue("default", [Draft(id, encode(Envelope(t="extra.tasks.value", e=1)))])
        return eventually(lambda: broker.fetch("default", [id])[0].value)

    moments = iter(range(1_700_000_000, 1_800_000_000, 100))
    write("return 1")
    path = f"{ROOT}{os.pathsep}{station.home}"
    worker = station.worker("--reload", TEST_APP="extra", PYTHONPATH=path)
    assert value() == b"1"
    write("return 1 +")
    worker.says("the old code goes on")
    assert value() == b"1"
    write("return 2")
    eventually(lambda: worker.output.count("worker ready") == 2, WAIT)
    assert value() == b"2"
    assert worker.stop() == 0


def test_programs_that_jobs_start_can_be_told_to_end(station: Station) -> None:
    station.worker()

    assert tasks.starts_a_program.enqueue().get(timeout=WAIT) == -signal.SIGTERM


def test_a_job_that_is_due_soon_is_noticed_after_a_child_was_replaced(station: Station) -> None:
    """Before a fork the lines to Redis are closed; whoever listened there listens again."""
    worker = station.worker("--queues", "default", "--max-jobs", "1", **LASTING)
    before = worker.children()
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
    eventually(lambda: worker.children() not in ([], before), WAIT)

    tasks.note.using(run_after=timedelta(seconds=1)).enqueue("soon")

    station.traced("soon", timeout=HEARD)
