"""Two versions of the code at work, as in every deploy."""

from __future__ import annotations

import math
import time
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import Fault

MOST_MOVES = 10


class TwoVersions(Fault):
    """Each worker knows a task that the other does not; at the end comes one that knows both.

    The rest between two moves of a job doubles from 1 s to 60 s, so it moves at most seven times
    in a minute, whoever gets it. Jobs of the last moments find their worker in the end.
    """

    name = "two-versions"
    title = "two versions of the code"
    rounds = 1
    long = (3_000, 15)  # a minute
    jobs = 150
    pause = 0.3
    seconds = 4.0
    most_again = 0

    def arrange(self, arena: Arena) -> None:
        arena.worker(CHAOS_KNOWS="old")
        arena.worker(CHAOS_KNOWS="new")
        self.began = time.monotonic()

    def make(self, number: int) -> tuple[Any, tuple[Any, ...]]:
        from tests.chaos.app import tasks

        task = {0: tasks.only_old, 5: tasks.only_new}.get(number % 10, tasks.work)
        return task, (number,)

    def attempts(self, number: int) -> int:
        return 1

    def strike(self, arena: Arena) -> None:
        arena.pass_time(self.seconds)

    def settle(self, arena: Arena) -> None:
        """The deploy is over: what both left is for the one that comes."""
        sides = arena.living
        arena.worker(CHAOS_KNOWS="old new")
        for worker in sides:
            worker.stop()
        self.beside = time.monotonic() - self.began

    def verify(self, arena: Arena, census: Census) -> list[str]:
        moves = max(census.fences.values()) - 1
        # Either worker may give one back that it had taken when it stopped.
        most = min(MOST_MOVES, most_moves(self.beside) + 2)
        arena.notes.append(f"{self.beside:.0f} s side by side, a job moved {moves} times at most")
        return [f"a job moved {moves} times, more than {most}"] if moves > most else []


def most_moves(seconds: float) -> int:
    """How often a job can be set aside: at 0, 1, 3, 7, 15, 31, 63 s, then every minute."""
    doubled = min(seconds, 63)
    return math.floor(math.log2(doubled + 1)) + 1 + math.floor((seconds - doubled) / 60)
