"""promote: what is due becomes ready, in order, and one timekeeper at a time sees to it."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import HOUSEKEEPING, KEEPER_GRACE, Broker
from django_taskq.broker.replies import Promoted
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    Child,
    draft,
    dump,
    meta,
    outcome,
    put,
    ready,
    seed,
    states,
    take_token,
    tokens,
)


def test_what_is_due_becomes_ready_and_the_rest_stays(broker: Broker, clock: Any) -> None:
    broker.enqueue(QUEUE, [draft("a", due=-10), draft("b", due=-11), draft("c", due=-12)])
    clock.forward(11)

    assert broker.promote(QUEUE, "keeper") == Promoted(moved=2, wait=1, busy=0)

    assert states(broker) == {"ready": ["a", "b"], "scheduled": ["c"]}


def test_retrying_jobs_are_promoted_too(broker: Broker, clock: Any) -> None:
    seed(broker, retrying="a", scheduled="b")
    clock.forward(DAY)

    assert broker.promote(QUEUE, "keeper") == Promoted(2, -1, 0)

    assert sorted(ready(broker)) == ["a", "b"]


@pytest.mark.parametrize(
    ("scheduled", "retrying", "wait"),
    [([], [], -1), ([500], [], 500), ([], [300], 300), ([500], [300], 300), ([300], [500], 300)],
)
def test_it_says_how_long_until_the_next_is_due(
    broker: Broker, scheduled: list[int], retrying: list[int], wait: int
) -> None:
    child = Child(broker)
    for delay in retrying:
        put(broker, ["r"])
        child.settle(outcome(child.claim()[0], "R", FAILURE, delay))
    broker.enqueue(QUEUE, [draft("s", due=-delay) for delay in scheduled])

    assert broker.promote(QUEUE, "keeper") == Promoted(0, wait, 0)


def test_promoted_jobs_come_after_those_that_were_ready(broker: Broker, clock: Any) -> None:
    """First in, first out is by the time a job became ready, within its priority."""
    jobs = [("late", 0, -20), ("soon", 0, -10), ("urgent", 5, -30), ("idle", -5, -5)]
    broker.enqueue(QUEUE, [draft(*job) for job in jobs])
    put(broker, ["first"])
    put(broker, ["low"], priority=-5)
    clock.forward(30)

    broker.promote(QUEUE, "keeper")
    put(broker, ["last"])

    assert ready(broker) == ["urgent", "first", "soon", "late", "last", "low", "idle"]


def test_a_call_moves_a_hundred_and_says_that_there_is_more(broker: Broker, clock: Any) -> None:
    names = [f"{number:03}" for number in range(2 * HOUSEKEEPING + 1)]
    put(broker, names, due=-1)
    clock.forward(1)

    moved = [broker.promote(QUEUE, "keeper") for _ in range(4)]

    assert moved == [
        Promoted(100, 0, 0),
        Promoted(100, 0, 0),
        Promoted(1, -1, 0),
        Promoted(0, -1, 0),
    ]
    assert ready(broker) == names


def test_the_hundred_are_counted_over_both_sets(broker: Broker, clock: Any) -> None:
    put(broker, [f"s{number}" for number in range(60)], due=-1)
    ids = [f"r{number}" for number in range(60)]
    put(broker, ids)
    child = Child(broker)
    child.settle(*[outcome(grant, "R") for grant in child.claim(60)])
    clock.forward(1)

    assert broker.promote(QUEUE, "keeper") == Promoted(100, 0, 0)
    assert broker.promote(QUEUE, "keeper") == Promoted(20, -1, 0)


def test_what_becomes_ready_wakes_one_worker(broker: Broker, clock: Any) -> None:
    put(broker, "abc", due=-1)
    broker.promote(QUEUE, "keeper")
    assert tokens(broker) == 0
    clock.forward(1)

    broker.promote(QUEUE, "keeper")
    assert tokens(broker) == 1

    take_token(broker)
    put(broker, "d", due=-1)
    clock.forward(1)
    broker.promote(QUEUE, "keeper")
    assert tokens(broker) == 1


def test_the_jobs_keep_their_records(broker: Broker, clock: Any) -> None:
    put(broker, ["a"], priority=3, due=-1, expires_in=DAY)
    before = dump(broker)
    clock.forward(1)

    broker.promote(QUEUE, "keeper")

    after = dump(broker)
    assert all(after[name] == before[name] for name in ("jobs", "live", "errors", "results"))


# -- the timekeeper --------------------------------------------------------------------------------


def test_another_is_told_how_long_the_place_is_taken(broker: Broker, clock: Any) -> None:
    put(broker, ["a"], due=-500)
    broker.promote(QUEUE, "one")
    clock.forward(100)
    before = dump(broker)

    assert broker.promote(QUEUE, "two") == Promoted(0, -1, 400 + KEEPER_GRACE)

    assert dump(broker) == before


@pytest.mark.parametrize(
    ("after", "moves"), [(500, False), (500 + KEEPER_GRACE - 1, False), (500 + KEEPER_GRACE, True)]
)
def test_a_keeper_that_is_two_seconds_late_is_replaced(
    broker: Broker, clock: Any, after: int, moves: bool
) -> None:
    put(broker, ["a"], due=-500)
    broker.promote(QUEUE, "one")
    clock.forward(after)

    answer = broker.promote(QUEUE, "two")

    assert answer.moved == int(moves)
    assert bool(answer.busy) is not moves
    assert bool(broker.promote(QUEUE, "one").busy) is moves


def test_without_anything_due_the_place_is_kept_for_the_grace(broker: Broker, clock: Any) -> None:
    broker.promote(QUEUE, "one")
    assert meta(broker, "keeper_until") == clock.now + KEEPER_GRACE

    clock.forward(KEEPER_GRACE - 1)
    assert broker.promote(QUEUE, "two").busy == 1

    clock.forward(1)
    assert broker.promote(QUEUE, "two").busy == 0
    assert broker.promote(QUEUE, "one").busy == KEEPER_GRACE


def test_a_keeper_whose_time_ends_late_because_the_clock_was_set_back_is_replaced(
    broker: Broker, clock: Any
) -> None:
    put(broker, ["a"], due=-500)
    clock.forward(3_600_000)
    broker.promote(QUEUE, "one")  # nothing else is due
    put(broker, ["b"], due=-3_600_000)
    broker.promote(QUEUE, "one")
    clock.forward(-3_600_000)
    put(broker, ["c"], due=-1)
    clock.forward(KEEPER_GRACE)
    assert broker.promote(QUEUE, "two").busy == 1

    clock.forward(1)

    assert broker.promote(QUEUE, "two").moved == 1


def test_the_keeper_itself_is_never_refused(broker: Broker, clock: Any) -> None:
    put(broker, "a", due=-500)

    assert [broker.promote(QUEUE, "one").busy for _ in range(3)] == [0, 0, 0]


def test_who_heard_of_an_earlier_job_takes_the_place_by_force(broker: Broker, clock: Any) -> None:
    put(broker, ["a"], due=-DAY)
    broker.promote(QUEUE, "one")
    put(broker, ["b"], due=-10)
    clock.forward(10)

    assert broker.promote(QUEUE, "two").busy
    assert broker.promote(QUEUE, "two", force=True) == Promoted(1, DAY - 10, 0)

    assert ready(broker) == ["b"]
    assert broker.promote(QUEUE, "one").busy == DAY - 10 + KEEPER_GRACE


def test_the_queues_have_keepers_of_their_own(broker: Broker) -> None:
    assert broker.promote("one", "k1").busy == 0
    assert broker.promote("two", "k2").busy == 0
    assert broker.promote("one", "k2").busy
