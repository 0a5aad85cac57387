"""reclaim: what an ended holder held goes back, in order, and nobody else's does."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from django_taskq.broker.broker import LOST_LIMIT, Broker, Limits
from django_taskq.broker.connection import Server
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    WINDOW,
    Child,
    draft,
    dump,
    endings,
    give_up,
    holder_id,
    live,
    members,
    outcome,
    parked,
    put,
    ready,
    scores,
    seed,
    state_of,
    states,
    take_token,
    tokens,
)

CAUSE = b'{"c":"WorkerCrashed"}'


def died(broker: Broker, name: str, started: Collection[str] = ()) -> tuple[list[str], list[str]]:
    return broker.reclaim(QUEUE, holder_id(name), CAUSE, died=True, started=started)


def lapsed(broker: Broker, name: str) -> tuple[list[str], list[str]]:
    holder = name and holder_id(name)
    return broker.reclaim(QUEUE, holder, CAUSE)


# -- whose jobs ------------------------------------------------------------------------------------


def test_the_jobs_of_a_dead_child_are_ready_again(broker: Broker) -> None:
    put(broker, "abc")
    Child(broker, "dead").claim(2)

    taken, hopeless = died(broker, "dead")

    assert (sorted(taken), hopeless) == (["a", "b"], [])
    assert states(broker) == {"ready": ["a", "b", "c"]}
    assert scores(broker, "holders") == {}
    record = live(broker, "a")
    assert (record.fence, record.holder, record.attempt) == (2, "", 0)


def test_the_jobs_of_others_stay(broker: Broker) -> None:
    put(broker, "abcd")
    dead, alive = Child(broker, "dead"), Child(broker, "alive")
    for child in (dead, alive, dead, alive):
        child.claim(1)

    died(broker, "dead")

    assert states(broker) == {"ready": ["a", "c"], "running": ["b", "d"]}
    assert list(scores(broker, "holders")) == [holder_id("alive")]


@pytest.mark.parametrize(
    ("after", "goes"), [(0, False), (LEASE - 1, False), (LEASE, True), (99 * LEASE, True)]
)
def test_a_reaper_takes_nothing_from_a_lease_that_holds(
    broker: Broker, clock: Any, after: int, goes: bool
) -> None:
    put(broker, "a")
    Child(broker, "one").claim()
    clock.forward(after)
    before = dump(broker)

    assert lapsed(broker, "one") == ((["a"] if goes else []), [])

    assert (dump(broker) == before) is not goes


def test_a_holder_that_renewed_in_time_is_left_alone(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    Child(broker, "one").claim()
    clock.forward(LEASE - 1)
    broker.renew([QUEUE], [holder_id("one")], LEASE)
    clock.forward(1)

    assert lapsed(broker, "one") == ([], [])
    assert state_of(broker, "a") == "running"


@pytest.mark.parametrize("how", [died, lapsed])
def test_a_holder_nobody_knows_has_nothing_to_take_back(broker: Broker, how: Any) -> None:
    seed(broker, running="a")
    before = dump(broker)

    assert how(broker, "unknown") == ([], [])

    assert dump(broker) == before


def test_jobs_of_unknown_holders_belong_to_nobody(broker: Broker) -> None:
    put(broker, "abc")
    for name in ("lost", "alive", "marked"):
        Child(broker, name).claim(1)
    holders = broker.key(QUEUE, "holders")
    broker.server.command("ZREM", holders, holder_id("lost"))
    broker.server.command("ZADD", holders, 0, holder_id("marked"))  # somebody is at it

    assert lapsed(broker, "") == (["a"], [])

    assert states(broker) == {"ready": ["a"], "running": ["b", "c"]}
    assert set(scores(broker, "holders")) == {holder_id("alive"), holder_id("marked")}


def test_a_holder_without_jobs_is_dropped(broker: Broker, clock: Any) -> None:
    Child(broker, "one").exchange(0)
    clock.forward(LEASE)

    assert lapsed(broker, "one") == ([], [])

    assert scores(broker, "holders") == {}


def test_to_reclaim_twice_takes_nothing_more(broker: Broker) -> None:
    put(broker, "a")
    Child(broker, "dead").claim()
    died(broker, "dead")
    before = dump(broker)

    assert died(broker, "dead") == ([], [])

    assert dump(broker) == before


def test_who_was_reclaimed_claims_nothing_more(broker: Broker) -> None:
    put(broker, "a")
    child = Child(broker, "dead")
    child.claim()
    died(broker, "dead")

    assert not child.exchange(1, first=False).alive
    assert ready(broker) == ["a"]


def test_the_new_fence_is_nobodys(broker: Broker) -> None:
    """Not even who reads it from the record can settle with it."""
    put(broker, "a")
    (grant,) = Child(broker, "dead").claim()
    died(broker, "dead")
    before = dump(broker)
    forged = grant._replace(live=live(broker, "a"))

    verdicts = Child(broker, "dead").settle(outcome(forged, "S", b"1", DAY), first=False)

    assert verdicts in ("D", "S")
    assert dump(broker) == before


# -- order -----------------------------------------------------------------------------------------


def test_they_stand_in_front_of_their_priority_in_their_old_order(broker: Broker) -> None:
    jobs = [("z", 0), ("h", 5), ("y", 0), ("l", -5), ("x", 0), ("g", 5)]
    broker.enqueue(QUEUE, [draft(id, priority) for id, priority in jobs])
    before = ready(broker)
    Child(broker, "dead").claim(5)
    put(broker, "n")
    put(broker, "m", priority=5)

    died(broker, "dead")

    assert before == [*"hgzyxl"]
    assert ready(broker) == [*"hgmzyxnl"]


def test_claims_of_several_moments_keep_their_order(broker: Broker, clock: Any) -> None:
    put(broker, "zyxwvuts")
    child = Child(broker, "dead")
    for want, pause in [(1, 0), (1, 0), (2, 1), (2, 0), (1, 5)]:
        child.claim(want)
        clock.forward(pause)

    died(broker, "dead")

    assert "".join(ready(broker)) == "zyxwvuts"


@pytest.mark.parametrize("count", [100, 101, 250, 500, 730])
def test_many_jobs_go_back_in_chunks_and_in_order(broker: Broker, clock: Any, count: int) -> None:
    ids = [f"job-{number}" for number in range(count + 3)]
    put(broker, ids)
    child = Child(broker, "dead")
    child.claim(min(count, 500))
    clock.forward(1)
    child.claim(max(count - 500, 0))

    taken, _ = died(broker, "dead")

    assert len(taken) == len(set(taken)) == count
    assert ready(broker) == ids
    assert scores(broker, "holders") == {}


def test_a_holder_is_dead_from_the_first_chunk_to_the_last(broker: Broker, clock: Any) -> None:
    ids = [f"job-{number}" for number in range(150)]
    put(broker, ids)
    child = Child(broker, "dead")
    child.claim(150)
    only_one = broker._call("reclaim", QUEUE, (clock.now, child.holder, "died", 0, 20, DAY, CAUSE))

    taken, cursor, _ = broker.server.call(only_one)

    assert (len(taken.split()), cursor > 0) == (100, True)
    assert scores(broker, "holders") == {child.holder: 0}
    answer = child.exchange(1)
    assert (answer.alive, answer.grants) == (False, [])
    assert broker.renew([QUEUE], [child.holder], LEASE)[QUEUE].holders == {child.holder: "L"}
    # Whoever did it died half way: it is told as lapsed, and another finishes.
    assert broker.renew([QUEUE], [], LEASE)[QUEUE].lapsed == [child.holder]
    assert len(lapsed(broker, "dead")[0]) == 50
    assert ready(broker) == ids
    assert scores(broker, "holders") == {}


@pytest.mark.parametrize("apart", [0, 1])
def test_a_needle_is_found_in_any_number_of_others_jobs(
    broker: Broker, clock: Any, apart: int
) -> None:
    """Even when all were claimed in one ms: the pages that are looked at hold 500."""
    put(broker, [f"job-{number}" for number in range(1605)])
    others = Child(broker, "alive")
    dead = Child(broker, "dead")
    needles = []
    for want in (500, 99, 401, 500, 100):
        needles += [grant.id for grant in dead.claim(1)]
        clock.forward(apart)
        others.claim(want)

    taken, _ = died(broker, "dead")

    assert sorted(taken) == sorted(needles)
    assert len(members(broker, "running")) == 1600
    assert sorted(ready(broker)) == sorted(needles)
    assert not apart or ready(broker) == needles


# -- who is to blame -------------------------------------------------------------------------------


def crash(broker: Broker, started: Collection[str]) -> tuple[list[str], list[str]]:
    """A child claims what there is and dies over it."""
    Child(broker, "dead").claim(9)
    return died(broker, "dead", started)


def test_jobs_that_had_not_started_are_not_charged(broker: Broker) -> None:
    put(broker, "ab")

    for _ in range(30):
        crash(broker, ["a"])

    assert (live(broker, "a").crashes, live(broker, "b").crashes) == (1, 0)
    assert (live(broker, "a").lost, live(broker, "a").attempt) == (0, 0)
    assert sorted(ready(broker)) == ["a", "b"]


@pytest.mark.parametrize(("times", "crashes"), [(0, 0), (1, 1), (5, 1)])
def test_a_death_among_others_only_says_to_run_it_alone(
    broker: Broker, times: int, crashes: int
) -> None:
    """What it brings down while it is alone is counted by its outcome, see test_exchange_settle."""
    put(broker, "a")

    for _ in range(times):
        assert crash(broker, ["a"]) == (["a"], [])

    assert live(broker, "a").crashes == crashes
    assert state_of(broker, "a") == "ready"


def test_a_death_takes_nothing_back_from_what_was_counted(broker: Broker) -> None:
    put(broker, "a")
    child = Child(broker, "before")
    for _ in range(2):
        child.settle(outcome(child.claim()[0], "X"))
    assert live(broker, "a").crashes == 3

    crash(broker, ["a"])

    assert live(broker, "a").crashes == 3


def test_the_failure_stands_behind_the_earlier_ones(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    child = Child(broker, "before")
    child.settle(outcome(child.claim()[0], "R", FAILURE))
    broker.promote(QUEUE, "keeper")
    give_up(broker, clock, CAUSE)

    (job,) = broker.fetch(QUEUE, ["a"])
    assert (job.state, job.errors) == ("dead", FAILURE + b"\n" + CAUSE)


def test_a_whole_worker_that_vanished_is_counted_apart(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    for turn in range(1, LOST_LIMIT + 1):
        Child(broker, "gone").claim()
        clock.forward(LEASE)
        assert lapsed(broker, "gone") == (["a"], [])
        assert (live(broker, "a").lost, live(broker, "a").crashes) == (turn, 0)

    Child(broker, "gone").claim()
    clock.forward(LEASE)
    with endings(broker) as heard:
        assert lapsed(broker, "gone") == (["a"], ["a"])
        assert heard.next() == ["a"]

    (job,) = broker.fetch(QUEUE, ["a"])
    assert (job.state, job.errors, job.live.ended) == ("dead", CAUSE, clock.now)
    assert scores(broker, "dead") == {"a": clock.now + broker.limits.dead_retention}


@pytest.mark.parametrize(("retention", "kept"), [(0, WINDOW), (DAY, DAY)])
def test_what_is_given_up_is_kept_for_at_least_the_window(
    server: Server, prefix: str, clock: Any, retention: int, kept: int
) -> None:
    broker = Broker(server, prefix, Limits(dead_retention=retention), clock)
    put(broker, "a")
    give_up(broker, clock)

    assert scores(broker, "dead") == {"a": clock.now + kept}


@pytest.mark.parametrize(("retention", "kept"), [(0, WINDOW), (3 * DAY, 3 * DAY)])
def test_what_was_called_off_is_kept_as_long_as_its_task_says(
    broker: Broker, clock: Any, retention: int, kept: int
) -> None:
    put(broker, "ab")
    Child(broker, "dead").claim(2)
    broker.cancel(QUEUE, [("a", "a.task")], b"{}", retention)

    died(broker, "dead")

    assert scores(broker, "cancelled") == {"a": clock.now + kept}


# -- and the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ready", "scheduled", "retrying", "waiting", "succeeded"])
def test_only_running_jobs_are_taken(broker: Broker, state: str) -> None:
    seed(broker, **{"running": "a", state: "b"})
    fence = live(broker, "b").fence

    assert died(broker, "seeder") == (["a"], [])

    assert (state_of(broker, "b"), live(broker, "b").fence) == (state, fence)


@pytest.mark.parametrize("taken", [False, True])
def test_what_goes_back_drops_a_token(broker: Broker, taken: bool) -> None:
    put(broker, "ab")
    Child(broker, "dead").claim(1)
    if taken:
        take_token(broker)

    died(broker, "dead")

    assert tokens(broker) == 1


def test_nobody_is_woken_for_a_job_that_is_given_up(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    give_up(broker, clock)

    assert tokens(broker) == 0


def test_a_job_without_a_record_goes_back_all_the_same(broker: Broker) -> None:
    """Somebody's damage: nobody can hold what has no record, so it belongs to nobody."""
    put(broker, "ab")
    Child(broker, "alive").claim(2)
    broker.server.command("HDEL", broker.key(QUEUE, "live"), "a")

    assert lapsed(broker, "") == (["a"], [])

    assert states(broker) == {"ready": ["a"], "running": ["b"]}


def test_a_parked_job_is_not_parked_again_by_who_lost_it(broker: Broker) -> None:
    put(broker, "a")
    (grant,) = Child(broker, "dead").claim()
    died(broker, "dead")
    before = dump(broker)

    assert broker.park(QUEUE, [parked(grant)]) == "S"

    assert dump(broker) == before
