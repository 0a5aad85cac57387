"""The janitor deletes, finds and mends, a little at a time."""

from __future__ import annotations

import logging

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.sweep import CHECKS
from django_taskq.services import janitor as module
from django_taskq.services.janitor import INTERVAL, STEP, Janitor
from django_taskq.services.reaper import Reaper
from tests.broker.helpers import (
    FAILURE,
    QUEUE,
    WINDOW,
    Child,
    corrupt,
    members,
    outcome,
    put,
    ready,
    seed,
    states,
    without_envelope,
)
from tests.conftest import FakeTime

LOGGER = "django_taskq.worker"


@pytest.fixture
def janitor(broker: Broker) -> Janitor:
    return Janitor(broker, [QUEUE, "other"], Reaper(broker, [QUEUE, "other"]))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """The janitor's own clock, in seconds."""
    time = FakeTime(1000)
    monkeypatch.setattr(module, "monotonic", time)
    return time


def test_what_was_left_behind_is_mended_and_said(
    janitor: Janitor, broker: Broker, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    corrupt(broker)
    clock.forward(WINDOW)

    with caplog.at_level(logging.WARNING, LOGGER):
        janitor.tick()

    assert states(broker)["dead"] == ["hollow"]
    assert "lost" in ready(broker)
    lost = [text for text in caplog.messages if "in no state that have not ended" in text]
    assert lost == [f"queue {QUEUE}: {CHECKS['lost'].what}: 1 {CHECKS['lost'].mended}"]
    assert not any(CHECKS["unheld"].what in text for text in caplog.messages)


def test_a_sound_queue_is_not_spoken_of(
    janitor: Janitor, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    seed(broker, ready="a", succeeded="b", dead="c")
    without_envelope(broker, "c")

    with caplog.at_level(logging.WARNING, LOGGER):
        janitor.tick()

    assert caplog.records == []


def test_small_queues_are_looked_through_once_a_round(janitor: Janitor, time: FakeTime) -> None:
    rest = janitor.tick()

    assert 0.8 * INTERVAL <= rest <= 1.2 * INTERVAL


def test_a_large_queue_is_looked_through_step_by_step(
    janitor: Janitor, broker: Broker, time: FakeTime, clock: FakeTime
) -> None:
    ids = [f"job-{number:05}" for number in range(1000)]
    put(broker, ids)
    broker.server.command("ZREM", broker.key(QUEUE, "ready"), *ids[::9])
    rests = []
    while not rests or rests[-1] == STEP:
        rests.append(janitor.tick())
        clock.forward(200)

    assert 10 <= len(rests) <= 40
    assert len(ready(broker)) == len(ids)


def test_a_walk_that_takes_longer_than_a_round_goes_on(
    janitor: Janitor, broker: Broker, time: FakeTime, clock: FakeTime
) -> None:
    put(broker, [f"job-{number:05}" for number in range(1000)])
    rests = []
    while not rests or rests[-1] == STEP:
        rests.append(janitor.tick())
        time.forward(round(2 * INTERVAL))
        clock.forward(200)

    assert 10 <= len(rests) <= 40


def test_what_was_deleted_by_hand_goes_on_being_found(
    janitor: Janitor, broker: Broker, time: FakeTime, clock: FakeTime
) -> None:
    put(broker, "a")
    janitor.tick()
    clock.forward(round(2000 * INTERVAL))
    broker.server.command("DEL", broker.key(QUEUE, "ready"))
    time.forward(round(2 * INTERVAL))

    janitor.tick()

    assert ready(broker) == ["a"]


def test_thousands_that_are_over_their_time_at_once_are_deleted_in_a_few_rounds(
    broker: Broker,
) -> None:
    """Lua's unpack() ends at 7,999: no call may take them all."""
    places = [word for number in range(9_000) for word in (1, f"job-{number}")]
    broker.server.command("ZADD", broker.key(QUEUE, "succeeded"), *places)
    janitor = Janitor(broker, [QUEUE], Reaper(broker, [QUEUE]))

    for _ in range(2):
        janitor.make_room()
        janitor.tick()

    assert members(broker, "succeeded") == []


def test_a_dead_job_is_deleted_after_its_time_though_nothing_happens_in_its_queue(
    janitor: Janitor, broker: Broker, clock: FakeTime
) -> None:
    """No other job has to die there first."""
    kept_for = broker.limits.dead_retention
    put(broker, ["a"])
    (grant,) = Child(broker, "a").claim()
    Child(broker, "a").exchange(0, [outcome(grant, "D", FAILURE, kept_for)])
    clock.forward(kept_for - 1)
    janitor.make_room()
    janitor.tick()
    assert members(broker, "dead") == ["a"]

    clock.forward(1)
    janitor.make_room()
    janitor.tick()

    assert states(broker) == {}
    assert broker.fetch(QUEUE, ["a"])[0].state is None
