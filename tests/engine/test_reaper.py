"""What the dead held goes back, in the order in which they died."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from django_taskq.broker.broker import LOST_LIMIT, Broker
from django_taskq.broker.connection import Server
from django_taskq.clock import monotonic
from django_taskq.codec import decode_failures
from django_taskq.service import FOREVER
from django_taskq.services.janitor import INTERVAL, Janitor
from django_taskq.services.reaper import Reaper
from tests.broker.helpers import LEASE, QUEUE, Child, live, members, put, ready, states
from tests.conftest import FakeTime
from tests.engine.proxy import Proxy

LOGGER = "django_taskq.worker"


@pytest.fixture
def reaper(broker: Broker) -> Reaper:
    return Reaper(broker, [QUEUE])


def child_with(broker: Broker, name: str, *ids: str, queue: str = QUEUE) -> Child:
    """A child that claimed these jobs."""
    child = Child(broker, name, queue)
    put(broker, ids, queue)
    assert [grant.id for grant in child.claim(len(ids))] == list(ids)
    return child


def test_it_rests_until_somebody_dies(reaper: Reaper) -> None:
    assert reaper.due == FOREVER
    assert reaper.tick() == FOREVER

    reaper.died("nobody", {}, "its process was killed")

    assert reaper.due == 0.0


def test_the_jobs_of_a_child_that_died_go_back_at_once(
    reaper: Reaper, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    child = child_with(broker, "a", "one", "two", "three")

    reaper.died(child.holder, {QUEUE: {"two"}}, "its process was killed by signal 9")
    reaper.run(monotonic())

    assert ready(broker) == ["one", "two", "three"]
    assert [live(broker, id).crashes for id in ("one", "two", "three")] == [0, 1, 0]
    assert members(broker, "holders") == []
    assert "signal 9" in caplog.text
    assert reaper.due == FOREVER


def test_every_queue_of_the_dead_is_looked_at(broker: Broker) -> None:
    child_with(broker, "a", "one", queue="first")
    child = child_with(broker, "a", "two", queue="second")
    reaper = Reaper(broker, ["first", "second"])

    reaper.died(child.holder, {"second": {"two"}}, "killed")
    reaper.tick()

    assert ready(broker, "first") == ["one"]
    assert ready(broker, "second") == ["two"]
    assert live(broker, "two", "second").crashes == 1
    assert live(broker, "one", "first").crashes == 0


def test_a_job_whose_worker_vanishes_again_and_again_is_dead(
    reaper: Reaper, broker: Broker, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    put(broker, ["poison"])
    for number in range(LOST_LIMIT + 1):
        child = Child(broker, f"child{number}")
        child.claim()
        clock.forward(LEASE)
        reaper.lapsed(QUEUE, child.holder)
        reaper.run(monotonic())

    assert states(broker) == {"dead": ["poison"]}
    (stored,) = broker.fetch(QUEUE, ["poison"])
    (failure,) = decode_failures(stored.errors)
    assert failure.c.endswith("WorkerCrashed")
    assert failure.m == "its whole worker vanished"
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.job_id == "poison"  # type: ignore[attr-defined]


def test_the_lapsed_of_another_worker_are_taken_back(
    reaper: Reaper, broker: Broker, clock: FakeTime
) -> None:
    child = child_with(broker, "a", "one")
    clock.forward(LEASE)

    reaper.lapsed(QUEUE, child.holder)
    reaper.run(monotonic())

    assert ready(broker) == ["one"]
    assert (live(broker, "one").lost, live(broker, "one").crashes) == (1, 0)
    assert live(broker, "one").attempt == 0


def test_who_is_told_to_have_lapsed_again_and_again_waits_once(broker: Broker) -> None:
    """As while a queue's keys are broken: each renewal says it."""
    reaper = Reaper(broker, [QUEUE])
    broker.server.command("SET", broker.key(QUEUE, "errors"), "what a person did")
    child = child_with(broker, "a", "one")
    for _ in range(20):
        reaper.lapsed(QUEUE, child.holder)
        reaper.lapsed(QUEUE, "")

    assert len(reaper._waiting) == 2


