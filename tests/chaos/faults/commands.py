"""What an operator, or a failing disk, does to a server that goes on running."""

from __future__ import annotations

from typing import ClassVar

from tests.chaos.arena import Arena
from tests.chaos.fault import SHORT_LEASE, Fault

MS = 1_000


class Command(Fault):
    """Nothing here makes a job run twice."""

    most_again = 0
    long = (10_000, 50)


class ClientKill(Command):
    """Every connection broken at once, in the middle of calls: those are sent again."""

    name = "client-kill"
    title = "CLIENT KILL of all"
    quick = True
    rounds = 10
    long = (20_000, 300)

    def strike(self, arena: Arena) -> None:
        arena.server.client.execute_command("CLIENT KILL TYPE normal SKIPME yes")


class ClientPause(Command):
    """No command is answered for a while."""

    name = "client-pause"
    title = "CLIENT PAUSE, 1.5 s"
    rounds = 2

    def strike(self, arena: Arena) -> None:
        arena.server.client.client_pause(1_500)
        arena.pass_time(1.5)


class ScriptFlush(Command):
    """The server forgets the scripts again and again."""

    name = "script-flush"
    title = "SCRIPT FLUSH, ten times in a row"
    quick = True
    rounds = 10
    long = (20_000, 300)

    def strike(self, arena: Arena) -> None:
        for _ in range(10):
            arena.server.client.script_flush()
            arena.pass_time(0.01)


class ReadOnly(Command):
    """The server becomes a replica, as after a failover that the worker has not heard of.

    Again and again, so that a lease may run out while it cannot be renewed.
    """

    most_again = -1
    lease = SHORT_LEASE
    lapses = True
    name = "readonly"
    title = "READONLY, 1 s"

    def strike(self, arena: Arena) -> None:
        arena.server.client.replicaof("127.0.0.1", 1)  # a master that is not there
        arena.pass_time(1)
        arena.server.client.replicaof("NO", "ONE")


class Misconf(Command):
    """It cannot write its dump, and refuses writes."""

    most_again = -1
    lease = SHORT_LEASE
    lapses = True
    name = "misconf"
    title = "MISCONF, 1 s"
    server_options: ClassVar[dict[str, str]] = {"save": "3600 1000000"}

    def strike(self, arena: Arena) -> None:
        client = arena.server.client
        arena.server.config("dir", "/proc")  # where no file can be made
        client.bgsave()
        arena.wait(lambda: client.info()["rdb_last_bgsave_status"] == "err", "the dump fails")
        arena.pass_time(1)
        arena.server.config("dir", str(arena.home))
        arena.wait(lambda: not client.info()["rdb_bgsave_in_progress"], "no dump is written")
        client.bgsave()
        arena.wait(lambda: client.info()["rdb_last_bgsave_status"] == "ok", "the dump succeeds")
