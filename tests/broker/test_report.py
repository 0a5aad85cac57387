"""report: what a running job says of itself is kept for its attempt, and for no other."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import CHUNK, Broker
from django_taskq.job import Kind
from tests.broker.helpers import DAY, FAILURE, QUEUE, WINDOW, Child, dump, outcome, put, states


def reports(broker: Broker) -> dict[str, bytes]:
    return dict(dump(broker)["reports"])


def report(broker: Broker, id: str, fence: int, text: bytes = b"{}") -> str:
    return broker.report(QUEUE, [(id, fence, text)])


def test_what_a_running_job_says_is_kept_and_read_with_it(broker: Broker) -> None:
    put(broker, "ab")
    grant, _ = Child(broker).claim(2)

    assert report(broker, "a", grant.live.fence, b"first") == "O"
    assert report(broker, "a", grant.live.fence, b"second") == "O"

    assert [job.report for job in broker.fetch(QUEUE, "ab")] == [b"second", b""]


def test_a_report_of_an_earlier_attempt_is_stale(broker: Broker) -> None:
    put(broker, "a")
    child = Child(broker)
    (old,) = child.claim()
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True)
    (new,) = Child(broker, "another").claim()
    report(broker, "a", new.live.fence, b"new")

    assert report(broker, "a", old.live.fence, b"old") == "S"
    assert broker.fetch(QUEUE, "a")[0].report == b"new"


@pytest.mark.parametrize("kind", list("SRDCZG"))
def test_a_report_that_comes_after_the_outcome_is_stale(broker: Broker, kind: str) -> None:
    put(broker, "a")
    child = Child(broker)
    (grant,) = child.claim()
    child.settle(outcome(grant, kind, delay=DAY))

    assert report(broker, "a", grant.live.fence) == "S"
    assert reports(broker) == {}


def test_nothing_is_kept_of_a_job_that_is_not_there(broker: Broker) -> None:
    put(broker, "a")

    assert broker.report(QUEUE, [("a", 0, b"{}"), ("x", 0, b"{}"), ("x", 1, b"{}")]) == "SSS"
    assert reports(broker) == {}


def test_many_reports_go_in_several_calls(broker: Broker) -> None:
    ids = [f"job-{n}" for n in range(CHUNK + 1)]
    put(broker, ids)
    grants = Child(broker).claim(CHUNK) + Child(broker, "b").claim(1)

    told = [(grant.id, grant.live.fence, b"{}") for grant in grants]
    assert broker.report(QUEUE, told) == "O" * (CHUNK + 1)
    assert len(reports(broker)) == CHUNK + 1


def test_a_report_outlives_the_attempt_and_goes_with_its_job(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    child = Child(broker)
    (grant,) = child.claim()
    report(broker, "a", grant.live.fence, b"done")
    child.settle(outcome(grant, Kind.SUCCEEDED, b"1", WINDOW))
    assert broker.fetch(QUEUE, "a")[0].report == b"done"

    clock.forward(WINDOW)
    broker.trim(QUEUE)

    assert states(broker) == {}
    assert reports(broker) == {}


def test_a_job_that_is_retried_by_hand_begins_without_one(broker: Broker) -> None:
    put(broker, "a")
    child = Child(broker)
    (grant,) = child.claim()
    report(broker, "a", grant.live.fence)
    child.settle(outcome(grant, Kind.DEAD, FAILURE, DAY))

    broker.retry(QUEUE, ["a"])

    assert reports(broker) == {}
