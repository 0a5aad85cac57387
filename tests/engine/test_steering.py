"""``cancel()`` and ``retry()`` of a result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from django_taskq.exceptions import JobCancelled
from django_taskq.execution import Attempt
from django_taskq.job import Kind, State
from django_taskq.result import TaskResult
from tests.engine.support import Hand
from tests.engine.tasks import add, choosy, fail, nothing

Steer = Callable[[TaskResult], bool]


@pytest.fixture(params=["cancel", "acancel"])
def cancel(request: pytest.FixtureRequest) -> Steer:
    if request.param == "cancel":
        return lambda result: result.cancel()
    return lambda result: asyncio.run(result.acancel())


@pytest.fixture(params=["retry", "aretry"])
def retry(request: pytest.FixtureRequest) -> Steer:
    if request.param == "retry":
        return lambda result: result.retry()
    return lambda result: asyncio.run(result.aretry())


def state_of(result: TaskResult) -> State:
    result.refresh()
    return result.state


# --- cancel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_after", [None, 60])
def test_a_job_that_does_not_run_is_cancelled_at_once(
    run_after: int | None, hand: Hand, cancel: Steer
) -> None:
    result = nothing.using(run_after=run_after).enqueue()
    assert cancel(result)
    assert state_of(result) is State.CANCELLED
    assert [error.exception_class for error in result.errors] == [JobCancelled]
    assert hand.claim() == []


def test_a_job_that_backs_off_is_cancelled_at_once(hand: Hand, cancel: Steer) -> None:
    result = choosy.enqueue("os")
    hand.run()
    assert cancel(result)
    assert state_of(result) is State.CANCELLED
    assert [error.exception_class for error in result.errors] == [OSError, JobCancelled]


def test_a_running_job_is_asked_to_stop(hand: Hand, cancel: Steer) -> None:
    result = add.enqueue(1)
    (grant,) = hand.claim()
    subscriber = hand.broker.server.connect()
    subscriber.send_command("SUBSCRIBE", hand.broker.control)
    subscriber.read_response()
    assert cancel(result)
    message = subscriber.read_response()[2].decode()
    subscriber.disconnect()
    assert message == f"cancel {hand.holder} default {result.id} {grant.live.fence}"
    assert state_of(result) is State.RUNNING
    hand.settle(hand.attempt(grant))
    assert state_of(result) is State.CANCELLED


def test_an_ended_job_cannot_be_cancelled(hand: Hand, cancel: Steer) -> None:
    result = nothing.enqueue()
    hand.run()
    assert not cancel(result)
    assert state_of(result) is State.SUCCEEDED


def test_a_cancelled_job_is_cancelled_once(hand: Hand, cancel: Steer) -> None:
    result = nothing.enqueue()
    assert cancel(result)
    assert not cancel(result)


def test_a_failure_after_the_request_is_no_retry(hand: Hand, cancel: Steer) -> None:
    result = fail.enqueue()
    (grant,) = hand.claim()
    cancel(result)
    hand.settle(hand.attempt(grant))
    assert state_of(result) is State.CANCELLED


# --- retry ----------------------------------------------------------------------------------------


def test_a_dead_job_runs_again_with_fresh_attempts(hand: Hand, retry: Steer) -> None:
    result = choosy.enqueue("key")
    hand.run()
    assert state_of(result) is State.DEAD
    assert retry(result)
    assert state_of(result) is State.READY
    (grant,) = hand.claim()
    prepared = hand.runner.prepare(grant, 1)
    assert isinstance(prepared, Attempt)
    assert prepared.number == 1
    assert prepared.run().kind is Kind.DEAD


def test_a_job_that_succeeded_can_run_again(hand: Hand, retry: Steer) -> None:
    result = add.enqueue(1)
    hand.run()
    assert retry(result)
    hand.run()
    assert state_of(result) is State.SUCCEEDED


def test_a_job_that_backs_off_need_not_wait(hand: Hand, retry: Steer) -> None:
    result = choosy.enqueue("os")
    hand.run()
    assert retry(result)
    assert [grant.id for grant in hand.claim()] == [result.id]


def test_a_job_that_waits_or_runs_cannot_be_retried(hand: Hand, retry: Steer) -> None:
    result = nothing.enqueue()
    assert not retry(result)
    hand.claim()
    assert not retry(result)


def test_a_job_that_is_gone_cannot_be_steered(hand: Hand, cancel: Steer, retry: Steer) -> None:
    result = nothing.enqueue()
    for key in ("jobs", "live", "ready"):
        hand.broker.server.command("DEL", hand.broker.key("default", key))
    assert not cancel(result)
    assert not retry(result)
