"""ImmediateBackend and DummyBackend: the same tasks and options, without Redis."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings

from django_taskq import Task, TaskCancelled, TaskFailed
from django_taskq.backends import DummyBackend, ImmediateBackend
from django_taskq.compat import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from django_taskq.compat import Task as DjangoTask
from django_taskq.exceptions import InvalidArgument, PayloadTooLarge
from django_taskq.job import State
from django_taskq.result import TaskResult
from tests.engine import tasks
from tests.engine.support import DUMMY, IMMEDIATE, configured, using_backend
from tests.engine.tasks import (
    Point,
    aadd,
    add,
    afail,
    contextual,
    control,
    fail,
    interrupt,
    leave,
    nothing,
    opaque,
    plain,
    typed,
    undeclared,
    urgent,
)


@pytest.fixture
def immediate() -> Iterator[ImmediateBackend]:
    with using_backend(IMMEDIATE) as backend:
        yield backend


@pytest.fixture
def dummy() -> Iterator[DummyBackend]:
    with using_backend(DUMMY) as backend:
        yield backend


@pytest.fixture(params=[IMMEDIATE, DUMMY])
def either(request: pytest.FixtureRequest) -> Iterator[Any]:
    with using_backend(request.param) as backend:
        yield backend


@pytest.fixture
def heard() -> Iterator[list[tuple[str, type, str, type | None]]]:
    """(signal, sender, status, error in sys.exc_info) of each signal, in order."""
    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    seen: list[tuple[str, type, str, type | None]] = []
    receivers = []
    for name, signal in signals.items():

        def receiver(
            sender: type, task_result: TaskResult, name: str = name, **kwargs: Any
        ) -> None:
            seen.append((name, sender, task_result.status.name, sys.exc_info()[0]))

        receivers.append(receiver)
        signal.connect(receiver)
    yield seen
    for signal, receiver in zip(signals.values(), receivers, strict=True):
        signal.disconnect(receiver)


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [IMMEDIATE, DUMMY])
def test_the_options_of_redis_are_no_problem(backend: str, url: str, prefix: str) -> None:
    defaults = {"max_attempts": 9, "timeout": 3}
    entry = configured(url, prefix, backend, TASK_DEFAULTS=defaults, WORKER={"concurrency": 3})
    with override_settings(TASKS={"default": entry}):
        assert task_backends["default"].check() == []
        made = add.using(priority=1)
    assert (made.options.max_attempts, made.options.timeout) == (9, 3.0)


def test_every_capability_is_there(either: Any) -> None:
    assert either.task_class is Task
    assert either.supports_defer
    assert either.supports_async_task
    assert either.supports_get_result
    assert either.supports_priority


@pytest.mark.parametrize("bad", [object(), float("nan"), {1: 2}, b"\xff"])
def test_arguments_go_through_the_codec(bad: Any, either: Any) -> None:
    with pytest.raises(InvalidArgument):
        plain.enqueue(bad)


def test_arguments_that_do_not_bind_are_refused(either: Any) -> None:
    with pytest.raises(TypeError):
        add.enqueue()


@pytest.mark.parametrize("backend", [IMMEDIATE, DUMMY])
def test_arguments_over_the_limit_are_refused(backend: str) -> None:
    with using_backend(backend, MAX_PAYLOAD=100), pytest.raises(PayloadTooLarge):
        plain.enqueue("x" * 100)


def test_an_unknown_queue_is_refused(either: Any) -> None:
    with pytest.raises(InvalidTask):
        add.using(queue_name="nowhere")


def test_a_result_can_be_read_again(either: Any) -> None:
    result = add.enqueue(1)
    assert add.get_result(result.id).id == result.id
    assert asyncio.run(add.aget_result(result.id)).id == result.id
    result.refresh()
    asyncio.run(result.arefresh())
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result("nothing")


def test_an_id_of_ones_own_is_never_overwritten(either: Any, ran: list[Any]) -> None:
    first, second = add.using(id="x").enqueue(1), add.using(id="x").enqueue(2)
    assert (first.id, first.duplicate, second.duplicate) == (second.id, False, True)
    assert len(ran) == isinstance(either, ImmediateBackend)
    assert add.get_result(first.id).args == [1]


def test_enqueue_many_and_on_commit_are_there(either: Any) -> None:
    results = add.enqueue_many([(1,), {"a": 2}])
    assert [(result.args, result.kwargs) for result in results] == [([1], {}), ([], {"a": 2})]
    assert add.enqueue_on_commit(1).enqueued_at
    assert asyncio.run(add.aenqueue_on_commit(1)).enqueued_at
    assert asyncio.run(add.aenqueue(1)).enqueued_at


@pytest.mark.django_db
def test_no_commit_is_waited_for(either: Any) -> None:
    assert add.enqueue(1).enqueued_at


def test_a_job_for_later_stays_scheduled(either: Any, ran: list[Any]) -> None:
    result = add.using(run_after=60).enqueue(1)
    assert (result.state, ran) == (State.SCHEDULED, [])
    with pytest.raises(TimeoutError, match="no worker"):
        result.get()
    assert result.cancel()
    assert result.state is State.CANCELLED
    assert not result.cancel()
    with pytest.raises(TaskCancelled):
        asyncio.run(result.aget())


def test_nothing_runs_a_job_again(either: Any) -> None:
    result = nothing.enqueue()
    assert not result.retry()
    assert not asyncio.run(result.aretry())


def test_clear_forgets_the_results(either: Any) -> None:
    result = nothing.enqueue()
    either.clear()
    assert either.results == []
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_a_task_of_another_backend_can_be_moved_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_taskq import registry

    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    core = DjangoTask.__module__.rpartition(".")[0]
    entries = {
        "core": {"BACKEND": f"{core}.backends.dummy.DummyBackend"},
        "default": {"BACKEND": IMMEDIATE},
        "dummy": {"BACKEND": DUMMY},
    }
    with override_settings(TASKS=entries):
        django_task = tasks.django_task(backend="core")(undeclared)
        assert django_task.using(backend="dummy").enqueue(2).state is State.READY
        assert django_task.using(backend="default").enqueue(2).return_value == 6


# --- DummyBackend ---------------------------------------------------------------------------------


def test_the_dummy_keeps_what_was_enqueued_and_runs_nothing(
    dummy: DummyBackend, ran: list[Any]
) -> None:
    result = urgent.enqueue("x")
    add.enqueue(1, b=2)
    assert ran == []
    assert [each.task for each in dummy.results] == [urgent, add]
    assert dummy.results[0] == result
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)
    with pytest.raises(TimeoutError):
        result.get(timeout=0)


def test_a_result_of_the_dummy_is_a_copy(dummy: DummyBackend) -> None:
    result = add.enqueue(1)
    result.args.append(2)
    assert dummy.results[0].args == [1]


def test_the_dummy_announces_what_it_takes(dummy: DummyBackend, heard: Any) -> None:
    add.enqueue(1)
    assert heard == [("enqueued", DummyBackend, "READY", None)]


# --- ImmediateBackend -----------------------------------------------------------------------------


def test_a_job_runs_inside_enqueue(immediate: ImmediateBackend, ran: list[Any]) -> None:
    result = add.enqueue(1, b=2)
    assert ran == [("add", 1, 2)]
    assert (result.status, result.state) == (TaskResultStatus.SUCCESSFUL, State.SUCCEEDED)
    assert result.get() == result.return_value == 3
    assert asyncio.run(result.aget()) == 3
    assert (result.attempts, result.worker_ids) == (1, [immediate.worker_id])
    times = [result.enqueued_at, result.started_at, result.last_attempted_at, result.finished_at]
    assert times == sorted(times)
    assert result.errors == []


@pytest.mark.parametrize("level", [logging.INFO, logging.CRITICAL])
def test_the_result_does_not_depend_on_who_listens(
    level: int, immediate: ImmediateBackend, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("django.tasks", "django_tasks"):
        caplog.set_level(level, name)
    assert add.enqueue(1).return_value == 1
    assert fail.enqueue().state is State.DEAD


def test_arguments_and_value_come_back_as_annotated(
    immediate: ImmediateBackend, ran: list[Any]
) -> None:
    day, span, price, key = date(2026, 1, 2), timedelta(hours=1), Decimal("1.10"), UUID(int=7)
    point = Point(1, 2)
    result = typed.enqueue(day, span, price, key, point=point)
    assert ran == [(day, span, price, key, point)]
    assert ran[0][4] is not point
    assert result.return_value == day


def test_an_async_task_runs_from_either_side(immediate: ImmediateBackend) -> None:
    assert aadd.enqueue(1, 2).return_value == 3
    assert asyncio.run(aadd.aenqueue(1, 2)).return_value == 3
    assert asyncio.run(add.aenqueue(1, 2)).return_value == 3
    assert afail.enqueue().state is State.DEAD


@pytest.mark.parametrize("task", [fail, afail, fail.using(max_attempts=None)])
def test_a_failure_ends_the_job(task: Task, immediate: ImmediateBackend) -> None:
    result = task.enqueue()
    assert (result.status, result.state) == (TaskResultStatus.FAILED, State.DEAD)
    assert [error.exception_class for error in result.errors] == [ValueError]
    assert "ValueError: no" in result.errors[0].traceback
    assert result.finished_at is not None
    assert result.attempts == 1
    with pytest.raises(TaskFailed, match="ValueError: no"):
        result.get()
    assert fail.get_result(result.id).state is State.DEAD if task.func is fail.func else True


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("retry", State.DEAD),
        ("fail", State.DEAD),
        ("cancel", State.CANCELLED),
        ("snooze", State.SCHEDULED),
    ],
)
def test_a_task_says_how_its_attempt_ends(
    kind: str, state: State, immediate: ImmediateBackend
) -> None:
    result = control.enqueue(kind)
    assert result.state is state
    assert len(result.errors) == (state is not State.SCHEDULED)


def test_a_value_that_cannot_be_kept_is_a_failure(immediate: ImmediateBackend) -> None:
    result = opaque.enqueue()
    assert result.state is State.DEAD
    assert result.errors[0].exception_class is InvalidArgument


def test_ctrl_c_is_for_the_caller(immediate: ImmediateBackend) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt.enqueue()


def test_leaving_the_process_is_only_a_failure(immediate: ImmediateBackend) -> None:
    assert leave.enqueue().errors[0].exception_class is SystemExit


def test_the_context_is_that_of_the_first_attempt(immediate: ImmediateBackend) -> None:
    result = contextual.enqueue()
    assert result.return_value == [1, result.id, []]


def test_signals_of_a_success_come_in_order(immediate: ImmediateBackend, heard: Any) -> None:
    add.enqueue(1)
    assert heard == [
        ("enqueued", ImmediateBackend, "READY", None),
        ("started", ImmediateBackend, "RUNNING", None),
        ("finished", ImmediateBackend, "SUCCESSFUL", None),
    ]


@pytest.mark.parametrize("task", [fail, afail])
def test_the_end_of_a_failure_is_sent_while_it_is_handled(
    task: Task, immediate: ImmediateBackend, heard: Any
) -> None:
    task.enqueue()
    assert heard[1:] == [
        ("started", ImmediateBackend, "RUNNING", None),
        ("finished", ImmediateBackend, "FAILED", ValueError),
    ]


def test_a_past_time_is_now(immediate: ImmediateBackend) -> None:
    past = datetime(2001, 1, 1, tzinfo=UTC)
    assert add.using(run_after=past).enqueue(1).return_value == 1
