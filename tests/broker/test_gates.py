"""Limits: a job is let in when it is claimed, or waits at its gate, in order, without polling."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.job import Kind
from tests.broker.helpers import (
    FAILURE,
    QUEUE,
    TASK,
    Child,
    asked,
    at_once,
    claimed,
    outcome,
    per_time,
    put,
    put_asking,
    states,
)


def test_as_many_as_the_limit_allows_are_claimed(broker: Broker) -> None:
    put_asking(broker, "abcde", asked(at_once(2)))

    assert claimed(Child(broker)) == ["a", "b"]
    assert states(broker)["waiting"] == ["c", "d", "e"]


def test_the_end_of_one_lets_the_next_in(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcde", asked(at_once(2)))
    first, _ = child.claim(10)

    answer = child.exchange(10, [outcome(first, "S")])

    assert [grant.id for grant in answer.grants] == ["c"]
    assert states(broker)["waiting"] == ["d", "e"]


def test_a_job_without_a_limit_passes_those_that_wait(broker: Broker) -> None:
    put_asking(broker, "abc", asked(at_once(1)))
    put(broker, "xy")

    assert claimed(Child(broker), 3) == ["a", "x", "y"]


def test_who_comes_later_waits_behind_those_who_wait(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(at_once(1)))
    (first,) = child.claim(10)
    put_asking(broker, "c", asked(at_once(1)))
    child.settle(outcome(first, "S"))

    assert claimed(child) == ["b"]
    assert states(broker)["waiting"] == ["c"]


def test_a_higher_priority_goes_first_at_the_gate(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(at_once(1)))
    (first,) = child.claim(10)
    put_asking(broker, "z", asked(at_once(1)), priority=5)
    assert claimed(child) == []
    child.settle(outcome(first, "S"))

    assert claimed(child) == ["z"]


@pytest.mark.parametrize("kind", Kind)
def test_every_outcome_gives_its_place_back(broker: Broker, kind: Kind) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(at_once(1)))
    (first,) = child.claim(10)
    if kind is Kind.PARKED:
        broker.park(QUEUE, [outcome(first, kind)._replace(task=TASK)])
    else:
        child.settle(outcome(first, kind, delay=60_000))

    back = {Kind.RETURNED, Kind.CRASHED}
    assert claimed(child) == ["a" if kind in back else "b"]


def test_a_crash_gives_its_place_back(broker: Broker, clock: object) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(at_once(1)))
    child.claim(10)

    broker.reclaim(QUEUE, child.holder, FAILURE, died=True)

    assert claimed(Child(broker, "another")) == ["a"]


def test_a_rate_lets_in_one_per_interval_and_the_timekeeper_knows_when(
    broker: Broker, clock: Any
) -> None:
    child = Child(broker)
    put_asking(broker, "abcd", asked(per_time("60/m")))
    assert claimed(child) == ["a"]

    answer = broker.promote(QUEUE, "keeper", force=True)
    assert answer.wait == 1000

    clock.forward(1000)
    assert broker.promote(QUEUE, "keeper").moved == 1
    assert claimed(child) == ["b"]
    clock.forward(5000)
    broker.promote(QUEUE, "keeper")
    assert claimed(child) == ["c"]


def test_a_key_with_many_jobs_delays_another_by_one_round(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, [f"a{n}" for n in range(9)], asked(key="a", cost=1.0))
    assert claimed(child, 3) == ["a0", "a1", "a2"]
    put_asking(broker, ["b0", "b1"], asked(key="b", cost=1.0))
    put_asking(broker, ["c0", "c1"], asked(key="c", cost=0.5))

    line = claimed(child, 20)

    assert line.index("b0") <= 4
    assert line.index("b1") <= 7
