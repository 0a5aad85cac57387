"""TLS between everybody, and Sentinels that ask for a password: Debian's redis-server has both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import WAIT
from tests.topology.certificates import Authority
from tests.topology.conftest import Stationed
from tests.topology.servers import LOOPBACK, SERVICE, Cluster, Group, Node, free_port, until
from tests.topology.servers import binary_of as program
from tests.topology.test_everywhere import SECRET, a_day

WATCHWORD = "w4tchword"  # of the Sentinels; SECRET is the servers'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def secured(authority: Authority) -> dict[str, str]:
    """What a server needs to speak TLS with everybody; each has its ``tls_port`` beside it."""
    server = authority.sign("server")
    return {
        "tls_cert_file": str(server.certificate),
        "tls_key_file": str(server.key),
        "tls_ca_cert_file": str(authority.certificate),
        "tls_auth_clients": "no",
        "tls_replication": "yes",
    }


def lines_of(options: dict[str, str]) -> str:
    return "\n".join(f"{name.replace('_', '-')} {value}" for name, value in options.items())


class Watched(Group):
    """A master and its replica behind TLS and a password, and a Sentinel with one of its own."""

    def __init__(self, home: Path, secured: dict[str, str]) -> None:
        super().__init__()
        binary = program("redis")
        self.ports = [free_port() for _ in range(3)]
        own = {"requirepass": SECRET, "masterauth": SECRET, "appendonly": "yes", **secured}
        follow = {"replicaof": f"{LOOPBACK} {self.ports[0]}"}
        watch = [
            f"tls-port {self.ports[2]}",
            lines_of(secured),
            f"requirepass {WATCHWORD}",
            f"sentinel monitor {SERVICE} {LOOPBACK} {self.ports[0]} 1",
            f"sentinel auth-pass {SERVICE} {SECRET}",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
        ]
        self.sentinel = Node(home / "s", binary, sentinel="\n".join(watch))
        self.sentinel.password = WATCHWORD
        self.data = [
            Node(home / "n0", binary, tls_port=self.ports[0], **own),
            Node(home / "n1", binary, tls_port=self.ports[1], **follow, **own),
        ]
        self.nodes = [*self.data, self.sentinel]

    def start(self) -> Watched:
        for node in self.data:
            node.start()
        until(lambda: self.data[1].info("replication")["master_link_status"] == "up")
        self.sentinel.start()  # not before: it looks for replicas every 10 s
        until(lambda: self.master["num-slaves"] == "1", message="the Sentinel knows the replica")
        return self

    @property
    def master(self) -> dict[str, str]:
        """What the Sentinel says of the master."""
        flat = self.sentinel.command("SENTINEL", "MASTER", SERVICE)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def url(self, authority: Authority, watchword: str = WATCHWORD) -> str:
        return (
            f"rediss+sentinel://:{SECRET}@{LOOPBACK}:{self.ports[2]}/{SERVICE}/0"
            f"?sentinel_password={watchword}&ssl_ca_certs={authority.certificate}"
        )


@pytest.fixture
def watched(tmp_path: Path, secured: dict[str, str]) -> Iterator[Watched]:
    group = Watched(tmp_path / "group", secured)
    try:
        yield group.start()
    finally:
        group.stop_all()


def test_sentinels_with_a_password_behind_tls(
    watched: Watched, authority: Authority, at: Stationed
) -> None:
    a_day(at(watched.url(authority)))


def test_a_failover_behind_tls_is_followed(
    watched: Watched, authority: Authority, at: Stationed
) -> None:
    station = at(watched.url(authority))
    worker = station.worker()
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2

    until(lambda: watched.sentinel.command("SENTINEL", "FAILOVER", SERVICE))
    eventually(lambda: watched.master["port"] == str(watched.ports[1]), WAIT)
    eventually(lambda: watched.data[1].role == "master", WAIT)

    assert tasks.add.enqueue(2, 2).get(timeout=WAIT) == 4
    assert worker.stop() == 0


def test_a_wrong_password_of_the_sentinels_is_said_without_it(
    watched: Watched, authority: Authority, at: Stationed
) -> None:
    refused = at(watched.url(authority, "wr0ng")).start()

    assert refused.wait() == 1
    assert "cannot be reached" in refused.output
    assert "WRONGPASS" in refused.output
    assert not [each for each in (SECRET, "wr0ng") if each in refused.output]


def test_a_cluster_behind_tls(
    tmp_path: Path, authority: Authority, secured: dict[str, str], at: Stationed
) -> None:
    cluster = Cluster(
        tmp_path / "cl",
        program("redis"),
        replicas=0,
        appendonly="yes",
        tls_cluster="yes",
        **secured,
    )
    ports = [free_port() for _ in cluster.nodes]
    for node, port in zip(cluster.nodes, ports, strict=True):
        with node._conf.open("a") as conf:
            conf.write(f"tls-port {port}\n")
    hosts = ",".join(f"{LOOPBACK}:{port}" for port in ports)
    try:
        cluster.start()
        a_day(at(f"rediss+cluster://{hosts}?ssl_ca_certs={authority.certificate}"))
    finally:
        cluster.stop_all()
