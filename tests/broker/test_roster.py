"""What workers say of themselves is bounded, and lapses with their leases."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.keys import global_key
from django_taskq.broker.roster import Process, Record, Roster

RECORD = Record(
    "host", 7, "0.1", 5, "running", {"q": 1}, 10, memory=3, processes=[Process("h", 8, 6, 4, 2)]
)


@pytest.fixture
def roster(broker: Broker) -> Roster:
    return Roster(broker)


def test_a_record_stands_as_long_as_it_says(roster: Roster, clock: Any) -> None:
    roster.enroll("a", RECORD, 1_000)

    now, (worker,) = roster.workers()
    assert now == clock()
    assert (worker.id, worker.left, worker.record) == ("a", 1_000, RECORD)
    assert (worker.used, worker.slots, worker.memory) == (2, 10, 7)
    clock.forward(1_000)
    assert roster.workers()[1] == []


def test_nothing_stays_of_workers_that_died(roster: Roster, broker: Broker, clock: Any) -> None:
    for n in range(5):
        roster.enroll(f"dead{n}", RECORD, 1_000)
    clock.forward(2_000)
    roster.enroll("a", RECORD, 1_000)

    key = global_key(broker.prefix, "workers")
    assert broker.server.command("HLEN", key) == 1
    assert 0 < broker.server.command("PTTL", key) <= 1_000


def test_there_are_never_more_than_a_thousand(roster: Roster, broker: Broker) -> None:
    key = global_key(broker.prefix, "workers")
    later = (2**62).to_bytes(8)
    for n in range(1_000):
        broker.server.command("HSET", key, f"w{n}", later + b"{}")

    assert not roster.enroll("one more", RECORD, 1_000)
    assert roster.enroll("w7", RECORD, 1_000)


def test_a_record_that_cannot_be_read_hides_no_other(roster: Roster, broker: Broker) -> None:
    roster.enroll("a", RECORD, 1_000)
    key = global_key(broker.prefix, "workers")
    broker.server.command("HSET", key, "bad", (2**62).to_bytes(8) + b"no json", "short", b"x")

    assert [worker.id for worker in roster.workers()[1]] == ["a"]
