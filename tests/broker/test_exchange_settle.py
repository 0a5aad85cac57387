"""exchange, the settling half: where a job rests, what is kept of it, and that it counts once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from django_taskq.broker.broker import Broker, Limits
from django_taskq.broker.connection import Server
from django_taskq.job import Grant, Kind, State
from tests.broker.helpers import (
    DAY,
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
    put,
    ready,
    scores,
    seed,
    state_of,
    states,
    take_token,
    tokens,
    traces,
)

KINDS = "SRDCZG"
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def child(broker: Broker) -> Child:
    return Child(broker)


@pytest.fixture
def running(broker: Broker, child: Child) -> Grant:
    """A job that ``child`` runs."""
    put(broker, "a")
    return child.claim()[0]


def stored(broker: Broker, id: str, key: str) -> bytes | None:
    return broker.server.command("HGET", broker.key(QUEUE, key), id)


# -- where it rests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "state", "delay", "score", "attempts"),
    [
        ("S", "succeeded", DAY, DAY, 1),
        ("S", "succeeded", 0, WINDOW, 1),  # its settle may be sent again that long
        ("D", "dead", DAY, DAY, 1),
        ("D", "dead", 0, WINDOW, 1),
        ("C", "cancelled", DAY, DAY, 1),
        ("C", "cancelled", 9, WINDOW, 1),
        ("R", "retrying", 5000, 5000, 1),
        ("R", "retrying", 0, 0, 1),
        ("Z", "scheduled", 5000, 5000, 0),
        ("Z", "scheduled", 0, 0, 0),
        ("G", "ready", 0, None, 0),
    ],
)
def test_an_outcome_decides_state_time_and_attempts(
    broker: Broker,
    clock: Any,
    child: Child,
    running: Grant,
    kind: str,
    state: str,
    delay: int,
    score: int | None,
    attempts: int,
) -> None:
    clock.forward(70)

    assert child.settle(outcome(running, kind, FAILURE, delay, started=clock.now - 60)) == "O"

    assert states(broker) == {state: ["a"]}
    if score is not None:
        assert scores(broker, state) == {"a": clock.now + score}
    assert live(broker, "a").attempt == attempts


@pytest.mark.parametrize(("delay", "score"), [(0, WINDOW), (5000, WINDOW), (DAY, DAY)])
def test_the_same_delay_means_different_things_in_one_call(
    broker: Broker, clock: Any, child: Child, delay: int, score: int
) -> None:
    """A retry's wait may be short; what ended is kept for as long as it may be told again."""
    put(broker, "RSZ")
    grants = child.claim(3)

    child.settle(*[outcome(grant, grant.id, delay=delay) for grant in grants])

    assert scores(broker, "retrying") == {"R": clock.now + delay}
    assert scores(broker, "scheduled") == {"Z": clock.now + delay}
    assert scores(broker, "succeeded") == {"S": clock.now + score}


def test_all_kinds_can_be_settled_in_one_call(broker: Broker, child: Child) -> None:
    put(broker, KINDS)
    grants = child.claim(9)

    verdicts = child.settle(*[outcome(grant, grant.id, FAILURE, DAY) for grant in grants])

    assert verdicts == "OOOOOO"
    assert states(broker) == {
        "succeeded": ["S"],
        "retrying": ["R"],
        "dead": ["D"],
        "cancelled": ["C"],
        "scheduled": ["Z"],
        "ready": ["G"],
    }


@pytest.mark.parametrize(
    ("kind", "result", "error"),
    [
        ("S", b"blob", None),
        ("R", None, b"blob"),
        ("D", None, b"blob"),
        ("C", None, b"blob"),
        ("Z", None, b"blob"),
    ],
)
def test_values_and_failures_are_kept(
    broker: Broker, child: Child, running: Grant, kind: str, result: bytes, error: bytes
) -> None:
    child.settle(outcome(running, kind, b"blob", DAY))

    assert (stored(broker, "a", "results"), stored(broker, "a", "errors")) == (result, error)


