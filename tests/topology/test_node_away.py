"""One node of a Cluster is away for longer than a lease: the queues of the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from django_taskq.compat import task_backends
from django_taskq.exceptions import BrokerUnavailable
from tests.broker.helpers import LEASE, draft, holder_id, scores
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.topology.conftest import QUEUES, Place, Stationed
from tests.topology.servers import Cluster, Node, binary_of

WAIT = 30.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three masters that nobody replaces; what one serves is away with it, and nothing else."""
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


@pytest.fixture
def station(cluster: Cluster, at: Stationed) -> Place:
    return at(cluster.url, CONNECT_TIMEOUT=0.5)


def home(cluster: Cluster, queue: str) -> Node:
    key = task_backends["default"].broker.key(queue, "jobs")
    return cluster.master_of(cluster.slot_of(key))


def two_apart(cluster: Cluster) -> tuple[str, str]:
    """A queue whose node may go, and one of another node; not the node of what all queues share."""
    broker = task_backends["default"].broker
    shared = cluster.master_of(cluster.slot_of(f"{broker.prefix}:queues"))
    for away in QUEUES:
        for there in QUEUES:
            if home(cluster, away) not in (shared, home(cluster, there)):
                return away, there
    raise AssertionError("all queues are on one node")


def test_the_queues_of_the_other_nodes_go_on(cluster: Cluster, station: Place) -> None:
    away, there = two_apart(cluster)
    broker = task_backends["default"].broker
    worker = station.worker()
    kept = tasks.hold.using(queue_name=there).enqueue("kept", "gate")
    lost = tasks.hold.using(queue_name=away).enqueue("lost", "gate")
    station.traced("start kept", "start lost", timeout=WAIT)
    (lease,) = scores(broker, "holders", there).values()
    node = home(cluster, away)
    node.kill()

    worker.says(rf"the lease of .* in queue {away} is over", WAIT)
    near = tasks.add.using(queue_name=there)
    assert [near.enqueue(n, 1).get(timeout=WAIT) for n in range(10)] == list(range(1, 11))
    due = near.using(run_after=timedelta(seconds=0.2)).enqueue(2, 2)
    assert due.get(timeout=WAIT) == 4
    eventually(lambda: max(scores(broker, "holders", there).values()) > lease + 5_000, WAIT)

    node.start()
    eventually(lambda: station.lines().count("start lost") == 2, 2 * WAIT)
    station.open("gate")
    assert lost.get(timeout=WAIT) == "lost"
    assert kept.get(timeout=WAIT) == "kept"
    assert station.lines().count("start kept") == 1
    assert station.lines().count("end lost") == 1


def test_a_renewal_is_answered_by_the_nodes_that_are_there(
    cluster: Cluster, station: Place
) -> None:
    away, there = two_apart(cluster)
    broker = task_backends["default"].broker
    for queue in (away, there):
        assert broker.enqueue(queue, [draft("one")]) == "N"
    home(cluster, away).kill()

    holders = {queue: [holder_id("child")] for queue in (away, there)}
    answers = broker.renew_each(holders, LEASE)

    assert isinstance(answers[away], BrokerUnavailable)
    assert not isinstance(answers[there], Exception)
    with pytest.raises(BrokerUnavailable):
        broker.renew([away, there], [holder_id("child")], LEASE)
