"""At ``maxmemory``: new work is refused whole, and everything that makes room goes on.

On a server of its own, so that no other test meets the limit.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_taskq.broker import embedded
from django_taskq.broker.almanac import Almanac, Tick
from django_taskq.broker.broker import LOST_LIMIT, Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.inspector import Inspector
from django_taskq.broker.steering import Steering
from django_taskq.exceptions import BrokerFull
from django_taskq.job import State
from tests.broker.helpers import (
    DAY,
    ENVELOPE,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    asked,
    at_once,
    claimed,
    draft,
    dump,
    holder_id,
    outcome,
    parked,
    per_time,
    put,
    put_asking,
    ready,
    seed,
    seed_all,
    state_of,
    states,
    vanish,
)


@pytest.fixture(scope="module")
def private() -> Iterator[Server]:
    home = Path(tempfile.mkdtemp(prefix="tq-"))
    server = Server(f"embedded://{home}?persist=no")
    try:
        embedded.ensure(home, persist=False)
    except ImproperlyConfigured as error:
        pytest.skip(f"there is no server of our own to fill: {error}")
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    yield server
    server.close()
    embedded.stop(home)
    embedded.release(home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def broker(private: Server, clock: Any) -> Iterator[Broker]:
    """A broker whose server has room until ``fill`` is called."""
    yield Broker(private, f"t{uuid4().hex[:12]}", now=clock)
    private.command("CONFIG", "SET", "maxmemory", 0)
    private.command("FLUSHALL")


@pytest.fixture
def fill(private: Server) -> Callable[[], None]:
    """Sets the limit below what is used now."""

    def set_limit() -> None:
        private.command("CONFIG", "SET", "maxmemory", 1_000_000)

    return set_limit


def test_enqueue_is_refused_before_anything_is_written(
    broker: Broker, fill: Callable[[], None]
) -> None:
    seed_all(broker)
    fill()
    before = dump(broker)

    with pytest.raises(BrokerFull, match="full"):
        broker.enqueue(QUEUE, [draft("new"), draft("later", 5, -DAY), draft("expiring", 0, 0, 9)])

    assert dump(broker) == before


def test_a_tick_is_refused_before_anything_is_written(
    broker: Broker, fill: Callable[[], None], clock: Any
) -> None:
    almanac = Almanac(broker)
    almanac.agenda(QUEUE, [("s", "0123456789ab")])
    due = clock.forward(1_000)
    fill()
    before = dump(broker)

    with pytest.raises(BrokerFull, match="full"):
        almanac.tick(QUEUE, [Tick("s", due, due, "skip", 0, draft("new"))])
    assert dump(broker) == before
    assert almanac.steer(QUEUE, "pause", ["s"]) == "O"


def test_a_queue_that_is_new_to_a_full_server_is_refused(
    broker: Broker, fill: Callable[[], None]
) -> None:
    broker.number("old")
    fill()

    with pytest.raises(BrokerFull):
        broker.number("new")

    assert broker.queues() == ["old"]


def test_retry_is_refused_before_anything_is_written(
    broker: Broker, fill: Callable[[], None]
) -> None:
    seed_all(broker)
    fill()
    before = dump(broker)

    with pytest.raises(BrokerFull):
        broker.retry(QUEUE, ["dead", "succeeded", "cancelled", "retrying"])

    assert dump(broker) == before


def test_workers_drain_a_full_server(broker: Broker, fill: Callable[[], None]) -> None:
    kinds = "SRDCZG"
    put(broker, [*kinds, "next"])
    fill()
    child = Child(broker)

    grants = child.claim(6)
    answer = child.exchange(
        2, [outcome(grant, grant.id, b"x" * 1000, DAY) for grant in grants], lean=True
    )

    assert answer.verdicts == "OOOOOO"
    assert [grant.id for grant in answer.grants] == ["G", "next"]
    assert states(broker) == {
        "succeeded": ["S"],
        "retrying": ["R"],
        "dead": ["D"],
        "cancelled": ["C"],
        "scheduled": ["Z"],
        "running": ["G", "next"],
    }


def test_whoever_settles_much_is_told_how_full_it_is(
    broker: Broker, fill: Callable[[], None]
) -> None:
    put(broker, [f"j{number:02}" for number in range(17)])
    child = Child(broker)
    grants = child.claim(17)
    fill()

    below = child.exchange(0, [outcome(grant, "S", b"x" * 1024, DAY) for grant in grants[:15]])
    at = child.exchange(0, [outcome(grants[15], "R", b"x" * 16384, DAY)])
    again = child.exchange(0, [outcome(grants[16], "S", b"x", DAY)])

    assert at.memory > 100
    assert (below.memory, again.memory) == (-1, -1)


def test_what_is_due_becomes_ready(broker: Broker, clock: Any, fill: Callable[[], None]) -> None:
    seed(broker, scheduled="a", retrying="b")
    fill()
    clock.forward(DAY)

    assert broker.promote(QUEUE, "keeper").moved == 2


def test_leases_are_renewed_and_the_memory_is_told(
    broker: Broker, clock: Any, fill: Callable[[], None]
) -> None:
    seed(broker, running="a")
    fill()
    clock.forward(LEASE - 1)

    answer = broker.renew([QUEUE], [holder_id("seeder")], LEASE)[QUEUE]

    assert answer.holders == {holder_id("seeder"): "O"}
    assert answer.memory > 100


def test_how_full_it_is_comes_in_percent(broker: Broker, private: Server) -> None:
    info = private.command("INFO", "memory").decode()
    used = int(info.partition("used_memory:")[2].split()[0])
    private.command("CONFIG", "SET", "maxmemory", used * 2)

    assert 45 <= broker.renew([QUEUE], [], LEASE)[QUEUE].memory <= 60


def test_the_jobs_of_the_dead_go_back(broker: Broker, clock: Any, fill: Callable[[], None]) -> None:
    put(broker, "a")
    vanish(broker, clock, LOST_LIMIT)
    put(broker, "b")
    child = Child(broker)
    child.claim(2)
    clock.forward(LEASE)
    fill()

    taken, hopeless = broker.reclaim(QUEUE, child.holder, FAILURE)

    assert (sorted(taken), hopeless) == (["a", "b"], ["a"])


@pytest.mark.parametrize("verb", ["postpone", "edit"])
def test_what_makes_work_or_jobs_larger_is_refused(
    broker: Broker, clock: Any, fill: Callable[[], None], verb: str
) -> None:
    seed_all(broker)
    fill()
    before = dump(broker)
    steering = Steering(broker)

    due = clock.now + DAY
    act = {
        "edit": lambda: steering.edit(QUEUE, "dead", ENVELOPE, b"[]"),
        "postpone": lambda: broker.retry(QUEUE, ["dead", "retrying"], due),
    }[verb]

    with pytest.raises(BrokerFull):
        act()

    assert dump(broker) == before


def test_an_operator_makes_room(broker: Broker, clock: Any, fill: Callable[[], None]) -> None:
    seed_all(broker)
    clock.forward(WINDOW)
    fill()
    steering = Steering(broker)

    assert steering.delete(QUEUE, ["dead", "succeeded"]) == "OO"
    assert steering.withdraw(QUEUE, [("ready", TASK), ("waiting", TASK)], FAILURE, 0) == "OO"
    assert steering.advance(QUEUE, ["scheduled"]) == "O"
    assert steering.prioritize(QUEUE, ["scheduled"], 5) == "O"
    steering.note(QUEUE, "a", b"{}")
    steering.pause(QUEUE, b"{}")
    assert Inspector(broker).queue(QUEUE).paused
    assert [row.id for row in Inspector(broker).page([QUEUE], State.READY).rows] == ["scheduled"]


def test_jobs_are_cancelled(broker: Broker, fill: Callable[[], None]) -> None:
    seed_all(broker)
    fill()

    answers = broker.cancel(QUEUE, [("ready", TASK), ("running", TASK)], FAILURE, DAY)

    assert [answer.verdict for answer in answers] == ["C", "R"]


def test_jobs_are_parked_and_released(broker: Broker, clock: Any, fill: Callable[[], None]) -> None:
    grants = seed(broker, running="a")
    fill()

    assert broker.park(QUEUE, [parked(grants["a"])]) == "O"
    clock.forward(DAY)
    assert broker.release(QUEUE, TASK) == 1

    assert ready(broker) == ["a"]


def test_what_is_over_its_time_is_deleted(
    broker: Broker, clock: Any, fill: Callable[[], None]
) -> None:
    seed(broker, dead="a", succeeded="b", cancelled="c")
    fill()
    clock.forward(DAY + WINDOW)

    assert broker.trim(QUEUE) == 3


def test_jobs_can_be_read(broker: Broker, fill: Callable[[], None]) -> None:
    seed_all(broker)
    fill()

    assert broker.fetch(QUEUE, ["ready"])[0].state == "ready"


def test_new_work_is_taken_again_when_there_is_room(
    broker: Broker, private: Server, fill: Callable[[], None]
) -> None:
    fill()
    with pytest.raises(BrokerFull):
        put(broker, "a")
    private.command("CONFIG", "SET", "maxmemory", 0)

    assert put(broker, "a") == "N"
    assert state_of(broker, "a") == "ready"


# -- locks, limits and turns -----------------------------------------------------------------------

ASK = asked(at_once(1), lock="x", ttl=1_000, key="k")


@pytest.mark.parametrize("call", ["enqueue", "replace", "retry"])
def test_new_work_with_a_lock_is_refused_whole(
    broker: Broker, fill: Callable[[], None], call: str
) -> None:
    put_asking(broker, ["a"], ASK)
    if call == "retry":
        child = Child(broker)
        child.settle(outcome(child.claim()[0], "D", FAILURE, DAY))
    fill()
    before = dump(broker)

    asks_for_more = {
        "enqueue": lambda: put_asking(broker, ["b"], asked(lock="y", key="k")),
        "replace": lambda: broker.replace(QUEUE, [draft("a")._replace(ask=ASK)]),
        "retry": lambda: broker.retry(QUEUE, ["a"]),
    }[call]

    with pytest.raises(BrokerFull):
        asks_for_more()

    assert dump(broker) == before


def test_locks_and_gates_go_on(broker: Broker, clock: Any, fill: Callable[[], None]) -> None:
    put_asking(broker, ["a"], ASK)
    put_asking(broker, "bcde", asked(at_once(1), per_time("60/m"), key="k"))
    put_asking(broker, ["f"], asked(at_once(1), lock="y"))
    fill()
    child = Child(broker)
    line = []
    for _ in range(20):
        grants = child.claim(10)
        line += [grant.id for grant in grants]
        child.settle(*[outcome(grant, "S") for grant in grants])
        clock.forward(1_000)
        broker.promote(QUEUE, "keeper")
    broker.trim(QUEUE)

    assert sorted(line) == list("abcdef")
    kept = dump(broker)
    assert [name for name in ("locks", "lapses", "entered", "gated") if kept[name]] == []


def test_a_cancel_lets_in_the_next(broker: Broker, fill: Callable[[], None]) -> None:
    put_asking(broker, "abc", asked(at_once(1)))
    child = Child(broker)
    child.settle(outcome(child.claim(10)[0], "S"))
    fill()

    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)

    assert claimed(child) == ["c"]


def test_the_sweep_mends_what_asks(broker: Broker, fill: Callable[[], None]) -> None:
    put_asking(broker, "ab", asked(at_once(1), lock=""))
    Child(broker).claim(10)
    broker.server.command("ZREM", broker.key(QUEUE, "running"), "a")
    broker.server.command("HDEL", broker.key(QUEUE, "jobs"), "a")
    fill()

    list(broker.walk(QUEUE, mend=True))

    assert claimed(Child(broker, "another")) == ["b"]