@every_kind
def test_an_empty_blob_stores_nothing(
    broker: Broker, child: Child, running: Grant, kind: str
) -> None:
    child.settle(outcome(running, kind, b"", DAY))

    found = dump(broker)
    assert found["results"] == found["errors"] == {}


def test_failures_add_up_and_the_oldest_go_when_they_are_many(
    broker: Broker, clock: Any, child: Child, running: Grant
) -> None:
    lines = [b"%d" % number * 10_000 for number in range(10)]
    grant = running
    for line in lines:
        child.settle(outcome(grant, "R", line))
        broker.promote(QUEUE, "keeper")
        (grant,) = child.claim()

    assert grant.errors.split(b"\n") == lines[-6:]  # of 64 KiB
    assert grant.live.attempt == 10


def test_one_failure_is_kept_however_long_it_is(
    broker: Broker, child: Child, running: Grant
) -> None:
    child.settle(outcome(running, "D", b"x" * 100_000, DAY))

    assert stored(broker, "a", "errors") == b"x" * 100_000


def test_only_attempts_that_came_to_something_count(
    broker: Broker, clock: Any, child: Child, running: Grant
) -> None:
    steps = [("Z", 0), ("G", 0), ("R", 1), ("G", 1), ("Z", 1), ("R", 2), ("S", 3)]
    grant = running
    for kind, attempts in steps:
        child.settle(outcome(grant, kind, b"", DAY if kind == "S" else 0))
        assert (kind, live(broker, "a").attempt) == (kind, attempts)
        broker.promote(QUEUE, "keeper")
        grant = next(iter(child.claim()), grant)


def test_a_job_that_is_put_off_again_and_again_keeps_its_expiry(
    broker: Broker, clock: Any, child: Child
) -> None:
    """Which is what ends it: no attempt is counted."""
    put(broker, ["b"], expires_in=100)
    expires = clock.now + 100

    for _ in range(20):
        (grant,) = child.claim()
        assert grant.live.expires == expires
        child.settle(outcome(grant, "Z", b"", 10))
        clock.forward(10)
        broker.promote(QUEUE, "keeper")

    assert clock.now > expires
    (grant,) = child.claim()
    assert (grant.live.expires, grant.live.attempt) == (expires, 0)


def test_when_it_started_and_ended_is_recorded(
    broker: Broker, clock: Any, child: Child, running: Grant
) -> None:
    first = clock.now + 5
    clock.forward(20)
    child.settle(outcome(running, "R", FAILURE, 10, started=first))
    record = live(broker, "a")
    assert (record.first_started, record.started, record.ended) == (first, first, 0)

    clock.forward(10)
    broker.promote(QUEUE, "keeper")
    (grant,) = child.claim()
    clock.forward(30)
    child.settle(outcome(grant, "S", b"1", DAY, started=clock.now - 10))

    record = live(broker, "a")
    assert (record.first_started, record.started, record.ended) == (
        first,
        clock.now - 10,
        clock.now,
    )
    assert record.holder == child.holder


def test_a_job_that_was_given_back_has_not_started(
    broker: Broker, child: Child, running: Grant
) -> None:
    assert live(broker, "a").started

    child.settle(outcome(running, "G"))

    assert (live(broker, "a").started, live(broker, "a").first_started) == (0, 0)


@pytest.mark.parametrize(("kind", "crashes"), [*((kind, 0) for kind in "SRDCZ"), ("G", 1)])
def test_a_run_to_its_end_clears_the_record_of_crashes(
    broker: Broker, child: Child, running: Grant, kind: str, crashes: int
) -> None:
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True, started=["a"])
    child = Child(broker, "next")
    (grant,) = child.claim()
    assert grant.live.crashes == 1

    child.settle(outcome(grant, kind, b"", DAY))

    assert live(broker, "a").crashes == crashes


# -- once ------------------------------------------------------------------------------------------


