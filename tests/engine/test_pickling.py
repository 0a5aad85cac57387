"""Tasks and results travel: by pickle, by copy, as keys."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from django.test import override_settings

from django_taskq import Unique
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.job import State
from tests.engine.support import Hand, configured
from tests.engine.tasks import add, by_function, fail, fair, narrow, plain, urgent


def round_trip(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


def deep_copy(value: Any) -> Any:
    return copy.deepcopy(value)


WAYS = pytest.mark.parametrize("travel", [round_trip, deep_copy, copy.copy])


@WAYS
@pytest.mark.parametrize(
    "task",
    [
        add,
        plain,
        urgent,
        urgent.using(timeout=5, tags=["x"], backoff=[1, 2], retry_on=(OSError, "a.B")),
        add.using(id="mine", run_after=7, priority=-3, queue_name="low"),
        by_function,
        by_function.using(priority=3),
        fair,
        narrow.using(
            rate_limit="5/s", unique=Unique("x", ttl=5), fair_by="n", fair_weights={"1": 2}
        ),
    ],
)
def test_a_task_travels(task: Any, travel: Any) -> None:
    again = travel(task)
    assert again == task
    assert hash(again) == hash(task)
    assert again.func is task.func
    assert again.options == task.options
    assert again.overrides == task.overrides


@WAYS
def test_a_travelled_task_can_be_enqueued(travel: Any, hand: Hand) -> None:
    result = travel(add.using(priority=3)).enqueue(1, 2)
    hand.run()
    assert result.get(timeout=0) == 3


@WAYS
@pytest.mark.parametrize("task", [add, fail])
def test_a_result_travels(task: Any, travel: Any, hand: Hand) -> None:
    result = task.using(max_attempts=1).enqueue(1)
    hand.run()
    result.refresh()
    again = travel(result)
    assert again == result
    assert (again.state, again.errors, again.args) == (result.state, result.errors, [1])
    again.refresh()
    assert again == result


def test_a_deep_copy_of_a_result_is_its_own(backend: RedisBackend) -> None:
    result = add.enqueue(1)
    again = copy.deepcopy(result)
    again.args.append(2)
    assert result.args == [1]


def test_a_task_of_a_queue_that_is_gone_can_be_unpickled(url: str, prefix: str) -> None:
    raw = pickle.dumps(urgent)
    fewer = {**configured(url, prefix), "QUEUES": ["default"]}
    with override_settings(TASKS={"default": fewer}):
        assert pickle.loads(raw) == urgent  # noqa: S301


def test_only_a_registered_task_comes_out_of_a_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_taskq import registry

    raw = pickle.dumps(add)
    monkeypatch.setattr(registry, "_tasks", {})
    with pytest.raises(ValueError, match=r"no task 'tests\.engine\.tasks\.add'"):
        pickle.loads(raw)  # noqa: S301


def test_a_result_of_an_unknown_task_can_be_copied(backend: RedisBackend) -> None:
    backend.broker.number("default")
    backend.broker.enqueue("default", [Draft("x.1", b'["gone.tasks.send",1]')])
    again = copy.deepcopy(backend.get_result("x.1"))
    assert again.task.module_path == "gone.tasks.send"
    assert again.state is State.READY
