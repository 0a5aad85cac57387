"""What a worker looks at before it starts, on real servers that are wrong in one thing each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_taskq.broker import health, rights
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import make_server
from django_taskq.broker.health import Finding
from django_taskq.broker.waits import Wait
from django_taskq.exceptions import BrokerUnavailable
from tests.conftest import eventually
from tests.processes.conftest import ROOT
from tests.topology.conftest import QUEUES, Stationed, on_one_program
from tests.topology.servers import Cluster, Node, free_port
from tests.topology.test_everywhere import a_day

USER = "taskq:s3cret@"


@pytest.fixture
def node(binary: str, tmp_path: Path) -> Iterator[Node]:
    one = Node(tmp_path / "n", binary, appendonly="yes")
    yield one.start()
    one.kill()


def broker_at(node: Node, user: str = "", durability: Wait | None = None) -> Broker:
    url = node.url.replace("//", f"//{user}")
    return Broker(make_server(url), "taskq", durability=durability)


def found(broker: Broker, **options: Any) -> list[Finding]:
    try:
        return health.check(broker, QUEUES, **options)
    finally:
        broker.server.close()


def test_nothing_is_wrong_with_a_server_as_it_should_be(node: Node) -> None:
    assert found(broker_at(node)) == []


def test_nothing_is_wrong_with_a_cluster_as_it_should_be(cluster: Cluster) -> None:
    cluster.wait_ok()  # whatever another test did to it
    broker = Broker(make_server(cluster.url), "taskq", durability=Wait("replicated", 1, 1.0))
    assert found(broker) == []


def test_a_server_that_evicts_is_refused(node: Node) -> None:
    node.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert found(broker_at(node)) == [], "without maxmemory nothing is evicted"
    node.command("CONFIG", "SET", "maxmemory", "100mb")
    (finding,) = found(broker_at(node))
    assert finding.level == health.ERROR
    assert "allkeys-lru" in finding.message
    assert "maxmemory-policy noeviction" in finding.hint
    (finding,) = found(broker_at(node), allow_eviction=True)
    assert finding.level == health.WARNING


def test_a_replica_is_refused_and_its_master_named(node: Node) -> None:
    port = free_port()
    node.command("REPLICAOF", "127.0.0.1", port)
    (finding,) = found(broker_at(node))
    assert finding.level == health.ERROR
    assert f"127.0.0.1:{port}" in finding.hint


@pytest.mark.parametrize(
    ("save", "said"), [("", "a restart loses all jobs"), ("60 1000", "keeps snapshots only")]
)
def test_a_server_that_may_forget_is_warned_of(node: Node, save: str, said: str) -> None:
    node.command("CONFIG", "SET", "appendonly", "no")
    node.command("CONFIG", "SET", "save", save)
    (finding,) = found(broker_at(node))
    assert finding.level == health.WARNING
    assert said in finding.message
    assert "appendonly yes" in finding.hint


def test_an_old_release_is_refused(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """No old server is at hand: the limits are moved instead."""
    monkeypatch.setattr(health, "OLDEST", {"Redis": (99, 1), "Valkey": (99, 1)})
    (finding,) = found(broker_at(node))
    assert finding.level == health.ERROR
    assert "99.1 or newer" in finding.hint


def test_durability_that_cannot_be_had_is_said(node: Node) -> None:
    (finding,) = found(broker_at(node, durability=Wait("replicated", 1, 1.0)))
    assert finding.level == health.WARNING
    assert "has 0 replicas" in finding.message
    node.command("CONFIG", "SET", "appendonly", "no")
    findings = found(broker_at(node, durability=Wait("local", 1, 1.0)))
    assert findings[0].level == health.ERROR
    assert any("keeps no log" in finding.message for finding in findings)


def test_a_node_of_a_cluster_is_refused_as_a_single_server(cluster: Cluster) -> None:
    cluster.wait_ok()  # whatever another test did to it
    replica = eventually(
        lambda: next((r for m in cluster.masters() for r in cluster.replicas_of(m)), None)
    )
    for one in (cluster.masters()[0], replica):
        (finding,) = found(broker_at(one))
        assert finding.level == health.ERROR
        assert "redis+cluster://" in finding.hint


def test_a_single_server_is_no_cluster(node: Node) -> None:
    broker = Broker(make_server(node.url.replace("redis://", "redis+cluster://")[:-2]), "taskq")
    with pytest.raises(BrokerUnavailable, match="cluster support disabled"):
        found(broker)


# -- rights ----------------------------------------------------------------------------------------


def allow(node: Node, line: str) -> None:
    node.command(*line.replace("PASSWORD", "s3cret").split())


def test_a_user_with_the_rights_that_are_documented_can_do_all(node: Node, at: Stationed) -> None:
    """The line of docs/servers.md, with another prefix; a worker lives a whole day on it."""
    station = at(node.url.replace("//", f"//{USER}"))
    broker = Broker(make_server(node.url), station.prefix)
    allow(node, rights.acl_line(broker))
    broker.server.close()
    a_day(station)


def test_the_line_of_the_documentation_allows_all(cluster: Cluster) -> None:
    page = (ROOT / "docs" / "servers.md").read_text()
    (line,) = re.findall(r"^ACL SETUSER .*$", page, re.MULTILINE)
    for one in cluster.nodes:
        allow(one, line)
    url = cluster.url.replace("//", f"//{USER}")
    assert found(Broker(make_server(url), "taskq", durability=Wait("replicated", 1, 1.0))) == []


@on_one_program
def test_the_same_on_a_cluster(cluster: Cluster, at: Stationed) -> None:
    wait = Wait("replicated", 1, 4.0)
    url = cluster.url.replace("//", f"//{USER}")
    station = at(url, DURABILITY=wait.level, DURABILITY_TIMEOUT=wait.timeout)
    line = rights.acl_line(Broker(make_server(cluster.url), station.prefix, durability=wait))
    for one in cluster.nodes:
        allow(one, line)
    a_day(station)


def test_what_is_not_allowed_is_said_with_the_line_that_allows_it(node: Node) -> None:
    broker = broker_at(node, USER)
    line = rights.acl_line(broker)
    allow(node, f"{line} -zadd -blpop")
    (finding,) = found(broker)
    assert finding.level == health.ERROR
    assert "BLPOP" in finding.message
    assert "ZADD" in finding.message
    assert line in finding.hint
    assert "s3cret" not in str(finding)
    allow(node, f"{line} -eval -evalsha")
    (finding,) = found(broker)
    assert "EVAL" in finding.message
    allow(node, line.replace("&taskq:*", ""))
    (finding,) = found(broker)
    assert "PUBLISH" in finding.message
    allow(node, line.replace("~taskq:*", "~taskq:{default}:*"))
    (finding,) = found(broker)
    assert "taskq:queues" in str(finding) or "EVAL" in finding.message


def test_a_user_who_may_not_ask_about_the_server_is_a_warning(node: Node) -> None:
    broker = broker_at(node, USER)
    allow(node, f"{rights.acl_line(broker)} -config|get")
    node.command("CONFIG", "SET", "appendonly", "no")
    (finding,) = found(broker)
    assert finding.level == health.WARNING
    assert "not known" in finding.message
    allow(node, "ACL SETUSER taskq -info")
    findings = found(broker)
    assert [finding.level for finding in findings] == [health.ERROR, health.WARNING]
    assert "INFO" in findings[0].message, "the renewal of leases asks it"
    assert "may not be" in findings[1].message or "not known" in findings[1].message


def test_every_command_of_the_scripts_is_among_the_rights(node: Node) -> None:
    needed = rights.needed_commands(broker_at(node))
    assert {"HSETNX", "ZADD", "SPUBLISH", "TIME", "EVALSHA", "BLPOP"} <= set(needed)


# -- as the worker says it -------------------------------------------------------------------------


@on_one_program
def test_a_worker_does_not_start_and_says_what_to_do(node: Node, at: Stationed) -> None:
    node.command("CONFIG", "SET", "maxmemory", "100mb")
    node.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    station = at(node.url)
    worker = station.start()
    assert worker.wait() == 1
    assert "Traceback" not in worker.output
    assert "maxmemory-policy noeviction" in worker.output
    allowed = at(node.url, ALLOW_EVICTION=True).worker("--burst")
    assert "WARNING" in allowed.output
    assert allowed.wait() == 0
