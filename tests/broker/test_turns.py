"""Turns: keys of one queue are served in rounds, however many jobs one of them has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.inspector.rota import LOOKED_AT, NAMED, Rota, Share, call, rota_in
from django_taskq.job import Grant
from tests.broker.helpers import (
    FAILURE,
    QUEUE,
    Child,
    asked,
    at_once,
    claimed,
    dump,
    outcome,
    put,
    put_asking,
    ready,
)


def put_for(broker: Broker, key: str, count: int, weight: float = 1.0, **options: int) -> None:
    """So many jobs of a key: a-000, a-001 and so on, behind those that it has."""
    first = put_for.counts[broker.prefix, key]
    put_for.counts[broker.prefix, key] += count
    ids = [f"{key}-{n:03}" for n in range(first, first + count)]
    assert set(put_asking(broker, ids, asked(key=key, cost=1 / weight), **options)) == {"N"}


put_for.counts = Counter()  # type: ignore[attr-defined]


def keys(ids: list[str]) -> str:
    return "".join(id[0] for id in ids)


def test_a_new_key_comes_within_one_round(broker: Broker) -> None:
    for key in "abcde":
        put_for(broker, key, 100)
    child = Child(broker)
    claimed(child, 203)
    put_for(broker, "z", 1)

    line = claimed(child, 20)

    assert "z-000" in line[: 2 * 5]


def test_the_longest_lines_are_named_with_their_rounds(broker: Broker) -> None:
    put_for(broker, "a", 40)
    put_for(broker, "b", 30, weight=3)
    put_for(broker, "c", 5)
    put_for(broker, "c", 2, priority=7)
    put(broker, "n")

    before = lines(broker)
    claimed(Child(broker), 2 + 12)  # those of the higher priority, and some rounds

    assert before == Rota([Share("a", 40), Share("b", 11), Share("c", 6 + 2)], 3, True)
    after = {share.key: share.rounds for share in lines(broker).shares}
    over = 40 - after["a"]
    assert over in (2, 3), "of 12 jobs a round has 5"
    assert after["c"] == 6 - over


def one_at_a_gate(broker: Broker) -> tuple[Child, Grant]:
    """A line that has gone on past an old place at a gate; who did, and the job that is inside."""
    child = Child(broker)
    put_asking(broker, ["old0", "old1"], asked(at_once(1), key="old"))
    (old,) = child.claim(2)
    put_for(broker, "a", 50)
    put_for(broker, "b", 50)
    claimed(child, 80)
    return child, old


def test_who_is_let_in_late_makes_no_line_longer(broker: Broker) -> None:
    child, old = one_at_a_gate(broker)
    before = lines(broker)

    child.settle(outcome(old, "S"))

    assert ready(broker)[0] == "old1"
    after = lines(broker)
    assert [share.key for share in after.shares] == ["a", "b"]
    assert all(one.rounds <= 11 for one in (*before.shares, *after.shares))


def test_lines_that_are_over_are_not_named(broker: Broker) -> None:
    put_for(broker, "a", 3)
    put_for(broker, "b", 1)
    claimed(Child(broker), 3)

    assert [share.key for share in lines(broker).shares] == ["a"]


def test_of_many_keys_some_are_named(broker: Broker) -> None:
    for number in range(LOOKED_AT + 1):
        assert put_asking(broker, [f"j{number}"], asked(key=f"k{number}")) == "N"

    found = lines(broker)

    assert (len(found.shares), found.more) == (NAMED, LOOKED_AT - NAMED)
    assert not found.is_whole


def lines(broker: Broker) -> Rota:
    return rota_in(broker.server.call(call(broker, QUEUE)))


def test_backlogged_keys_take_turns(broker: Broker) -> None:
    put_for(broker, "a", 50)
    put_for(broker, "b", 50)
    put_for(broker, "c", 50)

    line = keys(claimed(Child(broker), 90))

    for end in range(3, 90, 3):
        counts = Counter(line[:end]).values()
        assert max(counts) - min(counts) <= 2  # who came first has begun before


def test_jobs_of_one_key_stay_in_order(broker: Broker) -> None:
    for _ in range(3):
        put_for(broker, "a", 7, weight=3)
        put_for(broker, "b", 5, weight=0.3)

    line = claimed(Child(broker), 50)

    for key in "ab":
        own = [id for id in line if id[0] == key]
        assert own == sorted(own)


def test_a_key_of_twice_the_weight_gets_twice_as_many(broker: Broker) -> None:
    put_for(broker, "a", 60, weight=2)
    put_for(broker, "b", 60)

    counts = Counter(keys(claimed(Child(broker), 60)))

    assert abs(counts["a"] - 40) <= 1


def test_a_rest_earns_nothing(broker: Broker) -> None:
    """Who comes back does not get the turns that it did not take."""
    put_for(broker, "a", 100)
    put_for(broker, "b", 1)
    child = Child(broker)
    claimed(child, 80)
    put_for(broker, "b", 50)

    assert Counter(keys(claimed(child, 20)))["b"] <= 11


def test_jobs_without_a_key_come_after_all_who_are_there(broker: Broker) -> None:
    put_for(broker, "a", 5)
    put(broker, ["plain"])
    put_for(broker, "a", 5)

    line = claimed(Child(broker), 11)

    assert line[:5] == [f"a-{n:03}" for n in range(5)]
    assert line.index("plain") <= 6


def test_jobs_without_a_key_are_not_passed_for_ever(broker: Broker) -> None:
    child = Child(broker)
    put_for(broker, "a", 10)
    put(broker, ["plain"])
    for _ in range(20):
        put_for(broker, "b", 5)
        put_for(broker, "c", 5)
        if "plain" in claimed(child, 5):
            return
    raise AssertionError("a job without a key starves")


@pytest.mark.parametrize("priority", [-100, -1, 1, 64, 100])
def test_turns_are_taken_within_a_priority(broker: Broker, priority: int) -> None:
    """Far from 0 doubles stand further apart; names have another order than the jobs."""
    put_for(broker, "a", 20)
    ids = {key: [f"{key}-{7 * n % 30:03}" for n in range(30)] for key in "xy"}
    put_asking(broker, ids["x"], asked(key="x", cost=0.001), priority=priority)
    put_asking(broker, ids["y"], asked(key="y"), priority=priority)

    line = claimed(Child(broker), 80)

    mine = [id for id in line if id[0] != "a"]
    assert (line[: len(mine)] if priority > 0 else line[20:]) == mine
    for key in "xy":
        assert [id for id in mine if id[0] == key] == ids[key]
    assert mine.index(ids["y"][-1]) > mine.index(ids["x"][-1])


def test_turns_hold_for_those_who_wait_at_a_gate(broker: Broker) -> None:
    """Everybody stands at the gate: a new key is still only one round behind."""
    child = Child(broker)
    gate = at_once(2)
    put_asking(broker, [f"a{n:03}" for n in range(200)], asked(gate, key="a"))
    running = child.claim(10)
    for _ in range(5):
        assert child.claim(10) == []
    put_asking(broker, ["b0", "b1"], asked(gate, key="b"))

    line = []
    for _ in range(4):
        running = child.exchange(10, [outcome(grant, "S") for grant in running]).grants
        line += [grant.id for grant in running]

    assert line.index("b0") <= 3
    assert line.index("b1") <= 6


def test_who_is_let_in_late_does_not_take_the_line_back(broker: Broker) -> None:
    """An old place at the front must not let a new key pass all who came since."""
    child, old = one_at_a_gate(broker)
    child.settle(outcome(old, "S"))
    assert ready(broker)[0] == "old1"
    put_for(broker, "z", 40)

    counts = Counter(keys(claimed(child, 22)))

    assert counts["z"] <= 9


def test_a_returned_job_is_first_and_the_line_stays_where_it_is(broker: Broker) -> None:
    child = Child(broker)
    put_for(broker, "a", 20)
    grants = child.claim(10)
    child.settle(outcome(grants[0], "G"))
    put_for(broker, "z", 1)

    line = claimed(child, 4)

    assert line[0] == "a-000"
    assert "z-000" in line


@pytest.mark.parametrize("way", ["promote", "release", "retry", "reclaim"])
def test_who_comes_back_takes_its_turn(broker: Broker, clock: Any, way: str) -> None:
    """Behind the last of its key, or one turn from now; a lost worker's jobs go to the front."""
    child = Child(broker, "first")
    put_for(broker, "z", 1)
    (grant,) = child.claim()
    put_for(broker, "a", 50)
    if way == "promote":
        child.settle(outcome(grant, "R", FAILURE, 1_000))
        clock.forward(1_000)
        broker.promote(QUEUE, "keeper")
    elif way == "release":
        broker.park(QUEUE, [outcome(grant, "P")._replace(task="tests.noop")])
        clock.forward(60_000)
        broker.release(QUEUE, "tests.noop")
    elif way == "retry":
        child.settle(outcome(grant, "D", FAILURE, 100_000))
        broker.retry(QUEUE, ["z-000"])
    else:
        broker.reclaim(QUEUE, child.holder, FAILURE, died=True)

    assert "z-000" in claimed(Child(broker, "second"), 3)


# -- what is kept ----------------------------------------------------------------------------------


def test_an_empty_line_knows_no_turns(broker: Broker) -> None:
    put_for(broker, "a", 3)
    put_for(broker, "b", 3, priority=2)
    assert dump(broker)["turns"]

    claimed(Child(broker), 6)

    assert dump(broker)["turns"] == {}


def test_a_line_that_never_ends_keeps_only_the_turns_to_come(broker: Broker) -> None:
    child = Child(broker)
    put_for(broker, "a", 100)
    for number in range(50):
        put_asking(broker, [f"one-{number}"], asked(key=f"key-{number}"))
    claimed(child, 100)

    list(broker.walk(QUEUE, mend=True))

    assert set(dump(broker)["turns"]) == {b"0:a", b"0:"}
    put_for(broker, "b", 1)
    assert "b-000" in claimed(child, 3)


def test_the_numbers_of_jobs_without_keys_go_on_behind(broker: Broker) -> None:
    put_for(broker, "a", 10, weight=0.1)
    put(broker, ["one"])
    put(broker, ["two", "three"])

    assert claimed(Child(broker), 13)[10:] == ["one", "two", "three"]
