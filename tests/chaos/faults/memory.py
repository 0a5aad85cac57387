"""A server that is full."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import Fault

MB = 1 << 20
RESULT = 2_048  # bytes
LIMIT = 1.1  # of maxmemory
HARD_LIMIT = 1.5  # the same where everybody's turn comes late


class Full(Fault):
    """maxmemory under noeviction, with results of 2 KB: jobs are refused, the queue drains.

    The producer gives up once it is refused.
    """

    name = "full"
    title = "maxmemory, results of 2 KB"
    rounds = 1
    long = (3_000, 1)
    forgets = True  # the results of what has ended are short-lived
    window = 3_000
    pause = 0.0
    server_options: ClassVar[dict[str, str]] = {"maxmemory-policy": "noeviction"}
    room = 4 * MB
    refills = False

    def __init__(self) -> None:
        self.highest = 0.0  # used_memory / maxmemory

    def make(self, number: int) -> tuple[Any, tuple[Any, ...]]:
        from tests.chaos.app import tasks

        return tasks.passing, (number, RESULT)

    def attempts(self, number: int) -> int:
        return 1

    def strike(self, arena: Arena) -> None:
        self.limit = arena.server.used_memory() + self.room
        arena.server.config("maxmemory", self.limit)
        refused = arena.load.refused
        arena.wait(
            lambda: self.look(arena) and arena.load.refused > refused, "a job is refused", 60
        )
        if self.refills:
            enough = len(arena.load.ids) + 500
            arena.wait(lambda: self.look(arena) and len(arena.load.ids) > enough, "room again", 90)
        else:
            arena.load.give_up()

    def look(self, arena: Arena) -> bool:
        self.highest = max(self.highest, arena.server.used_memory() / self.limit)
        return True

    def settle(self, arena: Arena) -> None:
        arena.load.give_up()

    def verify(self, arena: Arena, census: Census) -> list[str]:
        arena.notes.append(f"memory at most {self.highest:.2f} of its limit")
        undone = arena.load.ids.keys() - arena.ledger.done.keys() - arena.load.cancelled
        complaints = [f"{len(undone)} jobs vanished undone"] if undone else []
        if self.highest >= LIMIT:
            rise = complaints if self.highest >= HARD_LIMIT else arena.late
            rise.append(f"memory rose to {self.highest:.2f} of its limit")
        return complaints


class FullAndAgain(Full):
    """The producer insists: what ended may be forgotten, so there is room again by itself."""

    name = "full-again"
    title = "the same, the producer insists"
    room = 2 * MB
    refills = True
