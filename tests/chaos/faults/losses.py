"""What a server that loses its data takes along, at each level of DURABILITY."""

from __future__ import annotations

import os
import random
import time
from typing import ClassVar

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.disk import Disk
from tests.chaos.fault import Fault
from tests.chaos.faults.restarts import DOWN
from tests.chaos.faults.topologies import SentinelFailover
from tests.topology.servers import Node

TOLD = 3.0  # seconds after its end in which an outcome is told


class Loss(Fault):
    """Jobs that were accepted may be gone: how many, and how long ago they were accepted.

    ``most_age``: seconds; what was accepted earlier should be there. -1: nothing may be gone.
    """

    forgets = True
    lapses = True
    durability = "fast"
    level = "`fast`"
    most_age = -1.0
    window = 2_000  # so that most of what is lost has not been done

    def __init__(self) -> None:
        self.gone = 0
        self.oldest = 0.0
        self.broken: list[int] = []  # that are gone, and were safe

    def serve(self, arena: Arena) -> None:
        os.environ["CHAOS_DURABILITY"] = self.durability
        super().serve(arena)

    def count(self, arena: Arena, accepted: dict[int, str], died: float, safe: float) -> None:
        """What of it the server that is there now does not have, and nobody has done.

        Whatever was accepted before ``safe`` has to be there, however slow anything was.
        """
        held = set(arena.queue.members("jobs"))
        arena.ledger.read()
        gone = {n for n, id in accepted.items() if id not in held} - arena.ledger.done.keys()
        gone -= arena.load.cancelled
        arena.load.cancelled |= gone  # nobody waits for those
        self.gone += len(gone)
        ages = [died - arena.load.since[number] for number in gone]
        self.oldest = max([self.oldest, *ages])
        self.broken += [number for number in gone if arena.load.since[number] < safe]

    def verify(self, arena: Arena, census: Census) -> list[str]:
        arena.gone, arena.oldest = self.gone, self.oldest
        if self.broken:
            return [f"{len(self.broken)} jobs are gone that were safe: {self.broken[:3]}"]
        if self.gone and self.oldest > self.most_age:
            said = f"a job is gone that was accepted {self.oldest:.1f} s before"
            if self.most_age < 0:
                return [said]
            arena.late.append(said)
        return []


class Crash(Loss):
    """kill -9 of the server, whose files stay as the system has them.

    What it answered is in its files, but for what came while a sync was under way: that is written
    when the sync is over, or after two seconds.
    """

    name = "restart-everysec"
    title = "server killed, AOF every second"
    aof = "everysec"
    most_age = 2.0
    long = (20_000, 20)

    def serve(self, arena: Arena) -> None:
        os.environ["CHAOS_DURABILITY"] = self.durability
        self.disk = Disk(arena.home)
        arena.start_server(self.aof, self.disk.env)

    def strike(self, arena: Arena) -> None:
        arena.pass_time(random.uniform(0.3, 1.3))
        died = time.monotonic()
        arena.server.kill()
        accepted, safe = dict(arena.load.ids), self.disk.safe_until
        self.ruin(arena)
        arena.server.start()
        arena.flight |= arena.ledger.done_since(safe - TOLD)  # outcomes are lost as well
        self.count(arena, accepted, died, safe)

    def ruin(self, arena: Arena) -> None:
        """What happens to the files of the dead."""
        arena.pass_time(DOWN)


class PowerLoss(Crash):
    """The machine of the server goes off: its files have what was synced, and no more."""

    name = "power-everysec"
    title = "power failure, AOF every second"

    def ruin(self, arena: Arena) -> None:
        self.disk.lose_power()


class PowerLossAlways(PowerLoss):
    name = "power-always"
    title = "power failure, AOF always"
    aof = "always"
    most_age = -1.0


