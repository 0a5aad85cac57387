"""Processes that die without a word."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import SHORT_LEASE, Fault


class KillChild(Fault):
    """One process of a worker that has two."""

    name = "kill-child"
    title = "SIGKILL of a child"
    quick = True
    rounds = 4
    long = (20_000, 20)
    recovers = 4.0  # noticed at once; a child starts, and one for each suspect

    def strike(self, arena: Arena) -> None:
        kill_child(arena)


class KillSupervisor(Fault):
    """The supervisor alone: its children end with it, another worker takes over."""

    name = "kill-supervisor"
    title = "SIGKILL of a supervisor"
    rounds = 1
    long = (20_000, 5)
    lease = SHORT_LEASE
    recovers = lease + 2

    def arrange(self, arena: Arena) -> None:
        arena.worker()
        arena.worker()

    def strike(self, arena: Arena) -> None:
        victim = arena.living[0]
        orphans = victim.children()
        victim.kill()
        arena.wait(lambda: not any(alive(pid) for pid in orphans), "orphans end")
        arena.worker(wait=False)


class KillBoth(KillSupervisor):
    """Children, and every eleventh time a supervisor, of two workers: 50 and 5 in the long run."""

    name = "kill-both"
    title = "SIGKILL of children and supervisors, mixed"
    rounds = 6
    long = (100_000, 55)
    every = 11

    def __init__(self) -> None:
        self.supervisors = 0

    def strike(self, arena: Arena) -> None:
        if arena.struck % self.every == self.every // 2:
            self.supervisors += 1
            super().strike(arena)
        else:
            kill_child(arena)

    def verify(self, arena: Arena, census: Census) -> list[str]:
        children = arena.struck - self.supervisors
        arena.notes.append(f"{children} children, {self.supervisors} supervisors")
        return []


class KillWorkers(KillSupervisor):
    """All workers at once, and new ones as a process manager starts them.

    Until one is there nobody renews, and after more than half a lease of that, as after an outage
    of the server, all get a whole lease from then on.
    """

    name = "kill-workers"
    title = "SIGKILL of all workers"

    def strike(self, arena: Arena) -> None:
        for victim in arena.living:
            victim.kill_all()
        arena.worker(wait=False)
        arena.worker(wait=False)


class KillSteadily(Fault):
    """A worker that dies every third of a lease, for as many thirds as there are rounds.

    None dies before it takes jobs: while nobody renews, nobody reaps.

    The jobs of all that died before it are finished all the same: nothing that restarting workers
    do puts a reap off.
    """

    name = "kill-steadily"
    title = "steady kills: a worker dies every third of a lease (12 s)"
    lease = 12.0  # a third is long enough for a worker to start on a busy machine
    rounds = 4
    long = (2_000, 75)  # five minutes
    # The worker that could have taken the jobs back may be the next to die.
    recovers = lease + lease / 3 + 2

    def __init__(self) -> None:
        self.dead: list[tuple[float, set[int]]] = []  # when one died, what it ran and nobody has

    def attack(self, arena: Arena, rounds: int) -> None:
        arena.until_busy()
        for _ in range(rounds):
            self.strike(arena)
            until = time.monotonic() + self.lease / 3
            arena.wait(lambda u=until: self.is_next(arena, u), "a third, and another takes jobs")
        arena.wait(
            lambda: self.look(arena) or not self.dead,
            "all jobs of the dead are taken up",
            2 * self.lease + self.patience,
        )

    def strike(self, arena: Arena) -> None:
        victim = arena.living[0]
        began = time.monotonic()
        arena.note_held()
        victim.kill_all()
        arena.ledger.read()
        met = set(arena.running())
        arena.flight |= met | arena.ledger.done_since(began)
        arena.struck += 1
        self.dead.append((time.monotonic(), met))
        arena.worker(wait=False)

    def is_next(self, arena: Arena, until: float) -> bool:
        """Whether it is time for the next one to die."""
        self.look(arena)
        return time.monotonic() > until and all(worker.is_ready() for worker in arena.living)

    def look(self, arena: Arena) -> None:
        """Notes how long it took until all that one ran is run again, or over."""
        now, open_ = time.monotonic(), arena.ledger.open
        for died, met in list(self.dead):
            if not any(open_.get(number, now) <= died for number in met - arena.load.cancelled):
                self.dead.remove((died, met))
                arena.recoveries.append(now - died)


class Terminate(Fault):
    """TERM, as a deploy sends it: nothing is done twice and nothing waits for a lease."""

    name = "terminate"
    title = "SIGTERM, as in a deploy"
    quick = True
    most_again = 0
    long = (5_000, 20)
    recovers = 4.0

    def strike(self, arena: Arena) -> None:
        worker = arena.living[0]
        arena.worker()
        if not worker.stop():
            raise AssertionError("the worker did not leave by itself")


def kill_child(arena: Arena) -> None:
    """kill -9 of a process that runs jobs, whoever's."""
    children = arena.wait(lambda: [c for w in arena.living for c in w.children()], "children run")
    with suppress(ProcessLookupError):
        os.kill(random.choice(children), signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False
