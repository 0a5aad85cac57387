"""Jobs that hold every slot of a worker, until a gate opens."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.fault import Fault

SLOTS = 8  # of a worker: all of them are held
FIRST = 10_000_000  # their numbers are beyond those of the load


class Holding(Fault):
    """A fault in which the only worker runs nothing but what it is told to hold."""

    def __init__(self) -> None:
        self._number = FIRST

    def hold(self, arena: Arena, gate: Path, late: bool = False) -> dict[int, str]:
        """Starts a job in every slot, number -> id; they run until ``gate`` exists.

        ``late``: every other one goes on when its process gets a gate of its own.
        """
        from tests.chaos.app import tasks

        held = {}
        for at in range(SLOTS):
            self._number += 1
            args = (self._number, str(gate), late and bool(at % 2))
            result = tasks.gated.using(priority=9).enqueue(*args)
            arena.expected[result.id] = ("succeeded", "")
            held[self._number] = result.id
        arena.wait(lambda: all(n in arena.ledger.open for n in held), "the held jobs run")
        return held
