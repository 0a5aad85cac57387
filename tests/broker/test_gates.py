"""Limits: a job is let in when it is claimed, or waits at its gate, in order, without polling."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import LOST_LIMIT, Broker
from django_taskq.job import Kind
from django_taskq.limits import Rate
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    Child,
    asked,
    at_once,
    claimed,
    dump,
    members,
    outcome,
    parked,
    per_time,
    put,
    put_asking,
    ready,
    state_of,
    states,
    tokens,
    without_envelope,
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


def test_an_end_of_many_lets_in_as_many(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, [f"job-{n:02}" for n in range(30)], asked(at_once(5)))
    running = child.claim(10)

    for _ in range(5):
        running = child.exchange(10, [outcome(grant, "S") for grant in running]).grants
        assert len(running) == 5


def test_a_gate_that_is_seen_later_in_a_call_changes_nothing_at_the_others(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(at_once(2)))
    first, _second = child.claim(10)
    put_asking(broker, ["other"], asked(at_once(1, "other")))

    answer = child.exchange(10, [outcome(first, "S")])

    assert [grant.id for grant in answer.grants] == ["c", "other"]


def test_a_queue_full_of_jobs_that_wait_keeps_no_other_job_long(broker: Broker) -> None:
    put_asking(broker, [f"job-{n:03}" for n in range(250)], asked(at_once(1)))
    put(broker, ["other"])
    child = Child(broker)
    assert claimed(child, 1) == ["job-000"]

    assert claimed(child, 1) == ["other"]


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


# -- several gates ---------------------------------------------------------------------------------


def test_a_job_has_to_pass_each_of_its_gates(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, ["narrow"], asked(at_once(1, "n")))
    put_asking(broker, "abc", asked(at_once(2, "wide"), at_once(1, "n")))
    put_asking(broker, "xyz", asked(at_once(2, "wide")))
    (narrow, *_) = running = child.claim(10)
    assert [grant.id for grant in running] == ["narrow", "x", "y"]

    answer = child.exchange(10, [outcome(narrow, "S"), outcome(running[1], "S")])

    assert [grant.id for grant in answer.grants] == ["a"]
    assert sorted(inside(broker)) == ["n a", "wide a", "wide y"]


def test_who_is_turned_away_at_the_second_gate_leaves_the_first_to_another(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, ["one"], asked(at_once(1, "first")))
    put_asking(broker, ["two"], asked(at_once(1, "second")))
    one, _two = child.claim(2)
    put_asking(broker, ["both"], asked(at_once(1, "first"), at_once(1, "second")))
    put_asking(broker, ["next"], asked(at_once(1, "first")))
    assert claimed(child) == []
    child.settle(outcome(one, "S"))
    assert ready(broker) == ["both"]

    assert claimed(child) == []  # it goes on to wait at the second gate
    assert claimed(child) == ["next"]


def test_a_place_and_a_rate_of_one_gate_both_count(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "abcd", asked(per_time("60/m", most=1)))
    (first,) = child.claim(10)
    clock.forward(5_000)
    assert promote(broker) == (0, -1), "the timekeeper has nothing to do while it is full"

    child.settle(outcome(first, "S"))
    (second,) = child.claim(10)
    child.settle(outcome(second, "S"))

    assert claimed(child) == []
    assert promote(broker) == (0, 1_000)
    clock.forward(1_000)
    promote(broker)
    assert claimed(child) == ["c"]


# -- who leaves in another way ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", "SRDQCZGXK")
def test_the_place_of_a_job_that_was_called_off_is_kept_until_it_stops(
    broker: Broker, kind: str
) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(at_once(1)))
    (first,) = child.claim(10)
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    assert claimed(child) == []

    child.settle(outcome(first, kind, delay=DAY))

    assert claimed(child) == ["b"]
    assert inside(broker) == ["g b"]


def test_a_cancelled_job_waits_at_no_gate(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(at_once(1), at_once(5, "wide")))
    (first,) = child.claim(10)
    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)

    child.settle(outcome(first, "S"))

    assert claimed(child) == ["c"]
    assert dump(broker)["gated"] == []


def test_a_parked_job_lets_in_the_next_and_wakes_a_worker(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(at_once(1)))
    (first,) = child.claim(10)
    assert tokens(broker) == 0

    broker.park(QUEUE, [parked(first)])

    assert ready(broker) == ["b"]
    assert tokens(broker) == 1


def test_the_cancel_of_one_who_was_let_in_lets_in_the_next(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(at_once(1)))
    (first,) = child.claim(10)
    child.settle(outcome(first, "S"))
    assert ready(broker) == ["b"]

    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)

    assert ready(broker) == ["c"]
    assert tokens(broker) == 1


def test_a_job_that_lost_its_envelope_lets_in_the_next(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(at_once(1)))
    (first,) = child.claim(10)
    child.settle(outcome(first, "S"))
    without_envelope(broker, "b")

    assert claimed(child) == []

    assert state_of(broker, "b") == "dead"
    assert claimed(child) == ["c"]


@pytest.mark.parametrize("way", ["lapsed", "lost", "called off"])
def test_a_reclaim_gives_the_place_back(broker: Broker, clock: Any, way: str) -> None:
    put_asking(broker, "ab", asked(at_once(1)))
    child = Child(broker)
    for turn in range(LOST_LIMIT + 2):
        if way == "called off":
            broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
        clock.forward(LEASE)
        child = Child(broker, f"child-{turn}")
        assert len(child.claim(10)) == 1
        if turn and (way == "lapsed" or state_of(broker, "a") != "running"):
            break
        clock.forward(LEASE)
        broker.reclaim(QUEUE, child.holder, FAILURE)
        assert inside(broker) == []

    assert inside(broker) == ["g a" if way == "lapsed" else "g b"]


def test_the_sweep_gives_back_the_place_of_a_job_that_lost_its_envelope(broker: Broker) -> None:
    put_asking(broker, "ab", asked(at_once(1)))
    Child(broker).claim(10)
    without_envelope(broker, "a")

    list(broker.walk(QUEUE, mend=True))

    assert inside(broker) == []
    assert claimed(Child(broker)) == ["b"]


# -- rates -----------------------------------------------------------------------------------------


def test_a_burst_is_let_in_at_once_and_no_more(broker: Broker, clock: Any) -> None:
    for number in range(3):
        rate = Rate(7, per=1, burst=7)  # whose interval is no whole number
        put_asking(broker, [f"{number}-{n:02}" for n in range(20)], asked(per_time(rate)))
        promote(broker)
        assert len(claimed(Child(broker, f"child-{number}"), 50)) == 7
        clock.forward(60_000)


def test_who_waits_for_a_rate_wakes_the_timekeeper(broker: Broker) -> None:
    put_asking(broker, "ab", asked(per_time("60/m")))

    Child(broker).claim(10)

    assert tokens(broker, "timer") == 1


def test_who_waits_for_a_place_wakes_nobody(broker: Broker) -> None:
    put_asking(broker, "ab", asked(at_once(1)))

    Child(broker).claim(10)

    assert (tokens(broker), tokens(broker, "timer")) == (0, 0)


def test_what_is_given_back_unused_costs_no_share_of_a_rate(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(per_time(Rate(1, per=60, burst=2))))
    first, second = child.claim(10)

    child.settle(outcome(second, "G"))
    assert claimed(child) == ["b"]

    child.settle(outcome(first, "R", FAILURE, 100_000))  # it ran
    assert claimed(child) == []


def test_a_crash_costs_its_share_of_a_rate(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(per_time(Rate(1, per=60, burst=2))))
    first, _second = child.claim(10)

    child.settle(outcome(first, "X"))

    assert claimed(child) == []


def test_a_parked_job_costs_no_share_of_a_rate(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(per_time("1/m")))
    (first,) = child.claim(10)

    broker.park(QUEUE, [parked(first)])

    assert claimed(child) == ["b"]


def test_a_call_that_is_sent_again_gives_nothing_back_twice(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "abcdef", asked(per_time(Rate(1, per=60, burst=3))))
    grants = child.claim(3)
    child.settle(outcome(grants[0], "G"))
    child.again()
    before = dump(broker)["rates"]
    child.again()

    assert dump(broker)["rates"] == before
    assert claimed(child) == ["a"]
    assert claimed(child) == []


def test_a_claim_that_is_sent_again_takes_no_place_and_no_share_twice(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcdef", asked(per_time(Rate(1, per=60, burst=3), most=5)))
    granted = claimed(child, 2)
    before = dump(broker, "timer")

    assert [grant.id for grant in child.again().grants] == granted
    assert dump(broker, "timer") == before


def test_a_rate_lets_in_no_more_than_it_says_in_any_time(broker: Broker, clock: Any) -> None:
    """At 10 a second, with a burst of 3: in each second at most 13, and 10 over a long time."""
    rate = per_time(Rate(10, per=1, burst=3))
    put_asking(broker, [f"job-{n:03}" for n in range(300)], asked(rate))
    child, began = Child(broker), []
    for _ in range(500):
        promote(broker)
        running = child.claim(10)
        began += [clock.now] * len(running)
        child.settle(*[outcome(grant, "S") for grant in running])
        clock.forward(20)

    for at in range(began[0], clock.now, 50):
        assert sum(at <= each < at + 1000 for each in began) <= 13
    assert 95 <= len(began) <= 103


def test_the_timekeeper_lets_in_no_more_while_those_before_are_not_claimed(
    broker: Broker, clock: Any
) -> None:
    put_asking(broker, [f"job-{n:03}" for n in range(200)], asked(per_time("60/m")))
    assert claimed(Child(broker), 200) == ["job-000"]
    clock.forward(1_000)
    assert promote(broker) == (1, -1)
    clock.forward(60_000)

    assert promote(broker) == (0, -1)

    assert ready(broker) == ["job-001"]


def test_a_clock_that_was_set_back_closes_no_gate_for_long(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(per_time("60/m")))
    assert claimed(child) == ["a"]
    clock.forward(-DAY)
    put_asking(broker, ["d"], asked(per_time("60/m")))
    assert claimed(child) == []

    list(broker.walk(QUEUE, mend=True))  # as the janitor does every minute
    clock.forward(promote(broker)[1])
    promote(broker)

    assert claimed(child) == ["b"]


def test_a_rate_that_nobody_used_for_long_is_forgotten(broker: Broker, clock: Any) -> None:
    put_asking(broker, ["a"], asked(per_time("60/m", "one")))
    Child(broker, "first").claim()
    clock.forward(60_000)
    put_asking(broker, ["b"], asked(per_time("60/m", "two")))
    Child(broker, "second").claim()

    assert members(broker, "rates") == ["two"]


# -- numbers that change ---------------------------------------------------------------------------


def test_a_lower_limit_counts_for_older_jobs(broker: Broker) -> None:
    put_asking(broker, "abc", asked(at_once(3)))
    put_asking(broker, ["d"], asked(at_once(1)))

    assert claimed(Child(broker)) == ["a"]


def test_a_higher_limit_counts_for_those_who_wait_within_a_sweep(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcd", asked(at_once(1)))
    child.claim(10)
    put_asking(broker, ["e"], asked(at_once(3)))

    list(broker.walk(QUEUE, mend=True))

    assert claimed(child) == ["b", "c"]


# -- order -----------------------------------------------------------------------------------------


def test_a_job_that_comes_back_is_before_those_who_wait(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(at_once(1)))
    (first,) = child.claim(10)

    child.settle(outcome(first, "G"))

    assert claimed(child) == ["a"]


def test_those_who_wait_keep_their_order_through_many_turns(broker: Broker) -> None:
    ids = [f"job-{n:03}" for n in range(40)]
    put_asking(broker, ids, asked(at_once(3)))
    child, running, line = Child(broker), [], []
    for _ in range(14):
        running = child.exchange(7, [outcome(grant, "S") for grant in running]).grants
        line += [grant.id for grant in running]

    assert line == ids


def inside(broker: Broker) -> list[str]:
    """ "gate id" of the jobs inside."""
    return [member.decode().replace("\0", " ") for member in dump(broker)["entered"][::2]]


def promote(broker: Broker) -> tuple[int, int]:
    """How many were let in, and ms until the next are (-1: nobody waits for a time)."""
    answer = broker.promote(QUEUE, "keeper", force=True)
    return answer.moved, answer.wait
