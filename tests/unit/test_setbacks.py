"""Queues that fail: what concerns which, when each is tried again, and what is said."""

from __future__ import annotations

import logging

import pytest

from django_taskq import setbacks as module
from django_taskq.exceptions import BrokerUnavailable
from django_taskq.setbacks import MOST, SHARE, Setbacks
from tests.conftest import FakeTime

NODES = {"a": "node 1", "b": "node 1", "c": "node 2"}
AWAY = BrokerUnavailable("node 1 cannot be reached", address="redis://node-1")
BROKEN = TypeError("WRONGTYPE")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    time = FakeTime(1000)
    monkeypatch.setattr(module, "monotonic", time)
    return time


@pytest.fixture
def some(time: FakeTime) -> Setbacks:
    return Setbacks(list(NODES), NODES.__getitem__, 0.1, 5.0)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records]


def resting(some: Setbacks, now: float) -> list[str]:
    return [queue for queue in NODES if some.rests(queue, now)]


def test_without_any_there_is_nothing_to_wait_for(some: Setbacks) -> None:
    assert not some
    assert resting(some, 1000) == []
    assert some.next_due(1000) == float("inf")
    assert some.worked("a") == []


def test_an_error_concerns_its_queue_alone(some: Setbacks) -> None:
    assert some.failed("a", BROKEN) == ["a"]

    assert resting(some, 1000) == ["a"]
    assert some.are_final(["a"])
    assert not some.are_final(["a", "b"])
    assert not some.is_outage()


def test_an_outage_concerns_all_queues_of_the_same_server(some: Setbacks) -> None:
    assert some.failed("a", AWAY) == ["a", "b"]

    assert resting(some, 1000) == ["a", "b"]
    assert some.is_outage()
    assert some.due("a") == some.due("b"), "tried together"
    assert some.worked("b") == ["a", "b"]
    assert not some


def test_what_works_ends_no_error_of_another_queue(some: Setbacks) -> None:
    some.failed("a", BROKEN)
    some.failed("b", BROKEN)

    assert some.worked("a") == ["a"]
    assert "b" in some


def test_rests_grow_up_to_the_longest_and_begin_anew(some: Setbacks, time: FakeTime) -> None:
    for number in range(20):
        some.failed("a", BROKEN)
        longest = min(0.1 * 2**number, 5.0)
        assert longest / 2 <= some.due("a") - time.now <= longest
    some.worked("a")
    some.failed("a", BROKEN)
    assert some.due("a") - time.now <= 0.1


def test_a_try_that_took_long_is_followed_by_a_longer_rest(some: Setbacks, time: FakeTime) -> None:
    some.failed("a", AWAY, took=1.5)
    assert some.due("a") == time.now + 1.5 * SHARE

    some.failed("a", AWAY, took=60.0)
    assert some.due("a") == time.now + MOST


def test_nothing_can_be_tried_once_every_queue_rests(some: Setbacks, time: FakeTime) -> None:
    some.failed("a", AWAY)
    assert not some.are_everywhere(time.now)
    some.failed("c", BROKEN)
    assert some.are_everywhere(time.now)

    assert some.next_due(time.now) == min(some.due("a"), some.due("c"))
    some.expedite()
    assert not some.are_everywhere(time.now)
    assert resting(some, time.now) == []
    assert some, "they have not worked yet"


def test_each_is_said_once_with_what_to_do(
    some: Setbacks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_taskq.worker")
    for _ in range(3):
        some.failed("a", AWAY)
        some.failed("c", BROKEN)
    outage, error = said(caplog)
    assert outage.startswith("queues a, b cannot be worked on: node 1 cannot be reached")
    assert error.startswith("queue c cannot be worked on: WRONGTYPE")
    assert "taskq doctor" in error
    assert "taskq doctor" not in outage

    some.worked("b")
    some.worked("c")
    assert said(caplog)[2:] == ["queues a, b work again", "queue c works again"]


def test_an_outage_of_the_only_server_is_said_as_that(
    time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_taskq.worker")
    some = Setbacks(["a", "b"], lambda _: "one", 0.1, 5.0)
    some.failed("a", AWAY)
    some.worked("b")

    assert said(caplog) == [
        "node 1 cannot be reached; the worker goes on when it is back",
        "redis://node-1 is back",
    ]
