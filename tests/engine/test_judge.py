"""What a job comes to whose process had to be ended, as the supervisor itself settles it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_taskq.backends import RedisBackend
from django_taskq.compat import task_finished
from django_taskq.job import State
from django_taskq.judge import Judge, PlainJudge
from django_taskq.task import Task
from tests.engine.support import Hand, stored
from tests.engine.tasks import Point, choosy, ruled


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """The results that receivers of task_finished were told of."""
    results: list[Any] = []

    def receiver(task_result: Any, **_: Any) -> None:
        results.append(task_result)

    task_finished.connect(receiver)
    yield results
    task_finished.disconnect(receiver)


@pytest.fixture
def judge(backend: RedisBackend) -> Judge:
    return PlainJudge(backend.broker, "default")


def overdue(judge: Judge, hand: Hand, task: Task, *args: Any) -> Any:
    """A job whose process was ended, and that was judged."""
    result = task.enqueue(*args)
    (grant,) = hand.claim()
    judge.settle("default", hand.holder, {grant.id: grant.live.fence})
    result.refresh()
    return result


def wait_of(backend: RedisBackend, result: Any) -> float:
    """Seconds from now until the job is due."""
    broker = backend.broker
    due = broker.server.command("ZSCORE", broker.key("default", "retrying"), result.id)
    seconds, micros = broker.server.command("TIME")
    return float(due) / 1000 - int(seconds) - int(micros) / 1e6


def test_it_runs_again_and_no_code_of_the_project_is_called(
    judge: Judge,
    hand: Hand,
    backend: RedisBackend,
    told: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = overdue(judge, hand, ruled, Point(1, 2))

    assert (result.state, result.attempts, told) == (State.RETRYING, 1, [])
    assert [e.exception_class_path for e in result.errors] == [
        "django_taskq.exceptions.TaskTimeout"
    ]
    assert "it was asked" not in caplog.text
    assert wait_of(backend, result) >= 14, "the default"


def test_a_table_of_delays_is_no_code(judge: Judge, hand: Hand, backend: RedisBackend) -> None:
    result = overdue(judge, hand, choosy, "a")

    assert wait_of(backend, result) == pytest.approx(7, abs=1)


def test_its_last_attempt_makes_it_dead(judge: Judge, hand: Hand, told: list[Any]) -> None:
    result = overdue(judge, hand, ruled.using(max_attempts=1), Point(1, 2))

    assert (result.state, result.attempts, told) == (State.DEAD, 1, [])


def test_what_was_settled_before_is_left_alone(
    judge: Judge, hand: Hand, backend: RedisBackend
) -> None:
    ruled.enqueue(Point(1, 2))
    (grant,) = hand.claim()
    hand.settle(hand.attempt(grant))
    before = stored(backend.broker, backend.get_result(grant.id))

    judge.settle("default", hand.holder, {grant.id: grant.live.fence})

    assert stored(backend.broker, backend.get_result(grant.id)) == before


@pytest.mark.parametrize("envelope", [b"{", b'{"t":"no.such.task"}'])
def test_what_cannot_be_read_is_left_to_who_runs_it_next(
    judge: Judge, hand: Hand, backend: RedisBackend, envelope: bytes
) -> None:
    ruled.enqueue(Point(1, 2))
    (grant,) = hand.claim()
    broker = backend.broker
    broker.server.command("HSET", broker.key("default", "jobs"), grant.id, envelope)

    judge.settle("default", hand.holder, {grant.id: grant.live.fence})

    (job,) = broker.fetch("default", [grant.id])
    assert job.state is State.RUNNING
