"""``enqueue()`` and ``enqueue_many()``: what they return, what they write, what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings
from django.utils import timezone

from django_taskq.backends import RedisBackend
from django_taskq.codec import decode_envelope
from django_taskq.compat import InvalidTask, Task, TaskResultStatus, task_backends, task_enqueued
from django_taskq.exceptions import InvalidArgument, PayloadTooLarge
from django_taskq.job import State
from django_taskq.result import TaskResult
from tests.engine.support import Hand, configured, round_trips, stored
from tests.engine.tasks import Point, add, nothing, plain, typed, undeclared, urgent

Ids = Callable[..., list[str]]


@contextmanager
def announced() -> Iterator[list[Any]]:
    """The (sender, result) of each task_enqueued in the block."""
    heard: list[Any] = []

    def receiver(sender: type, task_result: TaskResult, **kwargs: Any) -> None:
        heard.append((sender, task_result))

    task_enqueued.connect(receiver)
    try:
        yield heard
    finally:
        task_enqueued.disconnect(receiver)


# --- one job --------------------------------------------------------------------------------------


def test_enqueue_returns_a_result_at_once(backend: RedisBackend) -> None:
    before = timezone.now() - timedelta(seconds=1)
    result = add.enqueue(1, b=2)
    assert isinstance(result, TaskResult)
    assert (result.status, result.state) == (TaskResultStatus.READY, State.READY)
    assert (result.args, result.kwargs) == ([1], {"b": 2})
    assert (result.backend, result.task) == ("default", add)
    assert before <= result.enqueued_at <= timezone.now()
    assert result.started_at is result.finished_at is result.last_attempted_at is None
    assert (result.attempts, result.errors, result.duplicate) == (0, [], False)
    assert not result.is_finished
    assert not result.is_ended


def test_an_id_is_22_characters_and_the_queues_number(backend: RedisBackend) -> None:
    ids = [nothing.enqueue().id, nothing.using(queue_name="low").enqueue().id]
    for id, queue in zip(ids, ("default", "low"), strict=True):
        name, _, number = id.rpartition(".")
        assert len(name) == 22
        assert int(number) == backend.broker.number(queue)
    assert len(set(ids)) == 2


def test_a_job_runs_with_what_it_was_enqueued_with(hand: Hand, ran: list[Any]) -> None:
    key, day = UUID(int=7), date(2026, 1, 2)
    span, price = timedelta(hours=1.5), Decimal("1.10")
    result = typed.enqueue(day, span, price, key=key, point=Point(1, 2))
    hand.run()
    assert ran == [(day, span, price, key, Point(1, 2))]
    assert result.get(timeout=0) == day


def test_a_plain_django_task_runs_on_our_backend(hand: Hand) -> None:
    result = plain.enqueue(21)
    hand.run()
    assert result.get(timeout=0) == 42


def test_a_django_task_of_another_backend_can_be_moved_here(
    url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_taskq import registry
    from tests.engine import tasks

    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    core = Task.__module__.rpartition(".")[0]
    entries = {
        "core": {"BACKEND": f"{core}.backends.dummy.DummyBackend"},
        "default": configured(url, prefix),
    }
    with override_settings(TASKS=entries):
        django_task = tasks.django_task(backend="core")(undeclared)
        assert type(django_task) is Task
        result = django_task.using(backend="default").enqueue(3)
        assert result.backend == "default"
        Hand(task_backends["default"].broker).run()
        assert result.get(timeout=0) == 9
        assert django_task.using(backend="default").get_result(result.id).return_value == 9


def test_our_task_can_be_moved_to_a_backend_of_django(url: str, prefix: str) -> None:
    core = Task.__module__.rpartition(".")[0]
    entries = {
        "core": {"BACKEND": f"{core}.backends.immediate.ImmediateBackend"},
        "default": configured(url, prefix),
    }
    with override_settings(TASKS=entries):
        result = add.using(backend="core").enqueue(1, 2)
    assert result.return_value == 3


def test_higher_priorities_run_first_and_equal_ones_in_order(hand: Hand, ran: list[Any]) -> None:
    for number, priority in enumerate([0, 5, -5, 5, 0]):
        add.using(priority=priority).enqueue(number)
    hand.run()
    assert [args[1] for args in ran] == [1, 3, 0, 4, 2]


def test_only_what_differs_is_in_the_envelope(backend: RedisBackend) -> None:
    result = urgent.using(timeout=5, max_attempts=2).enqueue("x")
    envelope = decode_envelope(stored(backend.broker, result).envelope)
    assert envelope.o == {"timeout": 5}
    assert (envelope.t, envelope.a, envelope.k) == (urgent.module_path, ["x"], {})


# --- later ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "later",
    [
        lambda: 3600,
        lambda: 3600.0,
        lambda: timedelta(hours=1),
        lambda: timezone.now() + timedelta(hours=1),
    ],
    ids=["int", "float", "timedelta", "datetime"],
)
def test_a_job_for_later_is_scheduled(
    later: Callable[[], Any], backend: RedisBackend, jobs: Ids
) -> None:
    result = nothing.using(run_after=later()).enqueue()
    assert (result.state, result.status) == (State.SCHEDULED, TaskResultStatus.READY)
    assert jobs(State.SCHEDULED) == [result.id]
    due = stored(backend.broker, result).due / 1000
    assert abs(due - timezone.now().timestamp() - 3600) < 60
    read = nothing.get_result(result.id)
    assert read.state is State.SCHEDULED
    assert abs(read.task.run_after.timestamp() - due) < 60


@pytest.mark.parametrize(
    "past", [0, datetime(2001, 1, 1, tzinfo=UTC), datetime(2, 1, 1, tzinfo=UTC)]
)
def test_a_time_that_is_over_means_now(past: Any, backend: RedisBackend, jobs: Ids) -> None:
    result = nothing.using(run_after=past).enqueue()
    assert result.state is State.READY
    assert jobs(State.READY) == [result.id]


def test_naive_times_are_local_without_use_tz(backend: RedisBackend, jobs: Ids) -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        later = datetime.now() + timedelta(hours=1)
        result = nothing.using(run_after=timezone.make_naive(timezone.make_aware(later))).enqueue()
        assert result.enqueued_at.tzinfo is None
        read = nothing.get_result(result.id)
        assert read.task.run_after.replace(microsecond=0) == later.replace(microsecond=0)


# --- ids ------------------------------------------------------------------------------------------


def test_an_id_of_ones_own_is_never_overwritten(backend: RedisBackend, jobs: Ids) -> None:
    first = add.using(id="order-7").enqueue(1)
    second = add.using(id="order-7", priority=9).enqueue(2)
    assert first.id == second.id == f"order-7.{backend.broker.number('default')}"
    assert (first.duplicate, second.duplicate) == (False, True)
    assert add.get_result(first.id).args == [1]
    assert jobs(State.READY) == [first.id]


def test_a_whole_id_names_the_same_job(backend: RedisBackend, jobs: Ids) -> None:
    first = add.using(id="x" * 36).enqueue(1)
    assert add.using(id=first.id).enqueue(1).duplicate
    assert jobs(State.READY) == [first.id]


def test_one_id_in_two_queues_is_two_jobs(backend: RedisBackend) -> None:
    first = add.using(id="same").enqueue(1)
    second = add.using(id="same", queue_name="low").enqueue(2)
    assert first.id != second.id
    assert (add.get_result(first.id).args, add.get_result(second.id).args) == ([1], [2])


# --- many -----------------------------------------------------------------------------------------


def test_enqueue_many_takes_tuples_lists_and_dicts(hand: Hand) -> None:
    results = add.enqueue_many([(1,), [2, 3], {"a": 4, "b": 5}])
    hand.run()
    assert [result.get(timeout=0) for result in results] == [1, 5, 9]


def test_enqueue_many_of_nothing_is_nothing(backend: RedisBackend, jobs: Ids) -> None:
    assert add.enqueue_many([]) == []
    assert jobs(State.READY) == []


def test_enqueue_many_takes_one_round_trip_per_500(backend: RedisBackend, jobs: Ids) -> None:
    add.enqueue_many([(0,)])
    with round_trips() as trips:
        results = add.enqueue_many((n,) for n in range(1201))
    assert trips == [["enqueue"]] * 3
    assert [result.args for result in results] == [[n] for n in range(1201)]
    assert jobs(State.READY)[1:] == [result.id for result in results]
    assert all(result.enqueued_at for result in results)


@pytest.mark.parametrize("time", range(8))
def test_many_jobs_stay_in_order(time: int, backend: RedisBackend, jobs: Ids) -> None:
    results = add.enqueue_many((n,) for n in range(2000))
    assert jobs(State.READY) == [result.id for result in results]


@pytest.mark.parametrize("bad", [3, "ab", None, {1, 2}])
def test_a_bad_item_is_refused_before_anything_is_sent(
    bad: Any, backend: RedisBackend, jobs: Ids
) -> None:
    with pytest.raises(InvalidArgument, match="item 1"):
        add.enqueue_many([(1,), bad])
    assert jobs(State.READY) == []


@pytest.mark.parametrize("bad", [(), (1, 2, 3), (object(),), {"c": 1}, (float("nan"),)])
def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(
    bad: Any, backend: RedisBackend, jobs: Ids
) -> None:
    with pytest.raises(TypeError):
        add.enqueue_many([(1,), bad])
    assert jobs(State.READY) == []


def test_many_jobs_cannot_have_one_id(backend: RedisBackend) -> None:
    with pytest.raises(InvalidTask, match="one id"):
        add.using(id="x").enqueue_many([(1,)])


# --- what is refused ------------------------------------------------------------------------------


def test_an_argument_that_json_cannot_hold_is_refused_with_its_path(backend: RedisBackend) -> None:
    with pytest.raises(InvalidArgument, match=r"\['deep'\]\[1\]"):
        plain.enqueue({"deep": [1, object()]})


def test_arguments_over_the_limit_are_refused(url: str, prefix: str) -> None:
    with override_settings(TASKS={"default": configured(url, prefix, MAX_PAYLOAD=500)}):
        with pytest.raises(PayloadTooLarge, match="MAX_PAYLOAD"):
            plain.enqueue("x" * 500)
        plain.enqueue("x" * 100)


def test_a_queue_that_is_gone_from_the_settings_is_refused(url: str, prefix: str) -> None:
    only = {**configured(url, prefix), "QUEUES": ["other"]}
    with override_settings(TASKS={"default": only}), pytest.raises(InvalidTask, match="default"):
        add.enqueue(1)


# --- signals --------------------------------------------------------------------------------------


def test_a_signal_is_sent_once_the_job_is_in_redis(backend: RedisBackend) -> None:
    seen: list[State | None] = []

    def receiver(sender: type, task_result: TaskResult, **kwargs: Any) -> None:
        seen.append(stored(backend.broker, task_result).state)
        assert task_result.enqueued_at

    task_enqueued.connect(receiver)
    try:
        add.enqueue(1)
    finally:
        task_enqueued.disconnect(receiver)
    assert seen == [State.READY]


def test_the_signals_sender_is_the_backends_class(backend: RedisBackend) -> None:
    with announced() as heard:
        results = [add.enqueue(1), *add.enqueue_many([(2,), (3,)])]
    assert heard == [(RedisBackend, result) for result in results]


def test_a_duplicate_is_not_announced(backend: RedisBackend) -> None:
    with announced() as heard:
        first = add.using(id="x").enqueue(1)
        add.using(id="x").enqueue(1)
    assert heard == [(RedisBackend, first)]
