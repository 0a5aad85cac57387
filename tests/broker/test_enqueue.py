"""enqueue: jobs come in once, in order, and wake whom they must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_taskq.broker.broker import CHUNK, Broker, Draft
from django_taskq.broker.connection import Server
from django_taskq.job import FRESH, State
from tests.broker.helpers import (
    DAY,
    QUEUE,
    Child,
    draft,
    dump,
    live,
    members,
    put,
    ready,
    scores,
    seed_all,
    state_of,
    states,
    take_token,
    tokens,
)


@pytest.mark.parametrize(
    ("due", "state", "score"),
    [
        (lambda now: 0, "ready", None),
        (lambda now: -1, "scheduled", 1),  # relative: so many ms from now
        (lambda now: -DAY, "scheduled", DAY),
        (lambda now: now, "ready", None),
        (lambda now: now - 1, "ready", None),
        (lambda now: now + 1, "scheduled", 1),
        (lambda now: 1, "ready", None),  # 1970
    ],
)
def test_the_due_time_decides_the_state(
    broker: Broker, clock: Any, due: Callable[[int], int], state: str, score: int | None
) -> None:
    assert broker.enqueue(QUEUE, [draft("a", due=due(clock.now))]) == "N"

    assert states(broker) == {state: ["a"]}
    if score is not None:
        assert scores(broker, state) == {"a": clock.now + score}


def test_without_a_clock_the_time_is_that_of_redis(server: Server, prefix: str) -> None:
    broker = Broker(server, prefix)
    seconds, micros = map(int, server.command("TIME"))

    put(broker, ["a"], due=-5000)

    late = scores(broker, "scheduled")["a"] - 5000 - (seconds * 1000 + micros // 1000)
    assert 0 <= late < 5000


def test_higher_priorities_come_first_and_equal_ones_in_order(broker: Broker) -> None:
    jobs = [("a", 0), ("b", 100), ("c", -100), ("d", 0), ("e", 100), ("f", 1), ("g", -1)]

    broker.enqueue(QUEUE, [draft(id, priority) for id, priority in jobs])
    broker.enqueue(QUEUE, [draft(id.upper(), priority) for id, priority in jobs])

    assert "".join(ready(broker)) == "beBEfFadADgGcC"


def test_every_priority_has_a_place_of_its_own(broker: Broker) -> None:
    levels = [*range(-100, 101)]
    broker.enqueue(QUEUE, [draft(f"p{level}", level) for level in levels])

    grants = Child(broker).claim(500)

    assert [grant.live.priority for grant in grants] == levels[::-1]
    assert [grant.id for grant in grants] == [f"p{level}" for level in levels[::-1]]


def test_more_jobs_than_a_call_takes_go_in_several_and_stay_in_order(broker: Broker) -> None:
    ids = [f"job-{number}" for number in range(5 * CHUNK + 1)]

    assert broker.enqueue(QUEUE, [draft(id) for id in ids]) == "N" * len(ids)

    assert ready(broker) == ids


def test_nothing_to_enqueue_asks_nothing(broker: Broker) -> None:
    assert broker.enqueue(QUEUE, []) == ""


# -- once ------------------------------------------------------------------------------------------


def test_a_call_sent_again_does_nothing(broker: Broker) -> None:
    jobs = [draft("a", 5), draft("b", 0, -DAY), draft("c", 0, 0, DAY)]
    assert broker.enqueue(QUEUE, jobs) == "NNN"
    before = dump(broker, "meta")

    assert broker.enqueue(QUEUE, jobs) == "EEE"

    assert dump(broker, "meta") == before


def test_only_what_is_new_goes_in(broker: Broker) -> None:
    put(broker, "bd")

    assert put(broker, "abcde") == "NENEN"

    assert ready(broker) == ["b", "d", "a", "c", "e"]


def test_an_id_that_comes_twice_in_a_call_is_one_job(broker: Broker) -> None:
    jobs = [Draft("a", b"first"), Draft("a", b"second", priority=9), draft("b")]

    assert broker.enqueue(QUEUE, jobs) == "NEN"

    assert ready(broker) == ["a", "b"]
    assert broker.fetch(QUEUE, ["a"])[0].envelope == b"first"


@pytest.mark.parametrize("state", State)
def test_a_job_is_never_overwritten_in_whatever_state_it_is(broker: Broker, state: State) -> None:
    seed_all(broker)
    before = dump(broker, "meta")

    assert broker.enqueue(QUEUE, [Draft(state.value, b"another", 7, -5, 9)]) == "E"

    assert dump(broker, "meta") == before
    assert state_of(broker, state.value) == state


# -- its record ------------------------------------------------------------------------------------


@pytest.mark.parametrize("due", [0, -DAY])
def test_when_it_expires_is_recorded(broker: Broker, clock: Any, due: int) -> None:
    put(broker, ["a"], due=due, expires_in=90_000)

    assert live(broker, "a") == FRESH._replace(expires=clock.now + 90_000)


def test_a_plain_job_needs_no_record(broker: Broker) -> None:
    put(broker, "abc")
    put(broker, "def", due=-DAY)

    assert dump(broker)["live"] == {}


def test_a_scheduled_job_keeps_its_priority(broker: Broker, clock: Any) -> None:
    put(broker, ["a"])
    put(broker, ["b"], priority=-7, due=-10)
    put(broker, ["c"], priority=7, due=-20)
    clock.forward(20)
    broker.promote(QUEUE, "keeper")

    assert [(grant.id, grant.live.priority) for grant in Child(broker).claim(3)] == [
        ("c", 7),
        ("a", 0),
        ("b", -7),
    ]


# -- tokens ----------------------------------------------------------------------------------------


def test_there_is_one_wake_token_after_any_number_of_jobs(broker: Broker) -> None:
    put(broker, "abc")
    put(broker, "def")
    put(broker, "abc")

    assert tokens(broker, "wake") == 1


def test_a_token_is_dropped_again_when_jobs_come_after_it_was_taken(broker: Broker) -> None:
    put(broker, "a")
    assert take_token(broker)

    put(broker, "b")

    assert tokens(broker, "wake") == 1


def test_a_scheduled_job_wakes_nobody(broker: Broker) -> None:
    put(broker, "a", due=-1)

    assert tokens(broker, "wake") == 0


def test_a_job_that_existed_wakes_nobody(broker: Broker) -> None:
    put(broker, "a")
    Child(broker).claim(1)

    put(broker, "a")

    assert tokens(broker, "wake") == 0


@pytest.mark.parametrize(
    ("there", "coming", "rings"),
    [
        ([], [-50], 1),  # the first
        ([-50], [-40], 1),
        ([-50], [-60], 0),
        ([-50], [-60, -70], 0),
        ([-50], [-60, -40], 1),
        ([-50], [-40, -30, -20], 1),  # never more than one
        ([-50], [0], 0),  # ready at once: nothing to wait for
    ],
)
def test_the_timekeeper_is_told_when_something_is_due_before_the_head(
    broker: Broker, there: list[int], coming: list[int], rings: int
) -> None:
    broker.enqueue(QUEUE, [draft(f"there{due}", due=due) for due in there])
    take_token(broker, "timer")

    broker.enqueue(QUEUE, [draft(f"coming{due}", due=due) for due in coming])

    assert tokens(broker, "timer") == rings


def test_a_timer_token_that_nobody_took_stays_the_only_one(broker: Broker) -> None:
    for due in range(-90, -80):
        put(broker, [f"due{due}"], due=due)

    assert tokens(broker, "timer") == 1
    assert members(broker, "scheduled")[0] == "due-81"


def test_queues_do_not_touch_each_other(broker: Broker) -> None:
    put(broker, "ab", queue="one")
    put(broker, "a", queue="two")

    assert states(broker, "one") == {"ready": ["a", "b"]}
    assert states(broker, "two") == {"ready": ["a"]}