def reclaimed(broker: Broker, child: Child, clock: Any) -> None:
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True)


def claimed_by_another(broker: Broker, child: Child, clock: Any) -> None:
    reclaimed(broker, child, clock)
    assert len(Child(broker, "another").claim()) == 1


def lapsed_and_settled_by_another(broker: Broker, child: Child, clock: Any) -> None:
    clock.forward(LEASE)
    broker.reclaim(QUEUE, child.holder, FAILURE)
    another = Child(broker, "another")
    another.settle(outcome(another.claim()[0], "S", b"theirs", DAY))


def cancelled_meanwhile(broker: Broker, child: Child, clock: Any) -> None:
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    reclaimed(broker, child, clock)


def called_off_for_another(broker: Broker, child: Child, clock: Any) -> None:
    claimed_by_another(broker, child, clock)
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)


def deleted(broker: Broker, child: Child, clock: Any) -> None:
    cancelled_meanwhile(broker, child, clock)
    clock.forward(100 * DAY)
    assert broker.trim(QUEUE) == 1


MEANWHILE: list[Callable[..., None]] = [
    reclaimed,
    claimed_by_another,
    lapsed_and_settled_by_another,
    cancelled_meanwhile,
    called_off_for_another,
    deleted,
]


@every_kind
@pytest.mark.parametrize("meanwhile", MEANWHILE, ids=lambda function: function.__name__)
def test_an_old_fence_changes_nothing_at_all(
    broker: Broker,
    clock: Any,
    child: Child,
    running: Grant,
    kind: str,
    meanwhile: Callable[..., None],
) -> None:
    meanwhile(broker, child, clock)
    before = dump(broker)

    with endings(broker) as heard:
        verdicts = child.settle(outcome(running, kind, b"mine", 5, started=7), first=False)
        assert heard.nothing()

    assert verdicts == "S"
    assert dump(broker) == before


@every_kind
def test_an_unknown_job_is_not_made_by_settling_it(
    broker: Broker, child: Child, running: Grant, kind: str
) -> None:
    before = dump(broker)

    assert child.settle(outcome(running._replace(id="unknown"), kind, b"1")) == "S"

    assert dump(broker) == before


@pytest.mark.parametrize("state", sorted({*State} - {State.RUNNING}))
def test_a_job_that_does_not_run_cannot_be_settled(broker: Broker, state: State) -> None:
    """Not even by somebody who made up the fence that its record shows."""
    seed(broker, **{state: "a"})
    record = live(broker, "a")
    before = dump(broker)

    verdicts = Child(broker, "seeder").settle(
        outcome(Grant(QUEUE, "a", b"", record), "S", b"1"), first=False
    )

    assert verdicts in ("D", "S")
    assert dump(broker) == before


@every_kind
@pytest.mark.parametrize("age", [0, 1])
def test_a_settle_that_comes_twice_counts_once(
    broker: Broker, clock: Any, child: Child, running: Grant, kind: str, age: int
) -> None:
    child.settle(outcome(running, kind, b"blob", DAY))
    before = dump(broker)
    clock.forward(age)

    with endings(broker) as heard:
        assert child.again().verdicts == "D"
        assert heard.nothing()

    assert dump(broker) == before


@pytest.mark.parametrize("kind", "RZG")
def test_a_settle_that_comes_again_after_the_next_claim_is_known_as_done(
    broker: Broker, clock: Any, child: Child, running: Grant, kind: str
) -> None:
    child.settle(outcome(running, kind, b"blob"))
    broker.promote(QUEUE, "keeper")
    (grant,) = Child(broker, "another").claim()
    before = dump(broker)

    assert child.again().verdicts == "D"
    assert dump(broker) == before
    # Not marked as sent again it is somebody who does not know that he lost the job.
    assert child.settle(outcome(running, kind, b"blob")) == "S"
    assert dump(broker) == before
    assert grant.live.fence == 2


