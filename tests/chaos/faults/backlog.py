"""More jobs than anybody wants to wait for."""

from __future__ import annotations

import time

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.faults.kills import KillChild


class Backlog(KillChild):
    """All jobs are there before the first worker; a child is killed while they are done."""

    name = "backlog"
    title = "a backlog, a child killed in between"
    jobs = 10_000
    rounds = 2
    long = (1_000_000, 10)
    window = 0
    pause = 0.0
    task_ms = 0.0
    patience = 3_600.0
    recovers = 4.0  # both of its processes are busy all the time
    quick = False

    def arrange(self, arena: Arena) -> None:
        """The workers come later."""

    def fill(self, arena: Arena, jobs: int) -> None:
        arena.wait(lambda: len(arena.load.ids) >= jobs, "the backlog is there", 3_600)
        arena.notes.append(f"{arena.server.used_memory() >> 20} MB")
        self.began = time.monotonic()
        arena.worker()

    def verify(self, arena: Arena, census: Census) -> list[str]:
        took = max(arena.ledger.done.values()) - self.began
        arena.notes.append(f"{len(arena.load.ids) / took:,.0f} jobs/s")
        return super().verify(arena, census)
