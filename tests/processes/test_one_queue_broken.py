"""A worker of several queues, one of which is broken: its jobs wait, the others' go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.compat import task_backends
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import BRIEF, WAIT, Station

BROKEN = "critical"


@pytest.fixture
def broker(station: Station) -> Broker:
    """The station's."""
    found: Broker = task_backends["default"].broker
    return found


def spoil(broker: Broker, key: str) -> Callable[[], object]:
    """Makes a key of the queue a string, as a person might; mends it when called."""
    name = broker.key(BROKEN, key)
    broker.server.command("RENAME", name, f"{name}-aside")
    broker.server.command("SET", name, "what a person did")
    return lambda: broker.server.command("RENAME", f"{name}-aside", name)


def ends(broker: Broker) -> dict[bytes, float]:
    """Holder -> end of its lease in the queue that is well."""
    flat = broker.server.command("ZRANGE", broker.key("default", "holders"), 0, -1, "WITHSCORES")
    return {flat[at]: float(flat[at + 1]) for at in range(0, len(flat), 2)}


def broken(task: Any) -> Any:
    return task.using(queue_name=BROKEN)


def test_jobs_of_the_other_queues_go_on(station: Station, broker: Broker) -> None:
    worker = station.worker(**BRIEF)
    assert broken(tasks.add).enqueue(1, 2).get(timeout=WAIT) == 3
    assert tasks.add.enqueue(1, 2).get(timeout=WAIT) == 3
    mend = spoil(broker, "holders")
    waiting = [broken(tasks.note).enqueue(f"broken {number}") for number in range(3)]
    worker.says(f"queue {BROKEN}: heartbeat failed")
    worker.says(f"queue {BROKEN}: the exchange with Redis failed")

    ((holder, before),) = ends(broker).items()
    tasks.note.using(run_after=timedelta(seconds=1)).enqueue("promoted")
    for number in range(20):
        assert tasks.add.enqueue(number, 1).get(timeout=WAIT) == number + 1
    station.traced("promoted")
    eventually(lambda: ends(broker)[holder] > before)

    mend()
    for result in waiting:
        result.get(timeout=WAIT)
    assert worker.output.count(f"queue {BROKEN}: heartbeat failed") == 1
    assert "Traceback" not in worker.output


def test_a_job_stops_whose_lease_could_not_be_renewed_and_those_of_other_queues_run_on(
    station: Station, broker: Broker
) -> None:
    """Another worker might reclaim it; when the queue is mended, a new child takes over."""
    worker = station.worker(**BRIEF)
    (child,) = worker.children()
    stopped = broken(tasks.endless).enqueue("stopped")
    beside = tasks.hold.enqueue("beside", "gate")
    station.traced("start stopped", "start beside")
    mend = spoil(broker, "holders")

    worker.says(f"in queue {BROKEN} is over")
    assert worker.children() == [child]
    assert tasks.add.enqueue(1, 2).get(timeout=WAIT) == 3, "its process goes on"

    mend()
    station.open("gate")
    assert beside.get(timeout=WAIT) == "beside"
    assert station.lines().count("start beside") == 1
    eventually(lambda: station.lines().count("start stopped") == 2, WAIT)
    assert child not in worker.children()
    assert "do not stop" not in worker.output
    stopped.cancel()


def test_what_jobs_of_the_other_queues_say_is_heard(station: Station, broker: Broker) -> None:
    worker = station.worker()
    assert broken(tasks.add).enqueue(1, 2).get(timeout=WAIT) == 3
    spoil(broker, "holders")
    broken(tasks.note).enqueue("waits")
    worker.says(f"queue {BROKEN}: the exchange with Redis failed")

    result = tasks.report.enqueue("gate")

    eventually(lambda: result.refresh() or result.progress, WAIT)
    station.open("gate")
    result.get(timeout=WAIT)
