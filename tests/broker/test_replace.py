"""Replacing: a job that does not run gets new arguments and another time, in one step."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker, Draft
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    TASK,
    Child,
    asked,
    at_once,
    claimed,
    dump,
    live,
    members,
    meta,
    outcome,
    parked,
    put_asking,
    ready,
    scores,
    state_of,
    tokens,
)

LOCK = asked(lock="x")
NEW = b'["tests.noop",2]'


def replacement(id: str = "a", ask: bytes = LOCK, due: int = 0, priority: int = 0) -> Draft:
    return Draft(id, NEW, priority, due, ask=ask)


def replace(broker: Broker, **options: Any) -> str:
    return broker.replace(QUEUE, [replacement(**options)])


def envelope(broker: Broker, id: str = "a") -> bytes:
    return bytes(dump(broker)["jobs"][id.encode()])


def waits(broker: Broker, where: str, ask: bytes = LOCK) -> None:
    """Brings the job ``a`` to where it waits."""
    put_asking(broker, ["a"], ask, due=-DAY * (where == "scheduled"))
    if where in ("retrying", "parked"):
        child = Child(broker)
        (grant,) = child.claim()
        if where == "parked":
            broker.park(QUEUE, [parked(grant)])
        else:
            child.settle(outcome(grant, "R", FAILURE, DAY))


@pytest.mark.parametrize("where", ["ready", "scheduled", "retrying", "parked"])
def test_a_job_that_waits_gets_new_arguments_and_goes_to_the_end_of_the_line(
    broker: Broker, where: str
) -> None:
    waits(broker, where)
    put_asking(broker, ["z"], b"")

    assert replace(broker) == "O"

    assert ready(broker) == ["z", "a"]
    assert envelope(broker) == NEW
    assert members(broker, "parked") == []
    assert dump(broker)["errors"] == {}


@pytest.mark.parametrize("where", ["ready", "scheduled", "retrying", "parked"])
def test_it_can_be_put_off(broker: Broker, clock: Any, where: str) -> None:
    waits(broker, where)

    assert replace(broker, due=-5_000) == "O"

    assert scores(broker, "scheduled") == {"a": clock.now + 5_000}
    assert state_of(broker, "a") == "scheduled"
    assert tokens(broker, "wake") == 0
    assert tokens(broker, "timer") == 1


def test_attempts_begin_again_and_the_fence_goes_on(broker: Broker) -> None:
    waits(broker, "retrying")
    before = live(broker, "a")

    replace(broker, priority=5)

    after = live(broker, "a")
    assert (before.attempt, after.attempt) == (1, 0)
    assert after.fence == before.fence
    assert after.priority == 5


def test_one_that_runs_is_left_alone(broker: Broker) -> None:
    put_asking(broker, ["a"], LOCK)
    Child(broker).claim()
    before = dump(broker)

    assert replace(broker) == "R"
    assert dump(broker) == before


@pytest.mark.parametrize("ending", ["S", "D", "C"])
def test_one_that_has_ended_is_gone(broker: Broker, ending: str) -> None:
    put_asking(broker, ["a"], LOCK)
    child = Child(broker)
    child.settle(outcome(child.claim()[0], ending, delay=DAY))
    before = dump(broker)

    assert replace(broker) == "G"
    assert dump(broker) == before


def test_one_whose_lock_another_has_by_now_is_gone(broker: Broker) -> None:
    put_asking(broker, ["a"], asked(lock="x", started=True))
    child = Child(broker)
    (grant,) = child.claim()
    put_asking(broker, ["b"], LOCK)
    child.settle(outcome(grant, "R", FAILURE, DAY))

    assert replace(broker) == "G"
    assert state_of(broker, "a") == "retrying"


def test_one_whose_lock_only_stays_for_a_time_is_not_replaced(broker: Broker) -> None:
    put_asking(broker, ["a"], asked(lock="x", ttl=DAY))
    child = Child(broker)
    child.settle(outcome(child.claim()[0], "S", delay=DAY))
    before = dump(broker)

    assert set(replace(broker)) <= {"G", "R"}
    assert dump(broker) == before


def test_the_same_call_again_changes_nothing_more(broker: Broker) -> None:
    waits(broker, "ready")
    put_asking(broker, ["z"], b"")
    replace(broker)
    before = dump(broker, "meta", "ready")

    assert replace(broker) == "O"

    assert dump(broker, "meta", "ready") == before
    assert ready(broker) == ["z", "a"]


def test_the_same_call_again_after_a_claim_finds_it_running(broker: Broker) -> None:
    waits(broker, "scheduled")
    replace(broker)
    assert claimed(Child(broker)) == ["a"]

    assert replace(broker) == "R"


def test_several_of_one_call_are_replaced_each(broker: Broker) -> None:
    for id in "ab":
        put_asking(broker, [id], asked(lock=id), due=-DAY)
    drafts = [replacement(id, asked(lock=id)) for id in "abc"]

    assert broker.replace(QUEUE, drafts) == "OOG"
    assert ready(broker) == ["a", "b"]


def test_its_lock_stays_its_own_and_a_new_time_counts(broker: Broker, clock: Any) -> None:
    waits(broker, "scheduled")
    replace(broker, ask=asked(lock="x", ttl=60_000))

    child = Child(broker)
    child.settle(outcome(child.claim()[0], "S"))

    assert put_asking(broker, ["b"], LOCK) == "U a"
    clock.forward(60_000)
    assert put_asking(broker, ["b"], LOCK) == "N"


def test_one_that_waits_at_a_gate_leaves_it(broker: Broker) -> None:
    put_asking(broker, ["inside"], asked(at_once(1)))
    child = Child(broker)
    (inside,) = child.claim()
    put_asking(broker, ["a"], asked(at_once(1), lock="x"))
    put_asking(broker, ["b"], asked(at_once(1)))
    assert claimed(child) == []

    assert replace(broker, due=-DAY) == "O"

    assert [member[-1:] for member in dump(broker)["gated"][::2]] == [b"b"]
    child.settle(outcome(inside, "S"))
    assert claimed(child) == ["b"]


def test_one_that_was_let_in_leaves_its_place_to_the_next(broker: Broker) -> None:
    gate = at_once(1)
    put_asking(broker, ["inside"], asked(gate))
    put_asking(broker, ["a"], asked(gate, lock="x"))
    put_asking(broker, ["b"], asked(gate))
    child = Child(broker)
    (inside,) = child.claim(3)
    child.settle(outcome(inside, "S"))
    assert ready(broker) == ["a"]

    replace(broker, due=-DAY)

    assert ready(broker) == ["b"]


def test_other_limits_count_from_then_on(broker: Broker) -> None:
    put_asking(broker, ["other"], asked(at_once(1, "new")))
    waits(broker, "scheduled")
    child = Child(broker)
    assert claimed(child) == ["other"]

    replace(broker, ask=asked(at_once(1, "new"), lock="x"))

    assert claimed(child) == []
    assert state_of(broker, "a") == "waiting"


def test_a_parked_one_is_no_longer_released(broker: Broker, clock: Any) -> None:
    waits(broker, "parked")
    replace(broker, due=-DAY)
    clock.forward(60_000)

    assert broker.release(QUEUE, TASK) == 0
    assert state_of(broker, "a") == "scheduled"


def test_nothing_is_counted_when_nothing_is_replaced(broker: Broker) -> None:
    put_asking(broker, ["a"], LOCK)
    before = meta(broker, "seq")

    assert replace(broker, id="b") == "G"
    assert meta(broker, "seq") == before
