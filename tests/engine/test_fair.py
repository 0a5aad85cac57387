"""``fair_by=``: keys of a queue take turns, so that much of one delays little of another."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from tests.engine.support import Hand
from tests.engine.tasks import add, fair


def order(hand: Hand, most: int = 500) -> list[str]:
    """The jobs in the order in which they are claimed, one by one."""
    found: list[Any] = []
    while len(found) < most and (grants := hand.claim(1)):
        (outcome,) = map(hand.attempt, grants)
        hand.settle(outcome)
        found.append(outcome.blob.decode().strip('"'))
    return found


def test_a_key_with_many_jobs_lets_another_pass(hand: Hand) -> None:
    fair.enqueue_many([("a", n) for n in range(300)])
    fair.enqueue("b", 0)
    assert "b0" in order(hand, 3)


def test_keys_take_turns_and_each_keeps_its_order(hand: Hand) -> None:
    fair.enqueue_many([(tenant, n) for tenant in "abc" for n in range(4)])
    line = order(hand)
    rounds = [sorted(job[0] for job in line[at : at + 3]) for at in range(0, 12, 3)]
    assert rounds == [["a", "b", "c"]] * 4
    for tenant in "abc":
        assert [job for job in line if job[0] == tenant] == [f"{tenant}{n}" for n in range(4)]


def test_a_weight_is_so_many_turns(hand: Hand) -> None:
    fair.enqueue_many([("gold", n) for n in range(30)])
    fair.enqueue_many([("tin", n) for n in range(10)])
    line = [job.rstrip("0123456789") for job in order(hand)][:24]
    assert 17 <= line.count("gold") <= 19
    assert max(len(list(run)) for tenant, run in groupby(line) if tenant == "gold") <= 4


def test_who_comes_later_has_no_turns_saved_up(hand: Hand) -> None:
    fair.enqueue_many([("a", n) for n in range(20)])
    order(hand, 10)
    fair.enqueue_many([("b", n) for n in range(10)])
    line = [job[0] for job in order(hand)]
    assert line.count("a") == 10
    assert "bbb" not in "".join(line[:12])


def test_a_priority_goes_before_a_turn(hand: Hand) -> None:
    fair.enqueue_many([("a", n) for n in range(3)])
    fair.using(priority=1).enqueue("a", 9)
    assert order(hand)[0] == "a9"


def test_jobs_without_a_key_keep_their_order_beside_them(hand: Hand) -> None:
    add.enqueue_many([(n,) for n in range(3)])
    fair.enqueue("a", 0)
    add.enqueue(3)
    line = order(hand)
    assert [job for job in line if job != "a0"] == ["0", "1", "2", "3"]


def test_using_may_take_a_job_out_of_its_turn(hand: Hand) -> None:
    fair.enqueue_many([("a", n) for n in range(5)])
    fair.using(fair_by=None, fair_weights=None).enqueue("b", 0)
    assert order(hand)[-1] == "b0"


def test_a_retried_job_takes_its_turn_again(hand: Hand) -> None:
    first = fair.enqueue("a", 0)
    hand.run()
    fair.enqueue_many([("b", n) for n in range(50)])
    assert first.retry()
    assert "a0" in order(hand, 3)
