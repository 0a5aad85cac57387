"""Several servers: one dies and another takes over, or a queue moves between them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import redis

from tests.chaos.arena import Arena
from tests.chaos.fault import SHORT_LEASE, Fault
from tests.topology.servers import Cluster, Group, Node, ReplicaSet

QUEUE = "{default}"
TAKEOVER = 60.0  # seconds until there is another master
MOST_STALL = 5.0  # seconds while a slot with 500,000 jobs moves


class Servers:
    """Several servers as the arena looks at one: that which has the queue now."""

    def __init__(self, group: Group, owner: Callable[[], Node]) -> None:
        self._group = group
        self._owner = owner
        self._clients: dict[int, redis.Redis] = {}

    @property
    def client(self) -> redis.Redis:
        port = self._owner().port
        if port not in self._clients:
            self._clients[port] = redis.Redis(port=port, socket_timeout=20)
        return self._clients[port]

    def used_memory(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    def kill(self) -> None:
        self._group.stop_all()


class SentinelFailover(Fault):
    """kill -9 of the master; what was accepted is on a replica, and that becomes the master."""

    name = "sentinel-failover"
    title = "Sentinel failover, `replicated`"
    lease = SHORT_LEASE
    lapses = True
    rounds = 1
    long = (20_000, 10)
    durability = "replicated"

    def serve(self, arena: Arena) -> None:
        os.environ["CHAOS_DURABILITY"] = self.durability
        self.nodes = ReplicaSet(arena.home / "rs", appendonly="yes")
        arena.server = Servers(self.nodes, lambda: self.nodes.master)
        arena.url = self.nodes.start().url

    def strike(self, arena: Arena) -> None:
        self.nodes.wait_synced()
        old = self.nodes.kill_master()
        self.nodes.wait_new_master(old, TAKEOVER)
        old.start()

    def settle(self, arena: Arena) -> None:
        self.nodes.wait_synced()


class OfCluster(Fault):
    """Three masters with a replica each; the queue is on one of them."""

    lease = SHORT_LEASE
    lapses = True
    durability = "replicated"

    def serve(self, arena: Arena) -> None:
        os.environ["CHAOS_DURABILITY"] = self.durability
        self.slot = Cluster.slot_of(QUEUE)
        self.nodes = Cluster(arena.home / "cl", appendonly="yes")
        arena.server = Servers(self.nodes, lambda: self.nodes.master_of(self.slot))
        arena.url = self.nodes.start().url


class ClusterFailover(OfCluster):
    """kill -9 of the queue's master."""

    name = "cluster-failover"
    title = "Cluster failover, `replicated`"
    rounds = 1
    long = (20_000, 10)

    def strike(self, arena: Arena) -> None:
        self.nodes.wait_ok()
        old = self.nodes.kill_master(self.slot)
        self.nodes.wait_new_master(self.slot, old, TAKEOVER)
        old.start()

    def settle(self, arena: Arena) -> None:
        self.nodes.wait_ok()


class SlotMove(OfCluster):
    """The queue's slot moves to another node while its jobs are done."""

    name = "slot-move"
    title = "a slot moves under load"
    durability = "fast"
    jobs = 3_000
    rounds = 1
    long = (500_000, 1)
    window = 0
    pause = 0.0
    task_ms = 1.0
    patience = 1_200.0

    def arrange(self, arena: Arena) -> None:
        """The workers come when the backlog is there."""

    def fill(self, arena: Arena, jobs: int) -> None:
        arena.wait(lambda: len(arena.load.ids) >= jobs, "the backlog is there", 3_600)
        arena.worker()

    def strike(self, arena: Arena) -> None:
        began = time.monotonic()
        left = len(arena.load.ids) - len(arena.ledger.done)
        self.nodes.move_slot(self.slot)
        took = time.monotonic() - began
        arena.wait(lambda: arena.ledger.latest > began + took, "jobs start again")
        stall = arena.ledger.longest_gap(began - 1)
        arena.notes.append(f"{left:,} jobs moved in {took:.1f} s, nothing done for {stall:.1f} s")
        if stall > MOST_STALL:
            arena.late.append(f"nothing was done for {stall:.1f} s, more than {MOST_STALL:.0f}")
