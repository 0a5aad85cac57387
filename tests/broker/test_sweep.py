"""sweep: finds what no script leaves behind, mends it, and touches nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any

import pytest

from django_taskq import broker as broker_package
from django_taskq.broker.broker import Broker
from django_taskq.broker.keys import QUEUE_KEYS
from django_taskq.broker.sweep import CHECKS, CHUNK, EMPTIED, Swept
from django_taskq.codec import encode_failure
from django_taskq.job import FRESH, LIVE, State
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    asked,
    at_once,
    claimed,
    corrupt,
    dump,
    endings,
    holder_id,
    live,
    meta,
    outcome,
    per_time,
    put,
    put_asking,
    ready,
    seed,
    seed_all,
    states,
    take_token,
    tokens,
    traces,
    without_envelope,
)

RESTING = ["ready", "scheduled", "retrying", "waiting"]
LUA = (files(broker_package) / "lua" / "sweep.lua").read_text("utf-8")


def walk(broker: Broker, *, mend: bool = True) -> dict[str, list[str]]:
    """What a whole walk finds."""
    found: dict[str, list[str]] = {}
    for chunk in broker.walk(QUEUE, mend=mend):
        for check, ids in chunk.found.items():
            found.setdefault(check, []).extend(ids)
    return found


def by_hand(broker: Broker) -> Callable[..., Any]:
    """``do("ZREM", "ready", id)``: what a person can do to a queue."""
    key = partial(broker.key, QUEUE)
    return lambda command, name, *args: broker.server.command(command, key(name), *args)


# -- the table -------------------------------------------------------------------------------------


def test_the_table_has_the_checks_of_the_script() -> None:
    assert set(re.findall(r"found\('(\w+)'", LUA)) == set(CHECKS)


def test_every_key_with_members_is_a_place() -> None:
    """A key that is added is looked through too, or said here to need no look."""
    places = re.findall(r"\{ '(\w+)', walk_\w+, (\w+) \}", LUA)
    # renew, trim, trim, tick, tick, nobody; trim, enqueue (one per limit), promote, tally,
    # exchange, unlisten; retire
    kept_by_others = {"holders", "calls", "answers", "ticks", "tick_log", "meta"}
    kept_by_others |= {"lapses", "limits", "opens", "bulks", "tallies", "counting", "counts"}
    kept_by_others |= {"listeners", "pauses"}
    walked = {name for name, kind in QUEUE_KEYS.items() if kind in ("HASH", "ZSET", "SET")}

    assert all(name == key for name, key in places)
    assert {name for name, _ in places} == walked - kept_by_others


# -- a sound queue ---------------------------------------------------------------------------------


def test_a_sound_queue_is_left_as_it_is(broker: Broker, clock: Any) -> None:
    seed_all(broker)
    broker.cancel(QUEUE, [("running", TASK)], FAILURE, DAY)
    before = dump(broker)

    assert walk(broker) == {}

    assert dump(broker) == before


def test_an_empty_queue_is_left_empty(broker: Broker) -> None:
    assert walk(broker) == {}
    assert not any(dump(broker).values())


def test_looking_changes_nothing(broker: Broker, clock: Any) -> None:
    corrupt(broker)
    clock.forward(WINDOW)
    before = dump(broker)

    found = walk(broker, mend=False)

    assert dump(broker) == before
    assert set(found) == set(CHECKS)


def test_a_second_walk_finds_nothing_more(broker: Broker, clock: Any) -> None:
    corrupt(broker)
    clock.forward(WINDOW)
    walk(broker)
    broker.reclaim(QUEUE, "", FAILURE)
    mended = dump(broker)

    assert walk(broker) == {}

    assert dump(broker) == mended


def test_what_was_mended_is_counted(broker: Broker, clock: Any) -> None:
    corrupt(broker)
    clock.forward(WINDOW)

    found = walk(broker)

    assert {name: meta(broker, f"swept_{name}") for name in found} == {
        name: len(ids) for name, ids in found.items()
    }
    assert meta(broker, "quarantined") == 1


# -- in a state without an envelope ----------------------------------------------------------------


@pytest.mark.parametrize("state", [*RESTING, "running"])
def test_a_job_without_its_envelope_is_put_among_the_dead(
    broker: Broker, clock: Any, state: str
) -> None:
    seed(broker, **{state: "a"})
    without_envelope(broker, "a")
    before = live(broker, "a")

    with endings(broker) as heard:
        assert walk(broker)["hollow"] == ["a"]
        assert heard.next() == ["a"]

    assert states(broker) == {"dead": ["a"]}
    (job,) = broker.fetch(QUEUE, ["a"])
    assert (job.live.fence, job.live.ended) == (before.fence + 1, clock.now)
    assert job.errors.endswith(encode_failure(EMPTIED))
    assert dump(broker)["parked"] == dump(broker)["wake"] == []


def test_who_runs_it_still_is_refused(broker: Broker) -> None:
    grants = seed(broker, running="a")
    without_envelope(broker, "a")
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    walk(broker)

    assert Child(broker, "seeder").settle(outcome(grants["a"], "S", b"1", DAY)) == "S"

    assert states(broker) == {"dead": ["a"]}
    assert dump(broker)["cancels"] == {}


@pytest.mark.parametrize("state", ["succeeded", "cancelled"])
def test_what_has_ended_without_an_envelope_is_deleted(broker: Broker, state: str) -> None:
    seed(broker, **{state: "a"})
    without_envelope(broker, "a")

    assert walk(broker) == {"hollow": ["a"]}

    assert traces(broker, "a") == []


def test_what_is_in_quarantine_stays_there(broker: Broker) -> None:
    seed(broker, dead="a")
    without_envelope(broker, "a")
    before = dump(broker)

    assert walk(broker) == {}

    assert dump(broker) == before


# -- in no state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RESTING)
def test_a_job_in_no_state_is_put_in_line_again(broker: Broker, state: str) -> None:
    seed(broker, **{state: "a"})
    by_hand(broker)("ZREM", state, "a")
    take_token(broker)

    assert walk(broker)["lost"] == ["a"]

    assert states(broker) == {"ready": ["a"]}
    assert tokens(broker) == 1
    (grant,) = Child(broker).claim()
    assert (grant.id, Child(broker).settle(outcome(grant, "S", b"1", DAY))) == ("a", "O")


def test_it_stands_where_its_priority_says(broker: Broker) -> None:
    put(broker, ["high"], priority=9)
    put(broker, ["first", "second", "lost"])
    for id in ("high", "lost"):
        by_hand(broker)("ZREM", "ready", id)

    walk(broker)

    assert ready(broker) == ["high", "first", "second", "lost"]


def test_a_plain_job_gets_no_record(broker: Broker) -> None:
    put(broker, "a")
    by_hand(broker)("ZREM", "ready", "a")

    walk(broker)

    assert live(broker, "a") is FRESH


def test_a_job_that_somebody_runs_is_running_again(broker: Broker) -> None:
    grants = seed(broker, running="a")
    before = dump(broker)
    by_hand(broker)("ZREM", "running", "a")

    assert walk(broker) == {"lost": ["a"]}

    assert states(broker) == {"running": ["a"]}
    assert dump(broker, "running", "meta") == {
        name: before[name] for name in before if name not in ("running", "meta")
    }
    assert Child(broker, "seeder").settle(outcome(grants["a"], "S", b"1", DAY)) == "O"


def test_one_whose_runner_is_dead_goes_back_with_its_lease(broker: Broker, clock: Any) -> None:
    seed(broker, running="a")
    by_hand(broker)("ZREM", "running", "a")
    walk(broker)
    clock.forward(LEASE)

    assert broker.reclaim(QUEUE, holder_id("seeder"), FAILURE) == (["a"], [])

    assert states(broker) == {"ready": ["a"]}


@pytest.mark.parametrize("state", ["succeeded", "dead", "cancelled"])
def test_a_job_that_ended_is_deleted_when_nobody_can_send_it_again(
    broker: Broker, clock: Any, state: str
) -> None:
    seed(broker, **{state: "a"})
    by_hand(broker)("ZREM", state, "a")
    clock.forward(WINDOW - 1)
    assert walk(broker) == {}
    assert put(broker, ["a"]) == "E"
    clock.forward(1)

    assert walk(broker) == {"remains": ["a"]}

    assert traces(broker, "a") == []


# -- in two states ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("ready", "scheduled"),
        ("ready", "succeeded"),
        ("scheduled", "running"),
        ("retrying", "dead"),
        ("retrying", "waiting"),
        ("running", "ready"),
        ("running", "succeeded"),
        ("succeeded", "ready"),
        ("dead", "running"),
        ("cancelled", "scheduled"),
    ],
)
def test_a_job_stays_where_its_record_has_it(broker: Broker, true: str, false: str) -> None:
    seed(broker, **{true: "a"})
    by_hand(broker)("ZADD", false, 1, "a")
    take_token(broker)

    found = walk(broker)

    assert found["double"] == ["a"]
    assert states(broker) == {true: ["a"]}
    assert tokens(broker) == (true == "ready")


def test_a_job_in_every_state_is_left_in_one(broker: Broker) -> None:
    put(broker, "a")
    for state in State:
        by_hand(broker)("ZADD", state, 1, "a")

    assert Counter(walk(broker)["double"]) == {"a": 7}

    assert states(broker) == {"ready": ["a"]}


# -- leftovers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["live", "errors", "results", "reports"])
def test_what_belongs_to_no_job_is_deleted(broker: Broker, place: str) -> None:
    seed_all(broker)
    before = dump(broker)
    by_hand(broker)("HSET", place, "nobody", FAILURE)

    assert walk(broker) == {"debris": ["nobody"]}

    assert dump(broker, "meta") == {name: before[name] for name in before if name != "meta"}


def test_a_parked_name_of_a_job_that_left_is_deleted(broker: Broker) -> None:
    seed(broker, waiting="a b")
    by_hand(broker)("ZADD", "parked", 0, f"{TASK} gone", 0, "nonsense", 0, f"{TASK} with space")

    assert sorted(walk(broker)["unparked"]) == ["nonsense", f"{TASK} gone", f"{TASK} with space"]

    assert dump(broker)["parked"][::2] == [f"{TASK} a".encode(), f"{TASK} b".encode()]


def test_a_parked_job_that_lost_its_name_is_found_again(broker: Broker, clock: Any) -> None:
    seed(broker, waiting="a b")
    before = dump(broker)
    by_hand(broker)("DEL", "parked")

    assert sorted(walk(broker)["nameless"]) == ["a", "b"]

    assert dump(broker)["parked"] == before["parked"]
    clock.forward(DAY)
    assert broker.release(QUEUE, TASK) == 2


@pytest.mark.parametrize(
    "tail", [b"", b" " * 22, b" " * 22 + b"for a parent", b"-" * 22 + b"a.b c"]
)
def test_a_job_that_waits_for_nothing_is_put_in_line(broker: Broker, tail: bytes) -> None:
    seed(broker, waiting="a")
    by_hand(broker)("DEL", "parked")
    by_hand(broker)("HSET", "live", "a", FRESH.encode()[: LIVE.size] + tail)

    assert walk(broker)["stranded"] == ["a"]

    assert ready(broker) == ["a"]


# -- locks, limits and turns -----------------------------------------------------------------------


def test_the_lock_of_a_job_that_has_ended_is_opened(broker: Broker) -> None:
    put_asking(broker, ["a", "b"], asked(lock="x"))
    by_hand(broker)("HSET", "locks", "left", "gone", "mine", "a")

    assert walk(broker) == {"locked": ["left"]}
    assert set(dump(broker)["locks"]) == {b"x", b"mine"}


def test_a_lock_that_is_to_stay_is_left_until_then(broker: Broker, clock: Any) -> None:
    """Also where its entry among those that lapse was lost."""
    put_asking(broker, ["a"], asked(lock="x", ttl=1_000))
    child = Child(broker)
    child.settle(outcome(child.claim()[0], "S", delay=DAY))
    by_hand(broker)("DEL", "lapses")

    assert walk(broker) == {}
    assert set(dump(broker)["locks"]) == {b"x"}

    clock.forward(1_000)
    assert walk(broker) == {}
    assert dump(broker)["locks"] == {}


def test_a_place_of_a_job_that_does_not_run_is_given_to_the_next(broker: Broker) -> None:
    put_asking(broker, "ab", asked(at_once(1)))
    by_hand(broker)("ZADD", "entered", 0, b"g\0gone")
    child = Child(broker)
    assert claimed(child) == []

    assert walk(broker)["entered"] == ["gone"]

    assert claimed(child) == ["a"]
    assert tokens(broker) == 0


def test_a_name_at_a_gate_of_a_job_that_does_not_wait_is_deleted(broker: Broker) -> None:
    put_asking(broker, "ab", asked(at_once(1)))
    child = Child(broker)
    (first,) = child.claim(10)
    by_hand(broker)("ZADD", "gated", 0, b"g\0" + b"\0" * 8 + b"gone")

    assert walk(broker) == {"ungated": ["gone"]}

    child.settle(outcome(first, "S"))
    assert claimed(child) == ["b"]


def test_a_job_that_waits_at_no_gate_is_put_in_line(broker: Broker) -> None:
    put_asking(broker, "ab", asked(at_once(1)))
    child = Child(broker)
    (first,) = child.claim(10)
    by_hand(broker)("DEL", "gated")

    assert walk(broker)["stranded"] == ["b"]

    assert claimed(child) == []
    child.settle(outcome(first, "S"))
    assert claimed(child) == ["b"]


def test_a_gate_that_has_room_and_was_not_opened_is(broker: Broker) -> None:
    put_asking(broker, "abc", asked(at_once(2)))
    child = Child(broker)
    child.claim(10)
    by_hand(broker)("ZREM", "entered", b"g\0a")

    walk(broker)

    assert claimed(child) == ["c"]


def test_a_rate_of_which_nobody_says_when_is_opened(broker: Broker, clock: Any) -> None:
    put_asking(broker, "ab", asked(per_time("60/m")))
    child = Child(broker)
    child.claim(10)
    by_hand(broker)("DEL", "opens")

    walk(broker)

    assert broker.promote(QUEUE, "keeper", force=True).wait == 1_000


def test_a_job_that_was_lost_while_it_ran_has_its_place_again(broker: Broker) -> None:
    put_asking(broker, "ab", asked(at_once(1)))
    child = Child(broker)
    (first,) = child.claim(10)
    by_hand(broker)("DEL", "running")

    walk(broker)
    assert claimed(Child(broker, "another")) == []

    child.settle(outcome(first, "S"))
    assert claimed(child) == ["b"]


def test_asks_of_no_job_are_deleted(broker: Broker) -> None:
    by_hand(broker)("HSET", "asks", "gone", asked(lock="x"))

    assert walk(broker) == {"debris": ["gone"]}
    assert dump(broker)["asks"] == {}


def test_a_request_to_stop_what_does_not_run_is_dropped(broker: Broker) -> None:
    seed(broker, running="a", succeeded="b", ready="c")
    for id in ("a", "b", "c", "unknown"):
        by_hand(broker)("HSET", "cancels", id, "cancel")

    assert sorted(walk(broker)["unasked"]) == ["b", "c", "unknown"]

    assert dump(broker)["cancels"] == {b"a": b"cancel"}


def test_claims_of_processes_that_are_gone_are_deleted(broker: Broker) -> None:
    seed(broker, running="a")
    by_hand(broker)("HSET", "claims", holder_id("gone"), 7)

    assert walk(broker) == {"claimless": [holder_id("gone")]}

    assert list(dump(broker)["claims"]) == [holder_id("seeder").encode()]


def test_a_job_that_nobody_holds_is_found_and_goes_back(broker: Broker) -> None:
    seed(broker, running="a b")
    by_hand(broker)("ZREM", "holders", holder_id("seeder"))
    by_hand(broker)("HDEL", "live", "b")

    assert sorted(walk(broker)["unheld"]) == ["a", "b"]
    assert sorted(broker.reclaim(QUEUE, "", FAILURE)[0]) == ["a", "b"]

    assert walk(broker) == {}
    assert sorted(ready(broker)) == ["a", "b"]


@pytest.mark.parametrize(("jobs", "there"), [("a", 0), ("a", 2), ("", 1)])
def test_the_token_is_there_exactly_while_there_are_jobs(
    broker: Broker, jobs: str, there: int
) -> None:
    put(broker, jobs)
    by_hand(broker)("DEL", "wake")
    for _ in range(there):
        by_hand(broker)("RPUSH", "wake", "1")

    assert walk(broker) == {"asleep": ["wake"]}

    assert tokens(broker) == len(jobs)


# -- chunks ----------------------------------------------------------------------------------------


def many(broker: Broker, count: int) -> list[str]:
    ids = [f"job-{number:05}" for number in range(count)]
    put(broker, ids)
    return ids


def test_a_large_queue_is_looked_through_in_chunks(broker: Broker) -> None:
    ids = many(broker, 3000)
    seen = list(broker.walk(QUEUE, mend=True))

    assert sum(chunk.looked for chunk in seen) >= 2 * len(ids)  # its state and its envelope
    assert len(seen) >= 2 * len(ids) / CHUNK / 2
    assert max(chunk.looked for chunk in seen) <= 3 * CHUNK
    assert not any(chunk.found for chunk in seen)


def test_a_small_queue_takes_one_call(broker: Broker) -> None:
    seed_all(broker)

    assert [chunk.place for chunk in broker.walk(QUEUE, mend=True)] == [""]


def test_every_orphan_of_a_large_queue_is_found(broker: Broker) -> None:
    ids = many(broker, 3000)
    do = by_hand(broker)
    do("ZREM", "ready", *ids[::7])
    do("HDEL", "jobs", *ids[1::7])

    found = walk(broker)

    assert sorted(found["lost"]) == ids[::7]
    assert sorted(found["hollow"]) == ids[1::7]
    assert len(ready(broker)) == 3000 - len(ids[1::7])


def test_a_chunk_sent_again_finds_nothing_twice(broker: Broker) -> None:
    ids = many(broker, 10)
    by_hand(broker)("ZREM", "ready", *ids)

    first = broker.sweep(QUEUE, "jobs", "0")
    before = dump(broker)
    assert sorted(first.found["lost"]) == ids

    assert broker.sweep(QUEUE, "jobs", "0").found == {}

    assert dump(broker) == before


STEP, REST = 200, 50_000  # ms, see sweep.lua


def test_the_queue_s_own_walk_goes_on_with_each_call(broker: Broker, clock: Any) -> None:
    many(broker, 1000)
    looked = [broker.sweep(QUEUE)]
    while looked[-1].place:
        clock.forward(STEP)
        looked.append(broker.sweep(QUEUE))

    assert sum(chunk.looked for chunk in looked) >= 2000
    assert len(looked) > 10


def test_it_starts_anew_after_a_rest(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    assert broker.sweep(QUEUE).looked == 2
    clock.forward(REST - 1)
    assert broker.sweep(QUEUE) == Swept("", "0", 0, {})
    clock.forward(1)

    assert broker.sweep(QUEUE).looked == 2


def test_two_workers_share_one_walk_and_hurry_no_more_than_one(
    broker: Broker, server: Any, prefix: str, clock: Any
) -> None:
    many(broker, 1000)
    another = Broker(server, prefix, now=clock)
    chunks: list[Swept] = []
    while not chunks or chunks[-1].place:
        chunks.append((broker, another)[len(chunks) % 2].sweep(QUEUE))
        assert another.sweep(QUEUE) == Swept("", "0", 0, {})
        clock.forward(STEP)

    assert sum(chunk.looked for chunk in chunks) < 1.5 * 2000


def test_a_clock_that_was_set_back_does_not_stop_it(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    broker.sweep(QUEUE)
    clock.forward(-DAY)

    assert broker.sweep(QUEUE).looked == 2


@pytest.mark.parametrize("left", ["nonsense", "shelf 17 1", "ready 0", "ready", ""])
def test_a_walk_of_another_release_starts_anew(broker: Broker, left: str) -> None:
    corrupt(broker)
    by_hand(broker)("HSET", "meta", "sweep", left)

    assert broker.sweep(QUEUE).found["hollow"] == ["hollow"]


# -- what moves between two chunks -----------------------------------------------------------------


def test_jobs_that_move_meanwhile_are_never_mended(broker: Broker, clock: Any) -> None:
    """Everything that can happen happens between any two chunks: nothing of it is an orphan."""
    many(broker, 1500)
    child, held = Child(broker, "busy"), []
    kinds = "SRDCZG"
    found: list[dict[str, list[str]]] = []
    for turn, chunk in enumerate(broker.walk(QUEUE, mend=True)):
        found.append(chunk.found)
        put(broker, [f"new-{turn}-{n}" for n in range(5)])
        outcomes = [
            outcome(grant, kinds[(turn + n) % 6], b"1", DAY if n % 2 else 0)
            for n, grant in enumerate(held)
        ]
        held = child.exchange(7, outcomes).grants
        broker.cancel(QUEUE, [(held[0].id, TASK), (f"new-{turn}-0", TASK)], FAILURE, 0)
        broker.retry(QUEUE, [each.grant.id for each in outcomes[:2]])
        clock.forward(1)
        broker.promote(QUEUE, "keeper")
        broker.trim(QUEUE)

    assert {check for each in found for check in each} == set()
    ids = [id for ids in states(broker).values() for id in ids]
    assert sorted(ids) == sorted(id.decode() for id in dump(broker)["jobs"])


def test_a_walk_beside_working_processes_mends_only_what_is_broken(broker: Broker) -> None:
    ids = many(broker, 600)
    by_hand(broker)("ZREM", "ready", *ids[::10])
    child, done = Child(broker, "busy"), []
    for _ in broker.walk(QUEUE, mend=True):
        grants = child.claim(20)
        child.settle(*[outcome(grant, "S", b"1", DAY) for grant in grants])
        done += [grant.id for grant in grants]
    while grants := child.claim(100):
        child.settle(*[outcome(grant, "S", b"1", DAY) for grant in grants])
        done += [grant.id for grant in grants]

    assert sorted(done) == ids  # each once
    assert meta(broker, "swept_lost") == len(ids[::10])
