"""One node of a Cluster is away, and nobody takes its place: the queues of the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from django_taskq.broker.broker import Broker, Exchange
from django_taskq.broker.connection import make_server
from django_taskq.compat import task_backends
from django_taskq.exceptions import BrokerUnavailable
from tests.broker.helpers import LEASE, draft, holder_id
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import WAIT
from tests.topology.conftest import QUEUES, Stationed
from tests.topology.servers import Cluster, Node, binary_of, until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three masters without replicas, each of which serves on without the others."""
    nodes = Cluster(
        tmp_path / "cl",
        binary_of("valkey"),
        replicas=0,
        appendonly="yes",
        cluster_require_full_coverage="no",
    )
    try:
        yield nodes.start()
    finally:
        nodes.stop_all()


def home(cluster: Cluster, broker: Broker, queue: str) -> Node:
    return cluster.master_of(cluster.slot_of(broker.key(queue, "jobs")))


def test_an_exchange_and_a_renewal_reach_the_others(cluster: Cluster) -> None:
    server = make_server(cluster.url, 2.0, 10.0)
    broker = Broker(server, "t")
    queues = list("abcdefghi")
    for queue in queues:
        broker.enqueue(queue, [draft("one")])
    away = home(cluster, broker, "a")
    lost = {queue for queue in queues if home(cluster, broker, queue) is away}
    assert 0 < len(lost) < len(queues)
    away.kill()
    asks = [Exchange(queue, holder_id("child"), LEASE, True, 1, 5) for queue in queues]

    answers = dict(zip(queues, broker.begin(asks).finish(), strict=True))

    for queue, answer in answers.items():
        if queue in lost:
            assert isinstance(answer, BrokerUnavailable)
        else:
            assert not isinstance(answer, BaseException)
            assert [grant.id for grant in answer.grants] == ["one"]
    failed: dict[str, BaseException] = {}
    renewed = broker.renew(queues, [holder_id("child")], LEASE, "", failed.__setitem__)
    assert failed.keys() == lost
    assert {letter for each in renewed.values() for letter in each.holders.values()} == {"O"}
    server.close()


def test_a_worker_goes_on_with_the_queues_of_the_others(cluster: Cluster, at: Stationed) -> None:
    station = at(cluster.url)
    broker = task_backends["default"].broker
    homes = {queue: home(cluster, broker, queue) for queue in QUEUES}
    away = homes[QUEUES[0]]
    well = next(queue for queue, node in homes.items() if node is not away)
    worker = station.worker()
    for queue in QUEUES:
        assert tasks.add.using(queue_name=queue).enqueue(1, 2).get(timeout=WAIT) == 3
    (child,) = worker.children()
    long = tasks.hold.using(queue_name=well).enqueue("long", "gate")
    lost = tasks.note.using(queue_name=QUEUES[0], run_after=timedelta(seconds=1)).enqueue("lost")
    station.traced("start long")

    # What is enqueued has to be there again: a kill takes along what was not handed to the kernel.
    until(lambda: away.info("persistence")["aof_buffer_length"] == 0)
    away.kill()
    worker.says("heartbeat: .* cannot be reached")
    for number in range(10):
        result = tasks.add.using(queue_name=well).enqueue(number, 1)
        assert result.get(timeout=WAIT) == number + 1
    tasks.note.using(queue_name=well, run_after=timedelta(seconds=1)).enqueue("promoted")
    station.traced("promoted")
    worker.says(f"in queue {QUEUES[0]} is over", 45.0)  # the lease could not be renewed there
    station.open("gate")
    assert long.get(timeout=WAIT) == "long"
    assert station.lines().count("start long") == 1
    assert worker.children() == [child]

    away.start()
    eventually(lambda: "lost" in station.lines(), WAIT)
    lost.get(timeout=WAIT)
    assert child not in worker.children(), "another child has a lease there again"