@pytest.mark.parametrize(("one", "two"), [("S", "S"), ("S", "D"), ("R", "S"), ("G", "C")])
def test_a_job_that_is_settled_twice_in_a_call_goes_where_the_first_says(
    broker: Broker, child: Child, running: Grant, one: str, two: str
) -> None:
    verdicts = child.settle(outcome(running, one, b"1", DAY), outcome(running, two, b"2", DAY))

    assert verdicts == "OD"
    homes = {"S": "succeeded", "R": "retrying", "G": "ready"}
    assert states(broker) == {homes[one]: ["a"]}


def test_a_batch_is_settled_whatever_is_wrong_with_one_of_it(
    broker: Broker, clock: Any, child: Child
) -> None:
    put(broker, "abcde")
    a, b, c, d, e = child.claim(5)
    child.settle(outcome(b, "S", b"1", DAY))
    stale = c._replace(live=c.live._replace(fence=9))

    with endings(broker) as heard:
        verdicts = child.settle(
            outcome(a, "S", b"1", DAY),
            outcome(b, "D", FAILURE, DAY),
            outcome(stale, "S", b"1", DAY),
            outcome(d._replace(id="unknown"), "S", b"1", DAY),
            outcome(e, "D", FAILURE, DAY),
        )
        assert heard.next() == ["a", "e"]

    assert verdicts == "ODSSO"
    assert states(broker) == {"running": ["c", "d"], "succeeded": ["a", "b"], "dead": ["e"]}


def test_an_outcome_of_no_known_kind_fails_before_anything_is_written(
    broker: Broker, child: Child
) -> None:
    put(broker, "ab")
    a, b = child.claim(2)
    before = dump(broker)

    with pytest.raises(redis.ResponseError, match="nil value"):
        child.settle(outcome(a, "S", b"1", DAY), outcome(b, Kind.PARKED))

    assert dump(broker) == before


# -- given back ------------------------------------------------------------------------------------


def test_what_is_given_back_stands_in_front_in_its_old_order(broker: Broker, child: Child) -> None:
    put(broker, "zyxwv")
    grants = child.claim(3)

    child.settle(*[outcome(grant, "G") for grant in grants])

    assert "".join(ready(broker)) == "zyxwv"


def test_what_is_given_back_in_several_calls_stands_in_front_each_time(
    broker: Broker, child: Child
) -> None:
    put(broker, "zyxwvu")
    z, y, x, w = child.claim(4)

    child.settle(outcome(x, "G"), outcome(w, "G"))
    put(broker, "t")
    child.settle(outcome(z, "G"), outcome(y, "G"))

    assert "".join(ready(broker)) == "zyxwvut"


def test_what_is_given_back_stands_in_front_of_its_own_priority_only(
    broker: Broker, child: Child
) -> None:
    jobs = [("a", -1), ("b", 0), ("c", 0), ("d", 7), ("e", 7), ("f", -1)]
    broker.enqueue(QUEUE, [draft(id, priority) for id, priority in jobs])
    grants = {grant.id: grant for grant in child.claim(5)}

    child.settle(outcome(grants["b"], "G"), outcome(grants["a"], "G"))
    put(broker, "g")
    child.settle(outcome(grants["d"], "G"), outcome(grants["e"], "G"))
    child.settle(outcome(grants["c"], "G"))

    assert "".join(ready(broker)) == "decbgaf"


def test_what_is_given_back_drops_a_token(broker: Broker, child: Child, running: Grant) -> None:
    assert tokens(broker) == 0

    assert child.exchange(0, [outcome(running, "G")]).left == 1

    assert tokens(broker) == 1


