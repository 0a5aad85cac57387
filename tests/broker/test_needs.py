"""What a job asks for beside being run, and an operator who takes a lock away."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.inspector import Door, Inspector, Lock, Needs
from django_taskq.broker.replies import letters
from django_taskq.broker.steering import Steering
from tests.broker.helpers import (
    DAY,
    QUEUE,
    Child,
    asked,
    at_once,
    dump,
    outcome,
    per_time,
    put,
    put_asking,
    states,
)

LOCK = asked(lock="x")


@pytest.fixture
def steering(broker: Broker) -> Steering:
    return Steering(broker)


def needs(broker: Broker, id: str) -> Needs:
    return Inspector(broker).examine(QUEUE, id).needs


def locks(broker: Broker) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = dump(broker)["locks"]
    return found


def test_a_job_that_asks_for_nothing_needs_nothing(broker: Broker) -> None:
    put(broker, "a")

    assert needs(broker, "a") == needs(broker, "nowhere") == Needs()


def test_a_lock_says_who_has_it_and_until_when(broker: Broker, clock: Any) -> None:
    put_asking(broker, ["a"], asked(lock="x", started=True, ttl=60_000))
    enqueued = clock.now
    assert needs(broker, "a").lock == Lock("x", "a", 0, until_started=True)

    Child(broker).claim()

    assert needs(broker, "a").lock == Lock("x", "a", enqueued + 60_000, until_started=True)
    clock.forward(60_001)
    assert needs(broker, "a").lock == Lock("x", "", 0, until_started=True)


def test_a_gate_says_how_full_it_is(broker: Broker, clock: Any) -> None:
    gates = (at_once(2, "task:t"), per_time("60/m", "key:k"))
    put_asking(broker, "abcd", asked(*gates, key="tenant"))
    Child(broker).claim(10)  # the rate lets one in, and the others wait there

    found = needs(broker, "d")

    assert (found.lock, found.turn) == (None, "tenant")
    assert found.doors == [Door("task:t", 2, 1, 0, 0.0, 0), Door("key:k", 0, 1, 3, 1000.0, 1000)]
    clock.forward(400)
    assert needs(broker, "a").doors[1].opens == 600


def test_to_look_changes_nothing(broker: Broker) -> None:
    put_asking(broker, "abc", asked(at_once(1), per_time("60/m"), lock=""))
    put_asking(broker, ["l"], LOCK)
    Child(broker).claim(2)
    before = dump(broker)

    for id in "abcl":
        needs(broker, id)

    assert dump(broker) == before


# -- a lock is taken away --------------------------------------------------------------------------


def test_another_can_be_enqueued_and_the_first_goes_on(broker: Broker, steering: Steering) -> None:
    put_asking(broker, ["a"], LOCK)
    child = Child(broker)
    (grant,) = child.claim()
    assert put_asking(broker, ["b"], LOCK) == "U a"

    assert steering.unlock(QUEUE, "a", "a") == "O"

    assert put_asking(broker, ["b"], LOCK) == "N"
    child.settle(outcome(grant, "S", b"1", DAY))
    assert locks(broker) == {b"x": b"b"}, "the end of the first leaves the second its lock"
    assert states(broker) == {"ready": ["b"], "succeeded": ["a"]}


def test_a_lock_that_stays_after_its_job_is_taken_away_too(
    broker: Broker, steering: Steering
) -> None:
    put_asking(broker, ["a"], asked(lock="x", ttl=DAY))
    child = Child(broker)
    child.settle(*(outcome(grant, "S", b"1", DAY) for grant in child.claim()))
    assert put_asking(broker, ["b"], LOCK) == "U a"

    assert steering.unlock(QUEUE, "a", "a") == "O"

    assert put_asking(broker, ["b"], LOCK) == "N"


def test_a_lock_is_taken_from_the_job_that_was_seen_to_have_it_alone(
    broker: Broker, steering: Steering
) -> None:
    put_asking(broker, ["a"], LOCK)
    child = Child(broker)
    child.settle(*(outcome(grant, "D", b'{"c":"x"}', DAY) for grant in child.claim()))
    put_asking(broker, ["b"], LOCK)

    assert steering.unlock(QUEUE, "a", "a") == "G"
    assert locks(broker) == {b"x": b"b"}
    assert steering.unlock(QUEUE, "a", "b") == "O"
    assert locks(broker) == {}


@pytest.mark.parametrize("id", ["nowhere", "free"])
def test_what_asks_for_no_lock_has_none_to_lose(
    broker: Broker, steering: Steering, id: str
) -> None:
    put(broker, ["free"])
    put_asking(broker, ["a"], LOCK)
    before = dump(broker)

    assert steering.unlock(QUEUE, id, "a") == "U"
    assert dump(broker) == before


def test_a_call_sent_again_takes_nothing_from_who_has_the_lock_since(
    broker: Broker, steering: Steering
) -> None:
    put_asking(broker, ["a"], LOCK)
    child = Child(broker)
    (grant,) = child.claim()
    call = steering._moving("unlock", QUEUE, ["a"], ["a"])
    assert letters(broker.server.call(call)) == "O"
    child.settle(outcome(grant, "R", b'{"c":"x"}', 1))  # it waits again, and takes its lock
    before = dump(broker)
    assert before["locks"] == {b"x": b"a"}

    assert letters(broker.server.call(call)) == "O"

    assert dump(broker) == before
