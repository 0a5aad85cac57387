"""park and release: jobs of an unknown task wait under its name, with growing patience."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.job import Grant
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    draft,
    dump,
    live,
    members,
    outcome,
    parked,
    put,
    ready,
    scores,
    states,
    take_token,
    tokens,
)

FIRST = 1000  # ms


@pytest.fixture
def child(broker: Broker) -> Child:
    return Child(broker)


@pytest.fixture
def grant(broker: Broker, child: Child) -> Grant:
    put(broker, "a")
    return child.claim()[0]


# -- park ------------------------------------------------------------------------------------------


def test_a_parked_job_waits_under_its_tasks_name_with_the_reason(
    broker: Broker, clock: Any, grant: Grant
) -> None:
    assert broker.park(QUEUE, [parked(grant, "app.new", "nobody knows wörk".encode())]) == "O"

    assert states(broker) == {"waiting": ["a"]}
    assert members(broker, "parked") == ["app.new a"]
    assert scores(broker, "waiting") == {"a": clock.now + FIRST}
    record = live(broker, "a")
    assert (record.note, record.holder) == ("app.new nobody knows wörk", "")


def test_to_be_parked_costs_no_attempt(broker: Broker, grant: Grant) -> None:
    broker.park(QUEUE, [parked(grant)])

    record = live(broker, "a")
    assert (record.attempt, record.crashes, record.lost, record.fence) == (0, 0, 0, 1)
    assert dump(broker)["errors"] == {}


def test_the_wait_doubles_from_a_second_to_a_minute(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    waits = []
    for turn in range(10):
        (grant,) = Child(broker, f"child{turn}").claim()
        broker.park(QUEUE, [parked(grant)])
        wait = int(scores(broker, "waiting")["a"] - clock.now)
        waits.append(wait)
        clock.forward(wait - 1)
        assert broker.release(QUEUE, TASK) == 0
        clock.forward(1)
        assert broker.release(QUEUE, TASK) == 1

    assert [wait // 1000 for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_after_it_ran_the_wait_is_short_again(broker: Broker, clock: Any, child: Child) -> None:
    put(broker, "a")
    for _ in range(3):
        broker.park(QUEUE, [parked(child.claim()[0])])
        clock.forward(8000)
        broker.release(QUEUE, TASK)
    child = Child(broker, "knows it")
    child.settle(outcome(child.claim()[0], "R", FAILURE))
    broker.promote(QUEUE, "keeper")

    broker.park(QUEUE, [parked(child.claim()[0])])

    assert scores(broker, "waiting") == {"a": clock.now + FIRST}


def test_to_be_given_back_does_not_shorten_the_wait(
    broker: Broker, clock: Any, child: Child, grant: Grant
) -> None:
    broker.park(QUEUE, [parked(grant)])
    clock.forward(FIRST)
    broker.release(QUEUE, TASK)
    child.settle(outcome(child.claim()[0], "G"))

    broker.park(QUEUE, [parked(child.claim()[0])])

    assert scores(broker, "waiting") == {"a": clock.now + 2 * FIRST}


def test_a_letter_tells_of_each(broker: Broker, child: Child) -> None:
    put(broker, "abcd")
    a, b, c, d = child.claim(4)
    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)
    broker.park(QUEUE, [parked(c)])
    old = d._replace(live=d.live._replace(fence=0))

    outcomes = [parked(grant) for grant in (a, b, c, old, d._replace(id="unknown"))]

    assert broker.park(QUEUE, outcomes) == "OCDSS"
    assert states(broker) == {"running": ["d"], "waiting": ["a", "c"], "cancelled": ["b"]}


def test_a_park_sent_again_changes_nothing(broker: Broker, clock: Any, grant: Grant) -> None:
    broker.park(QUEUE, [parked(grant)])
    before = dump(broker)
    clock.forward(10)

    assert broker.park(QUEUE, [parked(grant)]) == "D"

    assert dump(broker) == before


def test_who_lost_the_job_cannot_park_it(broker: Broker, child: Child, grant: Grant) -> None:
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True)
    Child(broker, "another").claim()
    before = dump(broker)

    assert broker.park(QUEUE, [parked(grant)]) == "S"

    assert dump(broker) == before


@pytest.mark.parametrize(("retention", "kept"), [(0, WINDOW), (DAY, DAY)])
def test_what_is_cancelled_by_parking_is_kept_as_long_as_its_task_says(
    broker: Broker, clock: Any, retention: int, kept: int
) -> None:
    put(broker, "a")
    (grant,) = Child(broker).claim()
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, retention)

    assert broker.park(QUEUE, [parked(grant)]) == "C"

    assert scores(broker, "cancelled") == {"a": clock.now + kept}


def test_nothing_to_park_asks_nothing(broker: Broker) -> None:
    assert broker.park(QUEUE, []) == ""


# -- release ---------------------------------------------------------------------------------------


def park_all(broker: Broker, jobs: dict[str, str]) -> None:
    """id -> task name."""
    put(broker, jobs)
    grants = Child(broker, "parker").claim(len(jobs))
    broker.park(QUEUE, [parked(grant, jobs[grant.id]) for grant in grants])


PREFIXES = ["a", "a.b", "a.b.c", "a.bc", "a b", "a!", "a-b", "ab", "A", "a.B"]


@pytest.mark.parametrize("name", [name for name in PREFIXES if " " not in name])
def test_only_the_jobs_of_exactly_that_task_are_released(
    broker: Broker, clock: Any, name: str
) -> None:
    names = [name for name in PREFIXES if " " not in name]
    park_all(broker, {f"job-{at}": name for at, name in enumerate(names)})
    clock.forward(FIRST)

    assert broker.release(QUEUE, name) == 1

    assert ready(broker) == [f"job-{names.index(name)}"]
    assert len(members(broker, "parked")) == len(names) - 1


@pytest.mark.parametrize("name", ["", "a.", "a.b.", "b", "zzz"])
def test_a_task_without_parked_jobs_releases_none(broker: Broker, clock: Any, name: str) -> None:
    park_all(broker, {"x": "a.b", "y": "a.b.c"})
    clock.forward(FIRST)
    before = dump(broker, "meta")

    assert broker.release(QUEUE, name) == 0

    assert dump(broker, "meta") == before


def test_only_what_has_waited_long_enough_is_released(broker: Broker, clock: Any) -> None:
    park_all(broker, {"a": TASK})
    clock.forward(FIRST - 1)
    park_all(broker, {"b": TASK})
    assert broker.release(QUEUE, TASK) == 0
    clock.forward(1)

    assert broker.release(QUEUE, TASK) == 1

    assert states(broker) == {"ready": ["a"], "waiting": ["b"]}
    assert members(broker, "parked") == [f"{TASK} b"]


def test_a_hundred_are_released_at_a_time(broker: Broker, clock: Any) -> None:
    ids = [f"{number:03}" for number in range(2 * HOUSEKEEPING + 1)]
    park_all(broker, dict.fromkeys(ids, TASK))
    clock.forward(FIRST)

    assert [broker.release(QUEUE, TASK) for _ in range(4)] == [100, 100, 1, 0]
    assert ready(broker) == ids


def test_those_that_still_wait_do_not_hold_up_those_behind_them(broker: Broker, clock: Any) -> None:
    late = [f"a{number}" for number in range(HOUSEKEEPING + 50)]
    due = [f"b{number}" for number in range(5)]
    park_all(broker, dict.fromkeys(due, TASK))
    clock.forward(FIRST)
    park_all(broker, dict.fromkeys(late, TASK))

    assert broker.release(QUEUE, TASK) == len(due)

    assert sorted(ready(broker)) == due


def test_released_jobs_come_after_the_others_of_their_priority(broker: Broker, clock: Any) -> None:
    broker.enqueue(QUEUE, [draft("low", -1), draft("high", 1), draft("plain")])
    grants = Child(broker).claim(3)
    broker.park(QUEUE, [parked(grant) for grant in grants])
    broker.enqueue(QUEUE, [draft("LOW", -1), draft("HIGH", 1), draft("PLAIN")])
    clock.forward(FIRST)

    broker.release(QUEUE, TASK)

    assert ready(broker) == ["HIGH", "high", "PLAIN", "plain", "LOW", "low"]


def test_a_released_job_can_be_claimed_and_ends(broker: Broker, clock: Any, grant: Grant) -> None:
    broker.park(QUEUE, [parked(grant)])
    clock.forward(FIRST)
    broker.release(QUEUE, TASK)
    child = Child(broker, "knows it")

    (grant,) = child.claim()

    assert (grant.live.fence, grant.live.holder, grant.live.note) == (2, child.holder, "")
    assert child.settle(outcome(grant, "S", b"1", DAY)) == "O"


def test_what_is_released_drops_one_token(broker: Broker, clock: Any) -> None:
    park_all(broker, dict.fromkeys("abc", TASK))
    clock.forward(FIRST)
    assert tokens(broker) == 0

    broker.release(QUEUE, TASK)
    assert tokens(broker) == 1

    take_token(broker)
    assert broker.release(QUEUE, TASK) == 0
    assert tokens(broker) == 0  # nothing was added: whoever took it looks by itself


def test_what_left_in_another_way_does_not_stand_before_the_others(
    broker: Broker, clock: Any
) -> None:
    gone = [f"a{number}" for number in range(HOUSEKEEPING + 20)]
    park_all(broker, {**dict.fromkeys(gone, TASK), "b": TASK})
    broker.cancel(QUEUE, [(id, "a.wrong.name") for id in gone], FAILURE, DAY)
    clock.forward(FIRST)

    assert broker.release(QUEUE, TASK) + broker.release(QUEUE, TASK) == 1

    assert ready(broker) == ["b"]