# -- called off ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "verdict", "attempts"),
    [("S", "C", 1), ("R", "C", 1), ("D", "C", 1), ("C", "O", 1), ("Z", "C", 0), ("G", "C", 0)],
)
def test_a_job_whose_cancellation_was_asked_for_ends_cancelled(
    broker: Broker,
    clock: Any,
    child: Child,
    running: Grant,
    kind: str,
    verdict: str,
    attempts: int,
) -> None:
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)

    with endings(broker) as heard:
        assert child.settle(outcome(running, kind, b"blob", 5)) == verdict
        assert heard.next() == ["a"]

    assert states(broker) == {"cancelled": ["a"]}
    assert dump(broker)["cancels"] == {}
    assert (live(broker, "a").attempt, live(broker, "a").ended) == (attempts, clock.now)
    assert tokens(broker) == tokens(broker, "timer") == 0
    assert scores(broker, "cancelled")["a"] >= clock.now + WINDOW


@pytest.mark.parametrize("kind", ["Z", "G", "R", "S"])
@pytest.mark.parametrize(("retention", "kept"), [(0, WINDOW), (3 * DAY, 3 * DAY)])
def test_a_job_that_was_called_off_is_kept_as_long_as_its_task_says(
    broker: Broker,
    clock: Any,
    child: Child,
    running: Grant,
    kind: str,
    retention: int,
    kept: int,
) -> None:
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, retention)

    child.settle(outcome(running, kind, b"", retention if kind == "S" else 5))

    assert scores(broker, "cancelled") == {"a": clock.now + kept}


def test_where_nobody_said_how_long_it_is_kept_a_day(
    broker: Broker, clock: Any, child: Child, running: Grant
) -> None:
    broker.server.command("HSET", broker.key(QUEUE, "cancels"), "a", "cancel")

    child.settle(outcome(running, "G", b"", 5))

    assert scores(broker, "cancelled") == {"a": clock.now + DAY}


def test_only_the_job_that_was_asked_for_is_called_off(broker: Broker, child: Child) -> None:
    put(broker, "abc")
    grants = child.claim(3)
    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)

    assert child.settle(*[outcome(grant, "S", b"1", DAY) for grant in grants]) == "OCO"

    assert states(broker) == {"succeeded": ["a", "c"], "cancelled": ["b"]}


def test_an_old_fence_does_not_use_up_the_cancellation(
    broker: Broker, clock: Any, child: Child, running: Grant
) -> None:
    called_off_for_another(broker, child, clock)
    another = Child(broker, "another")
    grant = running._replace(live=live(broker, "a"))

    assert child.settle(outcome(running, "S", b"1", DAY), first=False) == "S"
    assert another.settle(outcome(grant, "S", b"1", DAY)) == "C"

    assert state_of(broker, "a") == "cancelled"


# -- telling ---------------------------------------------------------------------------------------


def test_what_ended_is_published_in_one_message(broker: Broker, child: Child) -> None:
    put(broker, KINDS)
    grants = child.claim(9)

    with endings(broker) as heard:
        child.settle(*[outcome(grant, grant.id, b"1", DAY) for grant in grants])
        assert heard.next() == ["S", "D", "C"]
        assert heard.nothing()


@pytest.mark.parametrize("kind", "RZG")
def test_what_goes_on_is_not_published(
    broker: Broker, child: Child, running: Grant, kind: str
) -> None:
    with endings(broker) as heard:
        child.settle(outcome(running, kind, b"1", DAY))
        assert heard.nothing()


@pytest.mark.parametrize(("kind", "name"), [("R", "retrying"), ("Z", "scheduled")])
@pytest.mark.parametrize(("delay", "rings"), [(49, 1), (51, 0)])
def test_the_timekeeper_is_told_when_it_is_due_before_the_head(
    broker: Broker, child: Child, kind: str, name: str, delay: int, rings: int
) -> None:
    put(broker, "ab")
    a, b = child.claim(2)
    child.settle(outcome(a, kind, b"", 50))
    assert take_token(broker, "timer")

    child.settle(outcome(b, kind, b"", delay))

    assert tokens(broker, "timer") == rings
    assert len(members(broker, name)) == 2


# -- trimming --------------------------------------------------------------------------------------


def settle_new(broker: Broker, ids: list[str], kind: str = "S", delay: int = DAY) -> None:
    """Runs new jobs to their end."""
    child = Child(broker)
    put(broker, ids)
    child.settle(*[outcome(grant, kind, b"1", delay) for grant in child.claim(len(ids))])


