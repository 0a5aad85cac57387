"""Sentinels: who is the master is asked of them, and a failover loses no confirmed job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_taskq.broker.aio import AsyncServer
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server, make_server
from django_taskq.exceptions import BrokerUnavailable
from tests.broker.helpers import draft
from tests.topology.conftest import Stationed, on_one_program
from tests.topology.load import Load
from tests.topology.servers import ReplicaSet, free_port

JOBS = 400


@pytest.fixture
def server(replica_set: ReplicaSet) -> Iterator[Server]:
    one = make_server(replica_set.url)
    yield one
    one.close()


def test_the_master_is_found_though_a_sentinel_is_away(replica_set: ReplicaSet) -> None:
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{replica_set.sentinels[0].port}"
    for _ in range(4):  # they are asked in any order
        server = make_server(f"redis+sentinel://{hosts}/mymaster")
        assert server.place() == replica_set.master.address
        assert server.command("PING") == b"PONG"
        server.close()


def test_a_name_that_no_sentinel_knows_is_said(replica_set: ReplicaSet) -> None:
    url = replica_set.url.replace("mymaster", "other")
    with pytest.raises(BrokerUnavailable, match="knows no master 'other'"):
        make_server(url, 0.2).command("PING")


def test_a_master_that_became_a_replica_is_left(server: Server, replica_set: ReplicaSet) -> None:
    """It refuses (READONLY), or its connections are closed, and the new one is asked."""
    broker = Broker(server, "orderly")
    aio = AsyncServer(make_server(replica_set.url, 10.0))
    assert broker.enqueue("q", [draft("before")]) == "N"
    server.connect_timeout = 10.0
    former = replica_set.master

    async def both() -> None:
        await aio.enqueue(broker, "q", [draft("async before")])
        await asyncio.to_thread(replica_set.wait_synced)
        new = await asyncio.to_thread(replica_set.failover)
        # What Sentinels do in the next seconds; until then it takes writes, which are lost.
        await asyncio.to_thread(former.command, "REPLICAOF", *new.address)
        (answer,) = await aio.enqueue(broker, "q", [draft("async after")])
        assert answer.letter == "N"
        await aio._drop(*aio._take_idle())

    asyncio.run(both())
    assert broker.enqueue("q", [draft("after"), draft("before")]) == "NE"
    assert server.place() == replica_set.master.address != former.address
    replica_set.wait_synced()


@pytest.fixture
def watched_closely(binary: str, tmp_path: Path) -> Iterator[ReplicaSet]:
    """One of the test's own, whose Sentinels wait a second."""
    nodes = ReplicaSet(tmp_path / "rs", binary, down_after=1.0, appendonly="yes")
    try:
        yield nodes.start()
    finally:
        nodes.stop_all()


@on_one_program
def test_a_failover_under_load_loses_nothing(watched_closely: ReplicaSet, at: Stationed) -> None:
    """kill -9 of the master while jobs are enqueued and run; each is confirmed by a replica."""
    station = at(watched_closely.url, DURABILITY="replicated", DURABILITY_TIMEOUT=1)
    station.worker()
    watched_closely.wait_synced()
    load = Load(station, JOBS)
    load.until(JOBS // 3)
    old = watched_closely.kill_master()
    begun = time.monotonic()
    load.until(JOBS // 3 + 1)
    gap = time.monotonic() - begun
    load.until(JOBS)
    assert watched_closely.wait_new_master(old) is not old
    assert load.lost() == []
    assert gap < 30, gap
