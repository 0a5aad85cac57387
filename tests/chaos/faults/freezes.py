"""A worker that is frozen past its lease, and wakes up as a zombie."""

from __future__ import annotations

import signal
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import Fault
from tests.chaos.worker import Worker

SLOTS = 8  # of a worker here


class Freeze(Fault):
    """SIGSTOP past the lease, then SIGCONT: its jobs ran elsewhere, and its word counts no more.

    Every frozen job waits at a gate. ``overlap``: the second run is still at it when the first
    one wakes; else it has ended.
    """

    name = "freeze"
    rounds = 1
    long = (2_000, 25)  # times eight jobs: 200 frozen runs
    overlap = False

    def __init__(self) -> None:
        self.frozen: dict[str, tuple[int, set[int]]] = {}  # id -> number, pids of the zombie
        self.silent: list[str] = []
        self._number = 10_000_000

    def arrange(self, arena: Arena) -> None:
        arena.worker()

    def strike(self, arena: Arena) -> None:
        gate = str(arena.home / f"gate-{arena.struck}")
        zombie = arena.living[-1]
        pids = set(zombie.children())
        held = self.hold(arena, gate, pids)
        zombie.signal_all(signal.SIGSTOP)
        arena.worker()
        arena.wait(lambda: all(self.runs_elsewhere(arena, n, pids) for n in held), "second runs")
        if self.overlap:
            self.wake(arena, zombie)
            arena.pass_time(0.5)
            open(gate, "w").close()
            self.end(arena, held)
        else:
            open(gate, "w").close()
            self.end(arena, held)
            self.wake(arena, zombie)
        if "lease" not in zombie.output:
            self.silent.append(zombie.log.name)
        zombie.stop()

    def hold(self, arena: Arena, gate: str, pids: set[int]) -> list[int]:
        """Jobs that run in the worker to be frozen; every other one ignores being told to stop."""
        from tests.chaos.app import tasks

        numbers = []
        for at in range(SLOTS // 2):
            self._number += 1
            result = tasks.gated.using(priority=9).enqueue(self._number, gate, bool(at % 2))
            arena.expected[result.id] = ("succeeded", "")
            self.frozen[result.id] = self._number, pids
            numbers.append(self._number)
        arena.wait(lambda: all(n in arena.ledger.open for n in numbers), "the held jobs run")
        return numbers

    def runs_elsewhere(self, arena: Arena, number: int, pids: set[int]) -> bool:
        return bool(set(arena.ledger.runs.get(number, ())) - pids)

    def end(self, arena: Arena, numbers: list[int]) -> None:
        arena.wait(lambda: all(n in arena.ledger.done for n in numbers), "the second runs end")

    def wake(self, arena: Arena, zombie: Worker) -> None:
        """Children first, so that they settle before anybody tells them."""
        pids = zombie.children()
        for pid in [*pids, zombie.process.pid]:
            _signal(pid, signal.SIGCONT)
        arena.wait(lambda: set(zombie.children()) != set(pids), "its children are replaced")

    def verify(self, arena: Arena, census: Census) -> list[str]:
        complaints = [f"{log} says nothing of a lease" for log in self.silent]
        for id, (number, zombies) in self.frozen.items():
            if value_of(id) in zombies:
                complaints.append(f"job {number} has the value of the run that lost its lease")
        told = {number for number, pid in arena.ledger.stopped if pid in self.zombies}
        if self.overlap and (deaf := {n for n, _ in self.frozen.values()} - told):
            complaints.append(f"{len(deaf)} runs were not told to stop: {sorted(deaf)[:3]}")
        return complaints

    @property
    def zombies(self) -> set[int]:
        return set().union(*(pids for _, pids in self.frozen.values()))


class FreezeOverlap(Freeze):
    """The second run still going when the first wakes: the one that a careless check misses."""

    name = "freeze-overlap"
    overlap = True


def value_of(id: str) -> Any:
    """What the job returned."""
    from tests.chaos.app import tasks

    return tasks.gated.get_result(id).return_value


def _signal(pid: int, number: int) -> None:
    import os
    from contextlib import suppress

    with suppress(ProcessLookupError):
        os.kill(pid, number)
