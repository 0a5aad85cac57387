"""A queue whose keys a person broke: the worker's other queues go on, and it does once mended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django_taskq.broker.broker import Broker
from django_taskq.compat import task_backends
from django_taskq.job import State
from tests.broker.helpers import scores
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import Station

WAIT = 20.0


@contextmanager
def broken(broker: Broker, queue: str, key: str) -> Iterator[None]:
    """A key of the queue is a string in the meantime."""
    name, aside = broker.key(queue, key), broker.key(queue, f"{key}-aside")
    was = broker.server.command("EXISTS", name)
    if was:
        broker.server.command("RENAME", name, aside)
    broker.server.command("SET", name, "what a person did by mistake")
    yield
    broker.server.command("DEL", name)
    if was:
        broker.server.command("RENAME", aside, name)


def test_the_queues_beside_a_broken_one_are_served(station: Station) -> None:
    broker = task_backends["default"].broker
    worker = station.worker("--queues", "critical,low", "--concurrency", "2")
    low, critical = (tasks.add.using(queue_name=queue) for queue in ("low", "critical"))
    for task in (low, critical):
        assert task.enqueue(1, 1).get(timeout=WAIT) == 2
    held = tasks.hold.using(queue_name="critical").enqueue("a", "gate")
    station.traced("start a")
    with broken(broker, "low", "ready"):
        worker.says("queue low cannot be worked on: WRONGTYPE.*taskq doctor")
        (lease,) = scores(broker, "holders", "critical").values()
        for number in range(20):
            assert critical.enqueue(number, 1).get(timeout=WAIT) == number + 1
        due = critical.using(run_after=timedelta(seconds=0.2)).enqueue(2, 2)
        assert due.get(timeout=WAIT) == 4
        eventually(
            lambda: max(scores(broker, "holders", "critical").values()) > lease + 5_000, WAIT
        )  # renewed for longer than a lease lasts
        station.open("gate")
        assert held.get(timeout=WAIT) == "a"
    assert low.enqueue(3, 3).get(timeout=WAIT) == 6
    assert worker.stop() == 0
    said = [line for line in worker.output.splitlines() if "cannot be worked on" in line]
    assert len(said) == len(set(said)), "each service says it once"
    assert "in queue critical is over" not in worker.output
    assert station.lines().count("start a") == 1


def test_a_lease_that_ends_in_one_queue_stops_the_jobs_of_that_queue_alone(
    station: Station,
) -> None:
    broker = task_backends["default"].broker
    worker = station.worker("--queues", "critical,low", "--concurrency", "2")
    (child,) = worker.children()
    kept = tasks.hold.using(queue_name="critical").enqueue("kept", "gate")
    lost = tasks.hold.using(queue_name="low").enqueue("lost", "gate")
    station.traced("start kept", "start lost")
    with broken(broker, "low", "meta"):
        worker.says("the lease of .* in queue low is over")
        assert tasks.add.using(queue_name="critical").enqueue(1, 1).get(timeout=WAIT) == 2
        assert "end lost" not in station.lines()
    eventually(lambda: station.lines().count("start lost") == 2, WAIT)
    station.open("gate")

    assert lost.get(timeout=WAIT) == "lost"
    assert kept.get(timeout=WAIT) == "kept"
    assert (lost.state, lost.attempts) == (State.SUCCEEDED, 1)
    assert station.lines().count("start kept") == 1
    assert station.lines().count("end lost") == 1
    assert child in worker.children(), "no process had to be replaced"
