"""exchange, the claiming half: who gets which jobs, once, and only with a lease that holds."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker, Exchange, Limits
from django_taskq.broker.connection import Server
from django_taskq.job import FRESH, Grant, State
from tests.broker.helpers import (
    DAY,
    ENVELOPE,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    draft,
    dump,
    endings,
    live,
    members,
    meta,
    outcome,
    parked,
    put,
    ready,
    scores,
    states,
    take_token,
    tokens,
    without_envelope,
)


def ids(grants: list[Grant]) -> str:
    return "".join(grant.id for grant in grants)


def test_a_claim_takes_the_first_jobs_and_says_all_about_them(broker: Broker, clock: Any) -> None:
    put(broker, "abc")
    child = Child(broker)

    answer = child.exchange(2)

    assert child.last
    number = child.last.request
    record = FRESH._replace(fence=1, started=clock.now, request=number, holder=child.holder)
    assert answer.grants == [Grant(QUEUE, id, ENVELOPE, record) for id in "ab"]
    assert (answer.now, answer.alive, answer.left, answer.verdicts) == (clock.now, True, 1, "")
    assert states(broker) == {"ready": ["c"], "running": ["a", "b"]}
    assert live(broker, "a") == record


def test_running_jobs_stand_at_the_ms_of_their_claim_in_the_order_of_it(
    broker: Broker, clock: Any
) -> None:
    names = [f"job-{number}" for number in range(500, 0, -1)]
    put(broker, names)

    Child(broker).claim(500)

    assert members(broker, "running") == names
    assert {score // 1000 for score in scores(broker, "running").values()} == {clock.now}


def test_nothing_is_claimed_from_an_empty_queue(broker: Broker) -> None:
    answer = Child(broker).exchange(5)

    assert (answer.alive, answer.left, answer.grants) == (True, 0, [])


def test_what_is_wanted_is_not_exceeded(broker: Broker) -> None:
    put(broker, "abcde")
    child = Child(broker)

    assert [ids(child.claim(want)) for want in (0, 1, 3, 9)] == ["", "a", "bcd", "e"]


def test_several_queues_are_asked_in_one_call(broker: Broker) -> None:
    put(broker, "ab", queue="one")
    put(broker, "c", queue="two")
    one, two = Child(broker, queue="one"), Child(broker, queue="two")
    one.exchange(), two.exchange()
    assert one.last
    assert two.last

    answers = broker.exchange([one.last._replace(want=1), two.last._replace(want=2)])

    assert [ids(answer.grants) for answer in answers] == ["a", "c"]
    assert [answer.left for answer in answers] == [1, 0]


# -- fences ----------------------------------------------------------------------------------------


def test_the_fence_rises_at_claim_and_reclaim_and_nowhere_else(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    seen = []

    def look(step: str) -> None:
        seen.append((step, live(broker, "a").fence))

    def claim() -> Grant:
        (grant,) = child.claim()
        look("claim")
        assert grant.live.fence == live(broker, "a").fence
        return grant

    put(broker, "a", priority=1, due=-10)
    look("enqueue")
    clock.forward(10)
    broker.promote(QUEUE, "keeper")
    look("promote")
    child.settle(outcome(claim(), "R", FAILURE, 10))
    look("retrying")
    clock.forward(10)
    broker.promote(QUEUE, "keeper")
    look("promote")
    child.settle(outcome(claim(), "Z", delay=10))
    look("snoozed")
    broker.renew([QUEUE], [child.holder], LEASE)
    look("renew")
    clock.forward(10)
    broker.promote(QUEUE, "keeper")
    child.settle(outcome(claim(), "G"))
    look("given back")
    broker.park(QUEUE, [parked(claim())])
    look("park")
    clock.forward(1000)
    broker.release(QUEUE, TASK)
    look("release")
    child.settle(outcome(claim(), "S", b"1", DAY))
    look("succeeded")
    broker.retry(QUEUE, ["a"])
    look("retry")
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    look("cancel")
    broker.retry(QUEUE, ["a"])
    claim()
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True)
    look("reclaim")
    broker.retry(QUEUE, ["a"])
    child = Child(broker, "next")
    claim()
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    look("cancel")

    rises = {"claim", "reclaim"}
    fences = [fence for _, fence in seen]
    expected, fence = [], 0
    for step, _ in seen:
        fence += step in rises
        expected.append(fence)
    assert fences == expected, seen
    assert fence == 8


# -- sent again ------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("age", [1, 500, WINDOW])
def test_a_claim_sent_again_finds_its_jobs_and_claims_no_more(
    broker: Broker, clock: Any, others: int, age: int
) -> None:
    put(broker, "zyxabc")
    child = Child(broker)
    first = child.exchange(3)
    assert ids(first.grants) == "zyx"
    clock.forward(age)
    Child(broker, "other").claim(others)
    before = dump(broker)

    again = child.again()

    assert again.grants == first.grants
    assert dump(broker) == before


def test_a_claim_that_never_arrived_is_done_when_it_is_sent_again(
    broker: Broker, clock: Any
) -> None:
    put(broker, "abcd")
    child = Child(broker)
    child.claim(1)
    Child(broker, "other").claim(1)
    assert child.last
    child.last = child.last._replace(request=99_999, want=2)  # was written to a dead connection

    assert ids(child.again().grants) == "cd"
    assert ids(child.again().grants) == "cd"


def test_a_claim_that_found_nothing_finds_nothing_when_it_is_sent_again(broker: Broker) -> None:
    child = Child(broker)
    assert child.claim(2) == []
    put(broker, "a")

    assert child.again().grants == []
    assert ids(child.claim(2)) == "a"


def test_another_request_at_the_same_moment_is_not_taken_for_the_first(broker: Broker) -> None:
    put(broker, "abcd")
    child, twin = Child(broker), Child(broker, "twin")
    child.claim(1)
    twin.claim(1)  # the same number of a request, another holder
    child.claim(1)  # the same holder, another request

    assert ids(child.again().grants) == "c"
    assert ids(twin.again().grants) == "b"


def test_a_claim_that_arrives_after_it_was_sent_again_claims_nothing(broker: Broker) -> None:
    put(broker, "abc")
    child = Child(broker)
    late = Exchange(QUEUE, child.holder, LEASE, True, 10_000, 1)
    again = late._replace(resent=True)

    assert ids(broker.exchange([again])[0].grants) == "a"
    assert broker.exchange([late])[0].grants == []
    assert ids(broker.exchange([late._replace(request=10_001)])[0].grants) == "b"


def test_what_was_settled_since_is_not_found_again(broker: Broker) -> None:
    put(broker, "ab")
    child = Child(broker)
    a, b = child.claim(2)
    claim = child.last
    child.settle(outcome(a, "S", b"1"))
    child.last = claim

    assert ids(child.again().grants) == "b"
    assert b.id == "b"


@pytest.mark.parametrize("how", ["over this ms", "marked dead", "never registered"])
def test_who_lost_the_lease_does_not_find_what_the_first_sending_claimed(
    broker: Broker, clock: Any, how: str
) -> None:
    put(broker, "ab")
    child = Child(broker)
    child.claim(1)
    assert child.last
    child.last = child.last._replace(first=False)
    LOST[how](broker, clock, child)

    answer = child.again()

    assert (answer.alive, answer.grants) == (False, [])


def test_settling_and_claiming_in_one_call_can_both_be_sent_again(broker: Broker) -> None:
    put(broker, "abcd")
    child = Child(broker)
    a, b = child.claim(2)
    first = child.exchange(1, [outcome(a, "S", b"1", DAY), outcome(b, "G")])
    assert (first.verdicts, ids(first.grants)) == ("OO", "b")
    before = dump(broker)

    again = child.again()

    # b was given back and came to this very child again, with another fence.
    assert (again.verdicts, again.grants) == ("DD", first.grants)
    assert dump(broker) == before


def test_a_retried_job_brings_its_failures_whenever_it_is_asked_for(
    broker: Broker, clock: Any
) -> None:
    put(broker, "ab")
    child = Child(broker)
    a, b = child.claim(2)
    child.settle(outcome(a, "R", b"one", 10), outcome(b, "Z", delay=10))
    clock.forward(10)
    broker.promote(QUEUE, "keeper")

    first = child.exchange(2)

    assert {grant.id: grant.errors for grant in first.grants} == {"a": b"one", "b": b""}
    assert child.again().grants == first.grants


def test_a_job_that_was_retried_by_a_person_starts_without_its_failures(broker: Broker) -> None:
    put(broker, "a")
    child = Child(broker)
    child.settle(outcome(child.claim()[0], "D", b"one", DAY))
    broker.retry(QUEUE, ["a"])

    first = child.exchange(1)

    assert [(grant.live.attempt, grant.errors) for grant in first.grants] == [(0, b"")]
    assert child.again().grants == first.grants


# -- leases ----------------------------------------------------------------------------------------


def test_the_first_claim_registers_the_holder(broker: Broker, clock: Any) -> None:
    child = Child(broker)

    assert child.exchange(1).alive

    assert scores(broker, "holders") == {child.holder: clock.now + LEASE}


def test_a_claim_does_not_renew_the_lease(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    child.exchange(1)
    end = scores(broker, "holders")
    clock.forward(LEASE // 2)

    child.exchange(1)

    assert scores(broker, "holders") == end


LOST = {
    "never registered": lambda broker, clock, child: broker.server.command(
        "DEL", broker.key(QUEUE, "holders")
    ),
    "over this ms": lambda broker, clock, child: clock.forward(LEASE),
    "over for long": lambda broker, clock, child: clock.forward(10 * LEASE),
    "marked dead": lambda broker, clock, child: broker.server.command(
        "ZADD", broker.key(QUEUE, "holders"), 0, child.holder
    ),
}


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("resent", [False, True])
def test_a_holder_without_a_lease_claims_nothing_but_what_it_did_counts(
    broker: Broker, clock: Any, how: str, resent: bool
) -> None:
    put(broker, "abcd")
    child = Child(broker)
    a, b = child.claim(2)
    LOST[how](broker, clock, child)
    holders = scores(broker, "holders")

    answer = child.exchange(2, [outcome(a, "S", b"1", DAY)], first=False, resent=resent)

    assert (answer.alive, answer.verdicts, answer.grants, answer.left) == (False, "O", [], 2)
    assert states(broker) == {"ready": ["c", "d"], "running": ["b"], "succeeded": ["a"]}
    assert scores(broker, "holders") == holders
    assert b.id == "b"


def test_the_last_ms_of_a_lease_is_as_good_as_the_first(broker: Broker, clock: Any) -> None:
    child = Child(broker)
    child.exchange(0)
    put(broker, "a")
    clock.forward(LEASE - 1)

    assert ids(child.exchange(1, first=False).grants) == "a"


@pytest.mark.parametrize("how", ["over this ms", "over for long", "marked dead"])
def test_to_register_does_not_revive_a_lease(broker: Broker, clock: Any, how: str) -> None:
    child = Child(broker)
    child.exchange(0)
    put(broker, "a")
    LOST[how](broker, clock, child)

    assert not child.exchange(1, first=True).alive
    assert ready(broker) == ["a"]


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize(("want", "left"), [(0, 1), (1, 1), (2, 1), (3, 0), (9, 0)])
def test_a_token_stands_exactly_while_jobs_are_left(
    broker: Broker, taken: bool, want: int, left: int
) -> None:
    put(broker, "abc")
    if taken:
        take_token(broker)

    answer = Child(broker).exchange(want)

    assert answer.left == 3 - min(want, 3)
    assert tokens(broker) == left


def test_who_may_not_claim_passes_the_token_on(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    take_token(broker)

    assert not Child(broker).exchange(1, first=False).alive

    assert tokens(broker) == 1


# -- broken jobs -----------------------------------------------------------------------------------


def test_an_id_without_an_envelope_is_put_aside_and_the_rest_is_granted(
    broker: Broker, clock: Any
) -> None:
    put(broker, "abcd")
    without_envelope(broker, "b", "d")

    child = Child(broker)
    with endings(broker) as heard:
        grants = child.claim(9)
        assert heard.next() == ["b", "d"]

    assert ids(grants) == "ac"
    assert states(broker) == {"running": ["a", "c"], "dead": ["b", "d"]}
    assert meta(broker, "quarantined") == 2
    assert child.last
    assert live(broker, "b") == FRESH._replace(
        fence=1, settled=1, started=clock.now, ended=clock.now, request=child.last.request
    )
    assert tokens(broker) == 0


def test_nothing_but_broken_jobs_grants_nothing(broker: Broker) -> None:
    put(broker, "ab")
    without_envelope(broker, "a", "b")

    assert Child(broker).claim(9) == []
    assert states(broker) == {"dead": ["a", "b"]}


@pytest.mark.parametrize(("retention", "kept"), [(0, WINDOW), (DAY, DAY)])
def test_a_broken_job_is_kept_as_long_as_the_dead_are(
    server: Server, prefix: str, clock: Any, retention: int, kept: int
) -> None:
    broker = Broker(server, prefix, Limits(dead_retention=retention), clock)
    put(broker, "a")
    without_envelope(broker, "a")

    Child(broker).claim(1)

    assert scores(broker, "dead") == {"a": clock.now + kept}


@pytest.mark.parametrize("state", [State.READY, State.SCHEDULED])
def test_priority_survives_whatever_brings_a_job_back(
    broker: Broker, clock: Any, state: State
) -> None:
    """From its place to its record at the claim, and back."""
    broker.enqueue(QUEUE, [draft("low", -3), draft("high", 8), draft("plain")])
    child = Child(broker)
    grants = child.claim(3)
    kind, delay = ("G", 0) if state is State.READY else ("Z", 5)

    child.settle(*[outcome(grant, kind, delay=delay) for grant in grants[::-1]])
    clock.forward(5)
    broker.promote(QUEUE, "keeper")

    assert ready(broker) == ["high", "plain", "low"]


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000 - LEASE])
def test_a_claim_sent_again_finds_its_jobs_though_the_clock_was_set(
    broker: Broker, clock: Any, step: int
) -> None:
    put(broker, "ab")
    child = Child(broker)
    first = child.exchange(2)
    broker.renew([QUEUE], [child.holder], 3_600_000)
    clock.forward(step)

    assert child.again().grants == first.grants
