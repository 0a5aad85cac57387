"""Clocks that jump, or are wrong."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.clock import Clock
from tests.chaos.fault import SHORT_LEASE, Fault

HOUR = 3_600
SLOW = 30  # seconds that a job may wait for its turn: an hour is not meant


class ServerClock(Fault):
    """The server's clock jumps: the one that all leases and due times are counted by."""

    name = "server-clock"
    title = "the server's clock jumps by an hour and by ten seconds"
    rounds = 3
    lease = SHORT_LEASE
    lapses = True
    long = (20_000, 30)
    jumps = (HOUR, HOUR - 10, HOUR + 10)  # seconds it is off by, one after the other

    def serve(self, arena: Arena) -> None:
        self.clock = Clock(arena.home, "server")
        arena.start_server(self.aof, self.clock.env)

    def strike(self, arena: Arena) -> None:
        told = arena.server.client.time()[0]
        off_by = self.jumps[(arena.struck - 1) % len(self.jumps)]
        self.clock.off_by(off_by)
        arena.wait(lambda: arena.server.client.time()[0] != told, "the clock has jumped")


class WorkerClock(Fault):
    """A worker whose clock is an hour ahead, one an hour behind: nothing is due by them."""

    name = "worker-clock"
    title = "a worker's clock is an hour off"
    rounds = 1
    long = (5_000, 5)
    most_again = 0
    delay = 2.0  # seconds

    def __init__(self) -> None:
        self.due: dict[int, float] = {}

    def arrange(self, arena: Arena) -> None:
        for name, off_by in (("ahead", HOUR), ("behind", -HOUR)):
            clock = Clock(arena.home, name)
            clock.off_by(off_by)
            arena.worker(**clock.env)

    def make(self, number: int) -> tuple[Any, tuple[Any, ...]]:
        task, args = super().make(number)
        if number % 10 == 0:
            self.due[number] = time.monotonic() + self.delay
            task = task.using(run_after=timedelta(seconds=self.delay))
        elif number % 10 == 5:
            task = task.using(priority=1)
        return task, args

    def strike(self, arena: Arena) -> None:
        arena.pass_time(3)

    def verify(self, arena: Arena, census: Census) -> list[str]:
        done = arena.ledger.done
        early = [n for n, due in self.due.items() if n in done and done[n] < due - 0.1]
        late = [n for n, due in self.due.items() if n in done and done[n] > due + SLOW]
        return [
            f"{len(which)} jobs ran too {how}: {which[:3]}"
            for how, which in (("early", early), ("late", late))
            if which
        ]
