"""trim: ended jobs go by age and by count, whole, and never too early."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import HOUSEKEEPING, Broker, Limits
from django_taskq.broker.connection import Server
from django_taskq.job import UNFINISHED
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    WINDOW,
    Child,
    dump,
    members,
    meta,
    outcome,
    put,
    seed_all,
    states,
    traces,
)

ENDED = {"succeeded": "S", "dead": "D", "cancelled": "C"}
every_end = pytest.mark.parametrize("state", ENDED)


def end(broker: Broker, state: str, *ids: str, keep: int = DAY) -> None:
    """Runs new jobs to that end."""
    child = Child(broker)
    for at in range(0, len(ids), 100):
        put(broker, ids[at : at + 100])
        child.settle(*[outcome(grant, ENDED[state], FAILURE, keep) for grant in child.claim(100)])


def limited(server: Server, prefix: str, clock: Any, **limits: int) -> Broker:
    return Broker(server, prefix, Limits(**limits), clock)


@every_end
def test_what_is_over_its_time_goes_and_the_rest_stays(
    broker: Broker, clock: Any, state: str
) -> None:
    end(broker, state, "a", "b", keep=DAY)
    end(broker, state, "c", keep=DAY + 1)
    clock.forward(DAY - 1)
    assert broker.trim(QUEUE) == 0
    clock.forward(1)

    assert broker.trim(QUEUE) == 2

    assert states(broker) == {state: ["c"]}
    assert meta(broker, "trimmed") == 2


@every_end
def test_what_is_over_the_count_goes_the_oldest_first(
    server: Server, prefix: str, clock: Any, state: str
) -> None:
    broker = limited(server, prefix, clock, **{state: 2})
    for id in "abcd":
        end(broker, state, id)
        clock.forward(1)
    clock.forward(WINDOW)

    assert broker.trim(QUEUE) == 2

    assert states(broker) == {state: ["c", "d"]}


@every_end
@pytest.mark.parametrize("keep", [0, DAY])
def test_nothing_goes_that_ended_within_the_window(
    server: Server, prefix: str, clock: Any, state: str, keep: int
) -> None:
    broker = limited(server, prefix, clock, succeeded=0, dead=0, cancelled=0)
    end(broker, state, "a", keep=keep)
    clock.forward(WINDOW - 1)
    assert broker.trim(QUEUE) == 0

    clock.forward(1)
    assert broker.trim(QUEUE) == 1


def test_the_count_goes_before_the_age(server: Server, prefix: str, clock: Any) -> None:
    broker = limited(server, prefix, clock, dead=1)
    end(broker, "dead", "a", "b", keep=100 * DAY)
    clock.forward(WINDOW)

    assert broker.trim(QUEUE) == 1


def test_a_call_deletes_a_hundred(broker: Broker, clock: Any) -> None:
    count = 2 * HOUSEKEEPING + 30
    for state in ENDED:
        end(broker, state, *[f"{state}{number}" for number in range(count // 3 + 1)], keep=WINDOW)
    clock.forward(WINDOW)

    deleted = [broker.trim(QUEUE) for _ in range(4)]

    assert deleted == [100, 100, 31, 0]
    assert states(broker) == {}


def test_a_call_over_the_count_deletes_a_hundred(server: Server, prefix: str, clock: Any) -> None:
    broker = limited(server, prefix, clock, succeeded=20)
    end(broker, "succeeded", *[f"job-{number}" for number in range(150)])
    clock.forward(WINDOW)

    assert [broker.trim(QUEUE) for _ in range(3)] == [100, 30, 0]
    assert len(members(broker, "succeeded")) == 20


@every_end
def test_what_goes_leaves_no_trace(broker: Broker, clock: Any, state: str) -> None:
    end(broker, state, "a", keep=0)
    assert {"jobs", "live", state} <= set(traces(broker, "a"))
    clock.forward(WINDOW)

    broker.trim(QUEUE)

    assert traces(broker, "a") == []


def test_an_id_that_went_can_be_used_again(broker: Broker, clock: Any) -> None:
    end(broker, "dead", "a", keep=0)
    clock.forward(WINDOW)
    broker.trim(QUEUE)

    assert put(broker, ["a"]) == "N"


def test_what_has_not_ended_never_goes(server: Server, prefix: str, clock: Any) -> None:
    broker = limited(server, prefix, clock, succeeded=0, dead=0, cancelled=0)
    seed_all(broker)
    clock.forward(1000 * DAY)

    assert broker.trim(QUEUE) == 3

    assert set(states(broker)) == {state.value for state in UNFINISHED}


def test_an_empty_queue_has_nothing_to_trim(broker: Broker) -> None:
    before = dump(broker)

    assert broker.trim(QUEUE) == 0

    assert dump(broker) == before
