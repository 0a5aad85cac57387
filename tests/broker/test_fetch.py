"""fetch: a job as it is, whole, whatever state it is in."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.broker.replies import Stored
from django_taskq.job import FRESH, State
from tests.broker.helpers import (
    DAY,
    ENVELOPE,
    FAILURE,
    QUEUE,
    Child,
    dump,
    live,
    outcome,
    put,
    seed_all,
    without_envelope,
)


@pytest.mark.parametrize("state", State)
def test_the_state_of_a_job_is_where_it_is(broker: Broker, state: State) -> None:
    seed_all(broker)

    (job,) = broker.fetch(QUEUE, [state.value])

    assert (job.state, job.envelope) == (state, ENVELOPE)
    assert job.live == live(broker, state.value)


def test_jobs_are_told_in_the_order_they_were_asked_for(broker: Broker) -> None:
    seed_all(broker)
    names = [*State][::-1]

    assert [job.state for job in broker.fetch(QUEUE, names)] == names


def test_an_unknown_job_has_no_state(broker: Broker) -> None:
    put(broker, "ab")

    jobs = broker.fetch(QUEUE, ["a", "unknown", "b"])

    assert [job.state for job in jobs] == ["ready", None, "ready"]
    assert jobs[1] == Stored(None, 0, b"", FRESH, b"", b"")


@pytest.mark.parametrize(
    ("state", "due"),
    [("scheduled", DAY), ("retrying", DAY), ("succeeded", DAY), ("dead", DAY), ("waiting", 1000)],
)
def test_its_time_is_told(broker: Broker, clock: Any, state: str, due: int) -> None:
    seed_all(broker)

    assert broker.fetch(QUEUE, [state])[0].due == clock.now + due


def test_a_running_job_was_claimed_at_its_time(broker: Broker, clock: Any) -> None:
    seed_all(broker)

    assert broker.fetch(QUEUE, ["running"])[0].due == clock.now


def test_values_and_failures_are_told(broker: Broker) -> None:
    put(broker, "ab")
    child = Child(broker)
    a, b = child.claim(2)
    child.settle(outcome(a, "S", b'{"x":"\xc3\xa4"}', DAY), outcome(b, "D", FAILURE, DAY))

    jobs = broker.fetch(QUEUE, ["a", "b"])

    assert [(job.value, job.errors) for job in jobs] == [(b'{"x":"\xc3\xa4"}', b""), (b"", FAILURE)]


def test_a_job_without_an_envelope_still_has_its_state(broker: Broker) -> None:
    put(broker, "a")
    without_envelope(broker, "a")

    (job,) = broker.fetch(QUEUE, ["a"])

    assert (job.state, job.envelope) == (State.READY, b"")


def test_more_than_a_hundred_are_read_in_several_calls(broker: Broker) -> None:
    ids = [f"job-{number}" for number in range(2 * HOUSEKEEPING + 1)]
    put(broker, ids)

    assert [job.state for job in broker.fetch(QUEUE, ids)] == ["ready"] * len(ids)


def test_nothing_to_read_asks_nothing(broker: Broker) -> None:
    assert broker.fetch(QUEUE, []) == []


def test_to_read_changes_nothing(broker: Broker) -> None:
    seed_all(broker)
    before = dump(broker)

    broker.fetch(QUEUE, [*State, "unknown"])

    assert dump(broker) == before
