"""Queues that a person holds back, with a real worker."""

from __future__ import annotations

from django_taskq.broker.inspector import Inspector, Look
from django_taskq.broker.steering import Steering
from django_taskq.compat import task_backends
from django_taskq.job import State
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import WAIT, Station

MINUTE = 60_000  # ms


def test_a_worker_leaves_a_paused_queue_alone_until_it_goes_on(station: Station) -> None:
    steering = Steering(task_backends["default"].broker)
    steering.pause("default", b"")
    station.worker()
    paused = tasks.add.enqueue(1, 2)

    # The other queue's jobs run meanwhile, and so the worker has looked at both.
    other = tasks.add.using(queue_name="low")
    assert [other.enqueue(n, n).get(timeout=WAIT) for n in range(3)] == [0, 2, 4]
    paused.refresh()
    assert paused.state is State.READY

    steering.resume("default")
    assert paused.get(timeout=WAIT) == 3


def test_a_worker_counts_what_stands_in_line(station: Station) -> None:
    broker = task_backends["default"].broker
    Steering(broker).pause("default", b"")
    for number in range(3):
        tasks.add.enqueue(number, 1)
    station.worker("--queues", "default")

    def backlog() -> float | None:
        look = Look(MINUTE, 2)
        return look.steps(Inspector(broker).past(["default"], look)[0])[-1].backlog

    assert eventually(backlog, WAIT) == 3.0
