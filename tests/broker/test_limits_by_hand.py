"""Numbers that a person gives a limit: they count until it is given back to those of the code."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.asks import pack_numbers
from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.broker.inspector import Inspector, LimitState
from django_taskq.broker.replies import letters
from django_taskq.broker.steering import MOST_LOOKS, Limited, Steering
from django_taskq.exceptions import BrokerFull
from django_taskq.limits import Limit, Rate, check_rate
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    TASK,
    Child,
    asked,
    at_once,
    claimed,
    draft,
    dump,
    outcome,
    per_time,
    put_asking,
    ready,
    refuse_later,
    states,
)


def limit(broker: Broker, numbers: Limit | None, name: str = "g") -> Limited:
    return Steering(broker).limit(QUEUE, name, numbers)


def rate(text: str) -> Limit:
    return Limit(None, check_rate(text, "rate"))


def promote(broker: Broker) -> int:
    return broker.promote(QUEUE, "keeper", force=True).moved


# -- at once ---------------------------------------------------------------------------------------


def test_a_limit_that_is_raised_lets_in_those_who_wait_at_once(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcdef", asked(at_once(1)))
    assert claimed(child) == ["a"]

    assert limit(broker, Limit(4)) == Limited("O", 3)

    assert ready(broker) == ["b", "c", "d"]
    assert claimed(child) == ["b", "c", "d"]
    assert states(broker)["waiting"] == ["e", "f"]


def test_a_limit_that_is_lowered_lets_nobody_in_until_enough_have_left(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcdef", asked(at_once(3)))
    running = child.claim(10)

    assert limit(broker, Limit(1)) == Limited("O", 0)

    for grant in running[:2]:
        assert child.exchange(10, [outcome(grant, "S")]).grants == []
    answer = child.exchange(10, [outcome(running[2], "S")])
    assert [grant.id for grant in answer.grants] == ["d"]


def test_many_that_leave_a_lowered_limit_at_once_let_in_as_many_as_it_has_room_for(
    broker: Broker,
) -> None:
    child = Child(broker)
    put_asking(broker, "abcdefgh", asked(at_once(5)))
    running = child.claim(10)
    limit(broker, Limit(2))

    answer = child.exchange(10, [outcome(grant, "S") for grant in running])

    assert [grant.id for grant in answer.grants] == ["f", "g"]


@pytest.mark.parametrize("most", [1, 9])
def test_jobs_of_the_code_do_not_undo_it(broker: Broker, most: int) -> None:
    put_asking(broker, "abcde", asked(at_once(4)))
    limit(broker, Limit(2))

    put_asking(broker, "xyz", asked(at_once(most)))

    assert claimed(Child(broker)) == ["a", "b"]


def test_given_back_it_goes_by_the_latest_numbers_of_the_code(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcdef", asked(at_once(4)))
    limit(broker, Limit(1))
    put_asking(broker, "xyz", asked(at_once(3)))
    assert claimed(child) == ["a"]

    assert limit(broker, None) == Limited("O", 2)

    assert claimed(child) == ["b", "c"]
    assert dump(broker)["limits"] == {b"g": pack_numbers(Limit(3))}


def test_what_was_given_back_goes_by_the_code_from_then_on(broker: Broker) -> None:
    put_asking(broker, "a", asked(at_once(4)))
    limit(broker, Limit(1))
    limit(broker, None)

    put_asking(broker, "bcd", asked(at_once(2)))

    assert claimed(Child(broker)) == ["a", "b"]


def test_a_limit_that_no_job_ever_came_with_is_unknown(broker: Broker) -> None:
    put_asking(broker, "a", asked(at_once(4)))
    before = dump(broker)

    assert limit(broker, Limit(1), "other") == Limited("U", 0)
    assert limit(broker, None, "other") == Limited("U", 0)

    assert dump(broker) == before


def test_what_was_so_before_is_said(broker: Broker) -> None:
    put_asking(broker, "a", asked(at_once(4)))
    assert limit(broker, None).letter == "S"
    assert limit(broker, Limit(4)).letter == "O"  # the same numbers, and now they stay
    assert limit(broker, Limit(4)).letter == "S"
    put_asking(broker, "bc", asked(at_once(1)))

    assert claimed(Child(broker)) == ["a", "b", "c"]


def test_the_other_limits_of_a_job_still_hold(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abc", asked(at_once(1), at_once(2, "h")))
    assert claimed(child) == ["a"]

    assert limit(broker, Limit(9)).let_in == 2

    assert claimed(child) == ["b"]
    assert states(broker)["waiting"] == ["c"]


def test_a_limit_that_is_lowered_keeps_out_those_in_line(broker: Broker) -> None:
    put_asking(broker, "abc", asked(at_once(3)))
    limit(broker, Limit(1))

    assert claimed(Child(broker)) == ["a"]


# -- in a time -------------------------------------------------------------------------------------


def test_a_rate_that_is_raised_lets_in_those_who_wait_for_the_old_one(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcd", asked(per_time("1/h")))
    assert claimed(child) == ["a"]

    assert limit(broker, rate("2/s"), "r") == Limited("O", 2)

    assert claimed(child) == ["b", "c"]


def test_a_rate_goes_on_in_its_new_time(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "abcd", asked(per_time("1/h")))
    claimed(child)
    limit(broker, rate("60/m"), "r")
    line = []
    for _ in range(3):
        line.append(claimed(child))
        clock.forward(1_000)
        promote(broker)

    assert line == [["b"], ["c"], ["d"]]


def test_who_finds_no_room_at_a_new_rate_is_let_in_in_time(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "ab", asked(per_time("60/m")))
    assert claimed(child) == ["a"]

    assert limit(broker, rate("30/m"), "r") == Limited("O", 0)

    clock.forward(999)
    assert promote(broker) == 0
    clock.forward(1)
    assert promote(broker) == 1


def test_a_rate_becomes_a_number_at_once_and_back(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    put_asking(broker, "abcde", asked(per_time("1/h")))
    assert claimed(child) == ["a"]
    limit(broker, Limit(3), "r")
    assert claimed(child) == ["b", "c"]

    limit(broker, None, "r")

    assert claimed(child) == []
    clock.forward(3_600_000)
    promote(broker)
    assert claimed(Child(broker, "later")) == ["d"]


# -- keys ------------------------------------------------------------------------------------------


def of_tenant(name: str, most: int) -> bytes:
    """What a job asks for whose limit has a gate for each tenant."""
    return asked(pack_numbers(Limit(most)) + b"key:{tenant}\0" + f"key:{name}".encode() + b"\0")


def test_all_keys_of_a_limit_go_by_its_numbers(broker: Broker) -> None:
    child = Child(broker)
    for tenant in "xyz":
        put_asking(broker, [f"{tenant}{n}" for n in range(3)], of_tenant(tenant, 1))
    put_asking(broker, ["a", "b"], asked(at_once(1)))
    assert claimed(child) == ["x0", "y0", "z0", "a"]

    assert limit(broker, Limit(2), "key:{tenant}") == Limited("O", 3)

    assert claimed(child) == ["x1", "y1", "z1"]
    assert limit(broker, Limit(5), "key:x").letter == "U"


def test_nobody_is_let_in_at_other_limits(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcde", asked(at_once(2, "h")))
    put_asking(broker, "x", asked(at_once(1)))
    first, *_ = child.claim(10)
    child.settle(outcome(first, "S"))
    assert ready(broker) == ["c"]  # for whom there is room

    assert limit(broker, Limit(3)) == Limited("O", 0)

    assert ready(broker) == ["c"]


def crowd(broker: Broker, count: int) -> None:
    """So many tenants, of whom each has one job inside and one that waits."""
    tenants = [f"{n:03}" for n in range(count)]
    broker.enqueue(
        QUEUE,
        [draft(f"{name}-{n}")._replace(ask=of_tenant(name, 1)) for name in tenants for n in "ab"],
    )
    child = Child(broker)
    for _ in range(4):
        child.claim(500)


def test_a_call_looks_at_a_hundred_gates_and_says_where_to_go_on(broker: Broker) -> None:
    crowd(broker, HOUSEKEEPING + 50)
    args = ("token", b"key:{tenant}", pack_numbers(Limit(2)), "", -1)
    call = broker.operator_call("limit", QUEUE, args, timed=True)

    assert broker.server.call(call) == b"O 100 -1 key:100"
    assert limit(broker, Limit(2), "key:{tenant}") == Limited("S", 50)


@pytest.mark.parametrize("after", [0, 1])
def test_a_later_call_that_is_refused_says_that_some_was_done(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    crowd(broker, HOUSEKEEPING + 1)
    refuse_later(monkeypatch, "limit", after)

    with pytest.raises(BrokerFull) as refused:
        limit(broker, Limit(2), "key:{tenant}")

    assert refused.value.maybe_sent is bool(after)
    assert len(ready(broker)) == after * HOUSEKEEPING


def test_a_call_lets_in_five_hundred_and_says_how_many_more_may_come(broker: Broker) -> None:
    child = Child(broker)
    for n in range(4):
        put_asking(broker, [f"{n}-{at:03}" for at in range(300)], asked(at_once(1)))
    assert len(child.claim(500)) == 1
    for _ in range(4):
        child.claim(500)
    args = ("token", b"g", pack_numbers(Limit(801)), "", -1)
    call = broker.operator_call("limit", QUEUE, args, timed=True)

    assert broker.server.call(call) == b"O 500 300 g"
    child.claim(200)  # some are inside already when it goes on
    args = ("token-2", b"g", pack_numbers(Limit(801)), "g", 300)
    call = broker.operator_call("limit", QUEUE, args, timed=True)
    assert broker.server.call(call) == b"S 300 0 "
    assert len(claimed(child, 500) + claimed(child, 500)) == 600


def test_as_many_as_a_person_waits_for_are_let_in(broker: Broker) -> None:
    child = Child(broker)
    for n in range(4):
        put_asking(broker, [f"{n}-{at:03}" for at in range(300)], asked(at_once(1)))
    for _ in range(6):
        child.claim(500)

    assert limit(broker, Limit(1_000)) == Limited("O", 999)
    assert MOST_LOOKS > 2


# -- sent again ------------------------------------------------------------------------------------


def test_a_limit_sent_again_changes_nothing_more(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcdef", asked(at_once(1)))
    claimed(child)
    args = ("token", b"g", pack_numbers(Limit(3)), "", -1)
    call = broker.operator_call("limit", QUEUE, args, timed=True)
    assert letters(broker.server.call(call)) == "O 2 0 "
    limit(broker, Limit(2))
    claimed(child)
    before = dump(broker)

    assert letters(broker.server.call(call)) == "O 2 0 "

    assert dump(broker) == before


def test_what_was_so_before_is_not_done_over_another_s_numbers_when_it_is_sent_again(
    broker: Broker,
) -> None:
    put_asking(broker, "a", asked(at_once(1)))
    limit(broker, Limit(10))
    args = ("token", b"g", pack_numbers(Limit(10)), "", -1)
    call = broker.operator_call("limit", QUEUE, args, timed=True)
    assert letters(broker.server.call(call)) == "S 0 0 "
    limit(broker, Limit(2))
    before = dump(broker)

    assert letters(broker.server.call(call)) == "S 0 0 "

    assert dump(broker) == before
    assert dump(broker)["limits"] == {b"g": pack_numbers(Limit(2)) + pack_numbers(Limit(1))}


@pytest.mark.parametrize("numbers", [Limit(9), None])
def test_a_call_that_goes_on_stops_where_the_numbers_are_others_by_now(
    broker: Broker, numbers: Limit | None
) -> None:
    child = Child(broker)
    put_asking(broker, "abcd", asked(at_once(1)))
    claimed(child)
    limit(broker, Limit(2))
    claimed(child)
    before = dump(broker)
    packed = pack_numbers(numbers) if numbers else b""
    args = ("token", b"g", packed, "g", 5)

    call = broker.operator_call("limit", QUEUE, args, timed=True)
    assert letters(broker.server.call(call)) == "S 0 0 "

    assert dump(broker) == before


def test_what_did_nothing_is_not_remembered(broker: Broker) -> None:
    put_asking(broker, "a", asked(at_once(1)))
    limit(broker, Limit(3), "other")

    assert dump(broker)["answers"] == {}


# -- what is seen ----------------------------------------------------------------------------------


def test_numbers_by_hand_are_shown_beside_those_of_the_code(broker: Broker) -> None:
    inspector = Inspector(broker)
    put_asking(broker, "abc", asked(at_once(2), per_time(Rate(60, 60, burst=5), most=7)))
    Child(broker).claim()
    limit(broker, Limit(1))

    found = inspector.limits(QUEUE)

    one, other = found.found
    assert (one.name, one.code, one.by_hand, one.numbers) == ("g", Limit(2), Limit(1), Limit(1))
    assert other == LimitState("r", Limit(7, Rate(1, 1, burst=5)), None, other.gates)
    assert [(gate.name, gate.limit, gate.inside) for gate in found.gates] == [
        ("g", "g", 1),
        ("r", "r", 1),
    ]
    assert found.total == 2
    assert found.get("x") is None


def test_the_gates_of_a_limit_are_found_with_it(broker: Broker) -> None:
    for tenant in "xy":
        put_asking(broker, [f"{tenant}{n}" for n in range(3)], of_tenant(tenant, 1))
    Child(broker).claim(10)

    (found,) = Inspector(broker).limits(QUEUE).found

    assert (found.name, found.waiting, found.inside) == ("key:{tenant}", 4, 2)
    assert [gate.name for gate in found.gates] == ["key:x", "key:y"]


def test_of_thousands_of_limits_one_is_found_by_its_name(broker: Broker) -> None:
    for start in range(0, 2_000, 500):
        names = [f"key:{start + n}" for n in range(500)]
        jobs = [draft(name)._replace(ask=asked(at_once(3, name))) for name in names]
        broker.enqueue(QUEUE, jobs)
    inspector = Inspector(broker)

    some, named = inspector.limits(QUEUE), inspector.limits(QUEUE, ["key:1777", "key:none"])

    assert some.total == 2_000
    assert HOUSEKEEPING <= len(some.found) < 3 * HOUSEKEEPING
    wanted = named.get("key:1777")
    assert wanted
    assert wanted.numbers == Limit(3)
    assert named.get("key:none") is None


def test_numbers_that_cannot_be_read_are_none(broker: Broker) -> None:
    put_asking(broker, "ab", asked(at_once(1)))
    key = broker.key(QUEUE, "limits")
    for raw in (b"x", b"\xff" * 20, b"\xff" * 40, b"x" * 30):
        broker.server.command("HSET", key, "g", raw)
        (found,) = Inspector(broker).limits(QUEUE).found
        assert (found.code, found.by_hand) == (None, None)
    put_asking(broker, "c", asked(at_once(2)))

    assert claimed(Child(broker)) == ["a", "b"]


def test_a_cancel_lets_in_the_next_by_the_numbers_of_a_person(broker: Broker) -> None:
    child = Child(broker)
    put_asking(broker, "abcd", asked(at_once(1)))
    claimed(child)
    limit(broker, Limit(2))
    assert ready(broker) == ["b"]

    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)

    assert claimed(child) == ["c"]
