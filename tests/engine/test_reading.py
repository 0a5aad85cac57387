"""``get_result()`` and ``refresh()``: what can be read of a job, in every state it may be in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.compat import (
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    task_backends,
)
from django_taskq.exceptions import JobCancelled
from django_taskq.job import ENDED, Kind, Outcome, State
from django_taskq.result import STATUS, TaskResult
from tests.engine.support import Hand, configured
from tests.engine.tasks import add, choosy, fail, nothing, renamed, urgent

Read = Callable[[str], TaskResult]


@pytest.fixture(params=["get_result", "aget_result"])
def read(request: pytest.FixtureRequest, backend: RedisBackend) -> Read:
    """get_result() and aget_result() in turn."""
    if request.param == "get_result":
        return backend.get_result
    return lambda id: asyncio.run(backend.aget_result(id))


# --- states ---------------------------------------------------------------------------------------


def waiting(hand: Hand) -> TaskResult:
    result = nothing.enqueue()
    (grant,) = hand.claim()
    hand.broker.park("default", [Outcome(grant, Kind.PARKED, b"unknown", task="x")])
    return result


def scheduled(hand: Hand) -> TaskResult:
    return nothing.using(run_after=60).enqueue()


def ready(hand: Hand) -> TaskResult:
    return nothing.enqueue()


def running(hand: Hand) -> TaskResult:
    result = nothing.enqueue()
    hand.claim()
    return result


def retrying(hand: Hand) -> TaskResult:
    result = choosy.enqueue("os")
    hand.run()
    return result


def succeeded(hand: Hand) -> TaskResult:
    result = nothing.enqueue()
    hand.run()
    return result


def dead(hand: Hand) -> TaskResult:
    result = choosy.enqueue("key")
    hand.run()
    return result


def cancelled(hand: Hand) -> TaskResult:
    result = nothing.enqueue()
    result.cancel()
    return result


MAKERS = [waiting, scheduled, ready, running, retrying, succeeded, dead, cancelled]
DJANGO = {
    State.WAITING: "READY",
    State.SCHEDULED: "READY",
    State.READY: "READY",
    State.RETRYING: "READY",
    State.RUNNING: "RUNNING",
    State.SUCCEEDED: "SUCCESSFUL",
    State.DEAD: "FAILED",
    State.CANCELLED: "FAILED",
}


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_state_is_one_of_djangos_four(make: Any, hand: Hand, read: Read) -> None:
    result = make(hand)
    state = State(make.__name__)
    for seen in (read(result.id), refreshed(result)):
        assert seen.state is state
        assert seen.status == TaskResultStatus[DJANGO[state]]
        assert seen.is_ended == (state in ENDED)
        assert seen.is_finished == (state in ENDED)
        assert (seen.finished_at is not None) == (state in ENDED)


def refreshed(result: TaskResult) -> TaskResult:
    result.refresh()
    return result


def test_the_table_of_states_is_djangos() -> None:
    assert {state: status.name for state, status in STATUS.items()} == DJANGO


# --- what is read ---------------------------------------------------------------------------------


def test_a_job_that_succeeded_has_its_value_and_times(hand: Hand, read: Read) -> None:
    begun = timezone.now()
    result = add.using(id="mine").enqueue(1, b=2)
    hand.run()
    seen = read(result.id)
    assert (seen.return_value, seen.args, seen.kwargs) == (3, [1], {"b": 2})
    assert (seen.attempts, seen.worker_ids, seen.errors) == (1, [hand.holder], [])
    assert seen.task.func is add.func
    assert (seen.backend, seen.id) == ("default", result.id)
    times = [seen.enqueued_at, seen.started_at, seen.last_attempted_at, seen.finished_at]
    assert all(abs((moment - begun).total_seconds()) < 60 for moment in times)


def test_a_value_that_is_none_is_told_apart_from_no_value(hand: Hand, read: Read) -> None:
    result = nothing.enqueue()
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value
    hand.run()
    assert read(result.id).return_value is None


def test_a_running_job_counts_its_attempt(hand: Hand, read: Read) -> None:
    result = running(hand)
    seen = read(result.id)
    assert (seen.attempts, seen.worker_ids) == (1, [hand.holder])
    assert seen.started_at is not None


def test_every_failed_attempt_is_on_record(hand: Hand, read: Read) -> None:
    result = fail.enqueue("no luck")
    hand.run()
    hand.promote()
    hand.run()
    seen = read(result.id)
    assert (seen.state, seen.attempts) == (State.DEAD, 2)
    assert seen.worker_ids == [hand.holder] * 2
    assert [error.exception_class for error in seen.errors] == [ValueError] * 2
    assert all("ValueError: no luck" in error.traceback for error in seen.errors)
    assert seen.started_at <= seen.last_attempted_at <= seen.finished_at
    with pytest.raises(ValueError, match="failed"):
        _ = seen.return_value


def test_a_cancelled_job_names_an_error_that_can_be_imported(hand: Hand, read: Read) -> None:
    seen = read(cancelled(hand).id)
    assert seen.errors[-1].exception_class is JobCancelled


def test_what_using_changed_is_read_back(backend: RedisBackend, read: Read) -> None:
    made = urgent.using(queue_name="low", timeout=5, tags=["a"], backoff=[1, 2])
    seen = read(made.enqueue("x").id).task
    assert (seen.queue_name, seen.backend) == ("low", "default")
    assert (seen.options.timeout, seen.options.tags) == (5.0, ("a",))
    assert (seen.options.backoff, seen.options.max_attempts) == ((1.0, 2.0), 2)


@pytest.mark.parametrize("priority", [-100, -1, 0, 1, 100])
def test_the_priority_is_read_back(priority: int, hand: Hand, read: Read) -> None:
    ready = nothing.using(priority=priority).enqueue()
    later = nothing.using(priority=priority, run_after=60).enqueue()
    assert read(ready.id).task.priority == priority
    assert read(later.id).task.priority == priority


def test_a_priority_outlives_the_first_attempt(hand: Hand, read: Read) -> None:
    result = choosy.using(priority=7).enqueue("os")
    hand.run()
    assert read(result.id).task.priority == 7


def test_refresh_takes_over_what_changed(hand: Hand) -> None:
    result = add.enqueue(1)
    hand.run()
    assert result.state is State.READY
    result.refresh()
    assert (result.state, result.return_value, result.attempts) == (State.SUCCEEDED, 1, 1)


def test_arefresh_takes_over_what_changed(hand: Hand) -> None:
    result = add.enqueue(1)
    hand.run()
    asyncio.run(result.arefresh())
    assert (result.state, result.return_value, result.attempts) == (State.SUCCEEDED, 1, 1)


def test_two_results_of_one_job_are_equal(hand: Hand, read: Read) -> None:
    result = succeeded(hand)
    assert read(result.id) == read(result.id)


def test_times_are_naive_without_use_tz(hand: Hand, read: Read) -> None:
    result = succeeded(hand)
    aware = read(result.id).finished_at
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        naive = read(result.id).finished_at
        assert naive == timezone.make_naive(aware)


# --- what is not there ----------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["nothing.1", "nothing", "", "x.999999", "x.", "x.-1", "x.٣"])
def test_an_unknown_id_does_not_exist(id: str, read: Read, backend: RedisBackend) -> None:
    backend.broker.number("default")
    with pytest.raises(TaskResultDoesNotExist):
        read(id)


def test_a_result_of_another_task_is_a_mismatch(backend: RedisBackend) -> None:
    result = add.enqueue(1)
    assert add.get_result(result.id).id == result.id
    with pytest.raises(TaskResultMismatch):
        nothing.get_result(result.id)
    with pytest.raises(TaskResultMismatch):
        asyncio.run(nothing.aget_result(result.id))


def test_a_variation_reads_the_results_of_its_task(backend: RedisBackend) -> None:
    result = add.using(priority=3).enqueue(1)
    assert add.using(queue_name="low").get_result(result.id).id == result.id


# --- a deploy in between --------------------------------------------------------------------------


def test_a_job_of_an_unknown_task_can_be_read(backend: RedisBackend, read: Read) -> None:
    envelope = b'["gone.tasks.send",1,[1],{},{"timeout":3}]'
    backend.broker.number("default")
    backend.broker.enqueue("default", [Draft("lost.1", envelope)])
    seen = read("lost.1")
    assert (seen.task.module_path, seen.args, seen.state) == ("gone.tasks.send", [1], State.READY)
    assert seen.task.options.timeout == 3
    with pytest.raises(TaskResultMismatch):
        add.get_result("lost.1")
    assert seen.cancel()


def test_a_job_under_an_old_name_belongs_to_the_renamed_task(
    hand: Hand, backend: RedisBackend, read: Read
) -> None:
    envelope = b'["tests.engine.tasks.renamed_long_ago",1,[7]]'
    backend.broker.number("default")
    backend.broker.enqueue("default", [Draft("old.1", envelope)])
    hand.run()
    assert renamed.get_result("old.1").return_value == 7


def test_a_job_that_cannot_be_read_can_still_be_seen(backend: RedisBackend, read: Read) -> None:
    backend.broker.number("default")
    backend.broker.enqueue("default", [Draft("bad.1", b"\xff not json")])
    assert read("bad.1").state is State.READY


def test_a_queue_that_left_the_settings_can_still_be_read(url: str, prefix: str) -> None:
    with override_settings(TASKS={"default": configured(url, prefix)}):
        id = urgent.using(timeout=5).enqueue("x").id
    fewer = {**configured(url, prefix), "QUEUES": ["default"]}
    with override_settings(TASKS={"default": fewer}):
        assert task_backends["default"].get_result(id).task.queue_name == "critical"
