"""Two versions of the code at work, as in every deploy."""

from __future__ import annotations

from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import Fault

MOST_MOVES = 10


class TwoVersions(Fault):
    """Each worker knows a task that the other does not: every job finds its worker."""

    name = "two-versions"
    rounds = 1
    long = (3_000, 15)  # a minute
    jobs = 150
    pause = 0.3
    seconds = 4.0
    patience = 300.0  # a job that met the wrong worker six times waits a minute
    most_again = 0

    def arrange(self, arena: Arena) -> None:
        arena.worker(CHAOS_KNOWS="old")
        arena.worker(CHAOS_KNOWS="new")

    def make(self, number: int) -> tuple[Any, tuple[Any, ...]]:
        from tests.chaos.app import tasks

        task = {0: tasks.only_old, 5: tasks.only_new}.get(number % 10, tasks.work)
        return task, (number,)

    def attempts(self, number: int) -> int:
        return 1

    def strike(self, arena: Arena) -> None:
        arena.pass_time(self.seconds)

    def verify(self, arena: Arena, census: Census) -> list[str]:
        moves = [fence - 1 for fence in census.fences.values()]
        most = max(moves)
        arena.notes.append(f"most moves {most}")
        return [f"a job moved {most} times"] if most > MOST_MOVES else []
