"""retry: an ended job, or one that backs off, stands in line again."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.job import State
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    TASK,
    Child,
    draft,
    dump,
    live,
    outcome,
    put,
    ready,
    seed,
    seed_all,
    states,
    take_token,
    tokens,
)

CAN_BE = [State.SUCCEEDED, State.DEAD, State.CANCELLED, State.RETRYING]


@pytest.mark.parametrize("state", CAN_BE)
def test_it_is_ready_again_under_its_id(broker: Broker, state: State) -> None:
    seed(broker, **{state: "a"})
    before = live(broker, "a")

    assert broker.retry(QUEUE, ["a"]) == "O"

    assert states(broker) == {"ready": ["a"]}
    after = live(broker, "a")
    assert (after.fence, after.attempt, after.ended, after.holder) == (before.fence, 0, 0, "")
    assert tokens(broker) == 1


@pytest.mark.parametrize("state", CAN_BE)
def test_it_runs_to_another_end(broker: Broker, state: State) -> None:
    seed(broker, **{state: "a"})
    broker.retry(QUEUE, ["a"])
    child = Child(broker)

    (grant,) = child.claim()
    assert (grant.live.fence, grant.live.attempt) == (2, 0)
    assert child.settle(outcome(grant, "S", b"2", DAY)) == "O"

    (job,) = broker.fetch(QUEUE, ["a"])
    assert (job.state, job.value, job.live.attempt) == (State.SUCCEEDED, b"2", 1)


def test_an_old_value_is_not_shown_while_it_runs_again(broker: Broker) -> None:
    seed(broker, succeeded="a")
    assert broker.fetch(QUEUE, ["a"])[0].value == b"1"

    broker.retry(QUEUE, ["a"])

    assert broker.fetch(QUEUE, ["a"])[0].value == b""


def test_its_failures_stay_on_record(broker: Broker) -> None:
    seed(broker, dead="a")

    broker.retry(QUEUE, ["a"])

    assert broker.fetch(QUEUE, ["a"])[0].errors == FAILURE


@pytest.mark.parametrize("state", [*sorted({*State} - {*CAN_BE}), "unknown"])
def test_what_did_not_end_is_left_alone(broker: Broker, state: str) -> None:
    seed_all(broker)
    before = dump(broker, "meta")

    assert broker.retry(QUEUE, [state]) == ("U" if state == "unknown" else "E")

    assert dump(broker, "meta") == before


def test_a_letter_tells_of_each(broker: Broker) -> None:
    seed_all(broker)

    letters = broker.retry(QUEUE, [*State, "unknown"])

    assert dict(zip([*State, "unknown"], letters, strict=True)) == {
        **dict.fromkeys(State, "E"),
        **dict.fromkeys(CAN_BE, "O"),
        "unknown": "U",
    }


@pytest.mark.parametrize("state", CAN_BE)
def test_a_retry_sent_again_makes_no_second_job(broker: Broker, state: State) -> None:
    seed(broker, **{state: "a"})
    broker.retry(QUEUE, ["a"])
    before = dump(broker, "meta")

    assert broker.retry(QUEUE, ["a"]) == "E"

    assert dump(broker, "meta") == before


def test_an_id_that_comes_twice_in_a_call_is_one_job(broker: Broker) -> None:
    seed(broker, dead="a")

    broker.retry(QUEUE, ["a", "a"])

    assert states(broker) == {"ready": ["a"]}


def test_it_comes_after_those_of_its_priority(broker: Broker) -> None:
    child = Child(broker)
    jobs = [("low", -2), ("plain", 0), ("high", 3)]
    broker.enqueue(QUEUE, [draft(id, priority) for id, priority in jobs])
    child.settle(*[outcome(grant, "D", FAILURE, DAY) for grant in child.claim(3)])
    broker.enqueue(QUEUE, [draft(id.upper(), priority) for id, priority in jobs])

    broker.retry(QUEUE, ["plain", "low", "high"])
    put(broker, ["last"])

    assert ready(broker) == ["HIGH", "high", "PLAIN", "plain", "last", "LOW", "low"]


def test_many_stand_in_line_in_the_order_they_were_named(broker: Broker) -> None:
    ids = [f"job-{number}" for number in range(2 * HOUSEKEEPING + 5)]
    put(broker, ids)
    broker.cancel(QUEUE, [(id, TASK) for id in ids], FAILURE, DAY)

    assert broker.retry(QUEUE, ids[::-1]) == "O" * len(ids)

    assert ready(broker) == ids[::-1]


def test_what_counted_against_it_is_forgotten(broker: Broker, clock: Any) -> None:
    put(broker, ["a"], expires_in=5)
    child = Child(broker)
    child.claim()
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True, started=["a"])
    child = Child(broker, "next")
    child.claim()
    clock.forward(DAY)
    broker.reclaim(QUEUE, child.holder, FAILURE)
    record = live(broker, "a")
    assert (record.crashes, record.lost) == (1, 1)
    assert record.expires
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)

    broker.retry(QUEUE, ["a"])

    record = live(broker, "a")
    assert (record.crashes, record.lost, record.parks, record.expires) == (0, 0, 0, 0)


def test_who_ran_it_before_cannot_settle_it(broker: Broker) -> None:
    grants = seed(broker, dead="a")
    broker.retry(QUEUE, ["a"])
    before = dump(broker)

    assert Child(broker, "seeder").settle(outcome(grants["a"], "S", b"1", DAY)) in "DS"

    assert dump(broker) == before


def test_nothing_to_retry_asks_nothing(broker: Broker) -> None:
    assert broker.retry(QUEUE, []) == ""


@pytest.mark.parametrize("taken", [False, True])
def test_a_retry_drops_a_token_but_never_a_second(broker: Broker, taken: bool) -> None:
    seed(broker, dead="a", ready="b")
    if taken:
        take_token(broker)

    broker.retry(QUEUE, ["a"])

    assert tokens(broker) == 1