def test_a_lease_that_still_holds_is_left_alone(
    reaper: Reaper, broker: Broker, clock: FakeTime
) -> None:
    """It was renewed between the look and the reaping."""
    child = child_with(broker, "a", "one")
    clock.forward(LEASE - 1)

    reaper.lapsed(QUEUE, child.holder)
    reaper.run(monotonic())

    assert states(broker) == {"running": ["one"]}


def test_reaping_twice_takes_back_once(reaper: Reaper, broker: Broker) -> None:
    child = child_with(broker, "a", "one")
    for _ in range(2):
        reaper.died(child.holder, {}, "killed")
    reaper.run(monotonic())

    assert live(broker, "one").fence == 2


def test_the_latest_to_die_stands_first(reaper: Reaper, broker: Broker) -> None:
    """Each goes to the front, so the order in which they died is kept."""
    first, second = child_with(broker, "a", "one"), child_with(broker, "b", "two")

    reaper.died(first.holder, {}, "killed")
    reaper.died(second.holder, {}, "killed")
    reaper.run(monotonic())

    assert ready(broker) == ["two", "one"]


# -- outages ---------------------------------------------------------------------------------------


@pytest.fixture
def far(proxy: Proxy, prefix: str, clock: FakeTime) -> Iterator[Broker]:
    server = Server(proxy.url, connect_timeout=0.2)
    yield Broker(server, prefix, now=clock)
    server.close()


def test_what_cannot_be_done_now_is_done_in_order_when_redis_is_back(
    far: Broker, broker: Broker, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    reaper = Reaper(far, [QUEUE])
    first, second = child_with(broker, "a", "one"), child_with(broker, "b", "two")
    proxy.away = True
    reaper.died(first.holder, {QUEUE: {"one": False}}, "killed")
    reaper.run(monotonic())
    assert 0 < reaper.due < FOREVER
    reaper.died(second.holder, {}, "killed")
    assert reaper.due == 0.0
    reaper.run(monotonic())
    assert states(broker) == {"running": ["one", "two"]}
    assert [each.levelno for each in caplog.records if each.name == LOGGER] == [logging.ERROR]

    proxy.away = False
    reaper.troubles.urge()
    reaper.run(FOREVER)

    assert ready(broker) == ["two", "one"]
    assert live(broker, "one").crashes == 1
    assert reaper.due == FOREVER
    assert "reaper works again" in caplog.text


def test_a_reply_that_was_lost_charges_nobody_twice(
    far: Broker, broker: Broker, proxy: Proxy
) -> None:
    reaper = Reaper(far, [QUEUE])
    child = child_with(broker, "a", "one")
    proxy.losing = True
    reaper.died(child.holder, {QUEUE: {"one": False}}, "killed")
    reaper.run(monotonic())
    assert proxy.lost
    assert reaper.due < FOREVER

    proxy.losing = False
    reaper.troubles.urge()
    reaper.run(FOREVER)

    assert ready(broker) == ["one"]
    assert (live(broker, "one").crashes, live(broker, "one").fence) == (1, 2)
    assert reaper.due == FOREVER


# -- the janitor -----------------------------------------------------------------------------------


def test_the_janitor_finds_jobs_that_nobody_holds(
    reaper: Reaper, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_taskq.services.janitor.monotonic", lambda: 1000.0)
    child = child_with(broker, "a", "one")
    broker.server.command("ZREM", broker.key(QUEUE, "holders"), child.holder)
    janitor = Janitor(broker, [QUEUE], reaper)

    rest = janitor.tick()
    reaper.run(monotonic())

    assert ready(broker) == ["one"]
    assert 0.8 * INTERVAL <= rest <= 1.2 * INTERVAL


def test_the_janitor_leaves_what_somebody_holds(reaper: Reaper, broker: Broker) -> None:
    child_with(broker, "a", "one")

    Janitor(broker, [QUEUE], reaper).tick()
    reaper.run(monotonic())

    assert states(broker) == {"running": ["one"]}