@pytest.mark.parametrize(("kind", "state"), [("S", "succeeded"), ("D", "dead"), ("C", "cancelled")])
def test_no_more_than_so_many_ended_jobs_are_kept(
    server: Server, prefix: str, clock: Any, kind: str, state: str
) -> None:
    broker = Broker(server, prefix, Limits(**{state: 3}), clock)
    settle_new(broker, [*"abcde"], kind)
    clock.forward(WINDOW)

    settle_new(broker, ["f"], kind)

    assert members(broker, state) == ["c", "d", "e", "f"]  # twice as many as were settled
    assert meta(broker, "trimmed") == 2
    assert traces(broker, "a") == traces(broker, "b") == []


def test_other_states_are_trimmed_by_their_own_count(
    server: Server, prefix: str, clock: Any
) -> None:
    broker = Broker(server, prefix, Limits(succeeded=1, dead=9), clock)
    settle_new(broker, [*"ab"], "S")
    settle_new(broker, [*"cd"], "D")
    clock.forward(WINDOW)

    settle_new(broker, [*"ef"], "D")

    assert states(broker) == {"succeeded": ["a", "b"], "dead": ["c", "d", "e", "f"]}


def test_what_ended_within_the_window_is_never_trimmed(
    server: Server, prefix: str, clock: Any
) -> None:
    broker = Broker(server, prefix, Limits(succeeded=0), clock)
    settle_new(broker, [*"abc"], delay=0)
    clock.forward(WINDOW - 1)

    settle_new(broker, ["d"], delay=0)
    assert members(broker, "succeeded") == ["a", "b", "c", "d"]

    clock.forward(1)
    settle_new(broker, [*"ef"], delay=0)
    assert members(broker, "succeeded") == ["d", "e", "f"]


def test_what_is_over_its_time_goes_whatever_the_count(broker: Broker, clock: Any) -> None:
    settle_new(broker, [*"abc"], delay=WINDOW)
    settle_new(broker, [*"xyz"], delay=DAY)
    clock.forward(WINDOW)

    settle_new(broker, ["d"])

    assert members(broker, "succeeded") == ["c", "x", "y", "z", "d"]


@pytest.mark.parametrize(("lean", "deleted"), [(False, 2), (True, 4)])
def test_a_full_redis_is_trimmed_twice_as_fast(
    broker: Broker, clock: Any, lean: bool, deleted: int
) -> None:
    settle_new(broker, [*"abcdefg"], delay=WINDOW)
    clock.forward(WINDOW)
    put(broker, "h")
    child = Child(broker)

    child.settle(outcome(child.claim()[0], "S", b"1", DAY), lean=lean)

    assert meta(broker, "trimmed") == deleted


def test_what_goes_on_trims_nothing(broker: Broker, clock: Any) -> None:
    settle_new(broker, [*"abc"], delay=WINDOW)
    clock.forward(WINDOW)

    settle_new(broker, ["d"], "R")
    settle_new(broker, ["e"], "G")

    assert members(broker, "succeeded") == ["a", "b", "c"]


def test_an_outcome_of_an_earlier_job_of_the_same_id_changes_nothing(broker: Broker) -> None:
    """One that was trimmed: its successor has been claimed as often."""
    put(broker, "a")
    zombie = Child(broker, "zombie")
    (old,) = zombie.claim()
    broker.server.command("HDEL", broker.key(QUEUE, "live"), "a")
    broker.server.command("ZREM", broker.key(QUEUE, "running"), "a")
    broker.server.command("HDEL", broker.key(QUEUE, "jobs"), "a")
    put(broker, "a")
    (new,) = Child(broker, "other").claim()
    assert old.live.fence == new.live.fence
    before = dump(broker)

    assert zombie.settle(outcome(old, "S", b"1", DAY)) == "S"
    assert dump(broker) == before
