"""What workers say of themselves is bounded, and lapses when they fall silent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.keys import global_key
from django_taskq.broker.roster import Process, Record, Roster

RECORD = Record(
    "host", 7, "0.1", 5, "running", {"q": 1}, 10, memory=3, processes=[Process("h", 8, 6, 4, 2)]
)
STANDS = 60_000  # ms; the key lapses in the server's own time


@pytest.fixture
def roster(broker: Broker) -> Roster:
    return Roster(broker)


def test_a_record_stands_as_long_as_it_says(roster: Roster, clock: Any) -> None:
    roster.enroll("a", RECORD, STANDS)

    now, (worker,) = roster.workers()
    assert now == clock()
    assert (worker.id, worker.left, worker.record) == ("a", STANDS, RECORD)
    assert (worker.used, worker.slots, worker.memory) == (2, 10, 7)
    clock.forward(STANDS)
    assert roster.workers()[1] == []


def test_what_a_release_before_this_one_says_is_read(
    roster: Roster, broker: Broker, clock: Any
) -> None:
    old = (
        b'{"host":"h","pid":7,"release":"0.1","started":5,"state":"running","queues":{"q":1},'
        b'"slots":10,"memory":3,"processes":[{"holder":"x","pid":8,"started":6}]}'
    )
    key = global_key(broker.prefix, "workers")
    broker.server.command("HSET", key, "a", (clock() + 1).to_bytes(8) + old)

    _, (worker,) = roster.workers()

    assert (worker.cpu, worker.attempts, worker.failed, worker.age) == (None,) * 4
    assert not worker.is_stale


def test_one_that_does_not_report_is_stale_before_it_is_forgotten(
    roster: Roster, clock: Any
) -> None:
    roster.enroll("a", msgspec.structs.replace(RECORD, stands=STANDS), STANDS)
    quarter = STANDS // 4

    def seen() -> list[tuple[int | None, bool]]:
        return [(worker.age, worker.is_stale) for worker in roster.workers()[1]]

    assert seen() == [(0, False)]
    clock.forward(quarter)
    assert seen() == [(quarter, False)]
    clock.forward(1)
    assert seen() == [(quarter + 1, True)]
    clock.forward(STANDS - quarter)
    assert seen() == []


def test_a_worker_is_all_of_its_processes_and_those_before_them(roster: Roster, clock: Any) -> None:
    one = Process("h", 8, 6, cpu=30, attempts=5, failed=1)
    two = Process("i", 9, 6, attempts=7, failed=0)
    told = msgspec.structs.replace(RECORD, processes=[one, two], cpu=2, attempts=100, failed=10)
    roster.enroll("a", told, STANDS)

    _, (worker,) = roster.workers()

    assert (worker.cpu, worker.attempts, worker.failed) == (32, 112, 11)


def test_nothing_stays_of_workers_that_died(roster: Roster, broker: Broker, clock: Any) -> None:
    for n in range(5):
        roster.enroll(f"dead{n}", RECORD, STANDS)
    clock.forward(2 * STANDS)
    roster.enroll("a", RECORD, STANDS)

    key = global_key(broker.prefix, "workers")
    assert broker.server.command("HLEN", key) == 1
    assert 0 < broker.server.command("PTTL", key) <= STANDS


def test_there_are_never_more_than_a_thousand(roster: Roster, broker: Broker) -> None:
    key = global_key(broker.prefix, "workers")
    later = (2**62).to_bytes(8)
    for n in range(1_000):
        broker.server.command("HSET", key, f"w{n}", later + b"{}")

    assert not roster.enroll("one more", RECORD, STANDS)
    assert roster.enroll("w7", RECORD, STANDS)


def test_a_record_that_cannot_be_read_hides_no_other(roster: Roster, broker: Broker) -> None:
    roster.enroll("a", RECORD, STANDS)
    key = global_key(broker.prefix, "workers")
    broker.server.command("HSET", key, "bad", (2**62).to_bytes(8) + b"no json", "short", b"x")

    assert [worker.id for worker in roster.workers()[1]] == ["a"]