class PowerLossLocal(PowerLoss):
    """WAITAOF: enqueue returns when the job is on the disk, if the server keeps that promise.

    Valkey 9.1 answers at once, whatever is on the disk: then this is no more than ``fast``.
    """

    name = "power-local"
    title = "power failure, AOF every second"
    durability = "local"
    level = "`local`"
    bulk = 100
    jobs = 200
    long = (5_000, 20)

    def arrange(self, arena: Arena) -> None:
        super().arrange(arena)
        if self.waits(arena):
            self.most_age = -1.0
        else:
            arena.notes.append("this server's WAITAOF does not wait for the disk")

    def waits(self, arena: Arena) -> bool:
        """Whether the server syncs between a write and its answer to WAITAOF, each of a few times.

        It syncs by itself once a second, which may fall between them by chance.
        """
        client, waited = arena.server.client, []
        for number in range(4):
            client.set("probe", number)
            before = len(self.disk.syncs())
            client.execute_command("WAITAOF", 1, 0, 3_000)
            waited.append(len(self.disk.syncs()) > before)
        client.delete("probe")
        return all(waited)


class CutOff(Loss, SentinelFailover):
    """The master's replicas are cut off for a while, it goes on alone, and dies."""

    name = "cut-off-fast"
    title = "the master is cut off from its replicas for 2 s, and dies"
    slow = True
    jobs = 1_000
    rounds = 1
    long = (5_000, 5)
    seconds = 2.0
    most_age = seconds + 1  # and until it is dead

    def strike(self, arena: Arena) -> None:
        safe = time.monotonic()
        self.nodes.wait_synced()
        replicas = self.nodes.replicas
        began = time.monotonic()
        self.cut(self.nodes.master, replicas)
        arena.pass_time(self.seconds)
        died = time.monotonic()
        old = self.nodes.kill_master()
        accepted = dict(arena.load.ids)
        for each in replicas:
            each.resume()
        self.nodes.wait_new_master(old, 60)
        old.start()
        arena.flight |= arena.ledger.done_since(began - 1)  # their outcomes are lost as well
        self.count(arena, accepted, died, safe)

    def cut(self, master: Node, replicas: list[Node]) -> None:
        """Those replicas get nothing more; the others are back in step within a second."""
        for each in replicas:
            each.pause()
        master.command("CLIENT", "KILL", "TYPE", "replica")


class CutOffReplicated(CutOff):
    """The same with WAIT: what no replica has was not accepted."""

    level = "`replicated`"
    name = "cut-off-replicated"
    title = "the master is cut off from its replicas for 2 s, and dies"
    durability = "replicated"
    most_age = -1.0


class FailoverTwice(CutOffReplicated):
    """One replica of two is cut off; the master dies, and then the one that had everything."""

    name = "twice-replicated"
    title = "two failovers, one of two replicas cut off until the second"
    long = (5_000, 3)
    most_age = 60.0
    env: ClassVar[dict[str, str]] = {}

    def serve(self, arena: Arena) -> None:
        os.environ.update(self.env)
        super().serve(arena)

    def strike(self, arena: Arena) -> None:
        safe = time.monotonic()
        self.nodes.wait_synced()
        *_, late = self.nodes.replicas
        began = time.monotonic()
        self.cut(self.nodes.master, [late])
        arena.pass_time(self.seconds)
        first = self.nodes.kill_master()
        second = self.nodes.wait_new_master(first, 60)
        died = time.monotonic()
        second.kill()
        accepted = dict(arena.load.ids)
        late.resume()
        self.nodes.wait_new_master(second, 90)
        first.start()
        second.start()
        arena.flight |= arena.ledger.done_since(began - 1)
        self.count(arena, accepted, died, safe)


class FailoverTwiceAll(FailoverTwice):
    """The same with REPLICAS at as many as there are: then either of them has everything."""

    name = "twice-all"
    level = "`replicated`, `REPLICAS: 2`"
    title = "two failovers, one of two replicas cut off until the second"
    most_age = -1.0
    env: ClassVar[dict[str, str]] = {"CHAOS_REPLICAS": "2"}
