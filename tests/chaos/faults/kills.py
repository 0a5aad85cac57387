"""Processes that die without a word."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import Fault
from tests.chaos.worker import Worker

PAUSE = 0.1


class KillChild(Fault):
    """One process of a worker that has two."""

    name = "kill-child"
    quick = True
    rounds = 4
    long = (100_000, 50)

    def strike(self, arena: Arena) -> None:
        children = arena.workers[0].children()
        with suppress(ProcessLookupError):
            os.kill(random.choice(children), signal.SIGKILL)

    def verify(self, arena: Arena, census: Census) -> list[str]:
        return slow(arena, 3.0)  # noticed at once; the rest is a process that starts


class KillSupervisor(Fault):
    """The supervisor alone: its children end with it, another worker takes over."""

    name = "kill-supervisor"
    rounds = 1
    long = (20_000, 5)

    def arrange(self, arena: Arena) -> None:
        arena.worker()
        arena.worker()

    def strike(self, arena: Arena) -> None:
        victim = arena.living[0]
        orphans = victim.children()
        victim.kill()
        arena.wait(lambda: not any(alive(pid) for pid in orphans), "orphans end", 5)
        arena.worker(wait=False)

    def verify(self, arena: Arena, census: Census) -> list[str]:
        return slow(arena, self.lease + 2 + 2)  # 2 more for a machine with other work


class KillWorkers(KillSupervisor):
    """All workers at once, and new ones as a process manager starts them."""

    name = "kill-workers"

    def strike(self, arena: Arena) -> None:
        for victim in arena.living:
            victim.kill_all()
        arena.worker(wait=False)
        arena.worker(wait=False)

    def verify(self, arena: Arena, census: Census) -> list[str]:
        return slow(arena, self.lease + 2 + 4)  # the new workers have to start as well


class KillSteadily(Fault):
    """A worker that dies every third of a lease, and the jobs of another dead one.

    The jobs are finished all the same: nothing that restarting workers do puts a reap off.
    """

    name = "kill-steadily"
    lease = 9.0  # a third is long enough for a worker to start
    rounds = 1
    long = (2_000, 12)

    def strike(self, arena: Arena) -> None:
        arena.living[0].kill_all()
        met = set(arena.running())
        until = time.monotonic() + self.lease * 3
        while time.monotonic() < until and met & arena.running():
            worker = arena.worker(wait=False)
            arena.pass_time(self.lease / 3)
            worker.kill_all()
        arena.worker()

    def verify(self, arena: Arena, census: Census) -> list[str]:
        return slow(arena, self.lease * 2.5)


class Terminate(Fault):
    """TERM, as a deploy sends it: nothing is done twice and nothing waits for a lease."""

    name = "terminate"
    quick = True
    most_again = 0
    long = (5_000, 20)

    def strike(self, arena: Arena) -> None:
        worker = arena.living[0]
        arena.worker()
        if not worker.stop():
            raise AssertionError("the worker did not leave by itself")

    def verify(self, arena: Arena, census: Census) -> list[str]:
        return slow(arena, 4.0)


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def slow(arena: Arena, most: float) -> list[str]:
    """A complaint when a recovery took longer than ``most`` seconds."""
    late = [took for took in arena.recoveries if took > most]
    return [f"a recovery took {max(late):.1f} s, more than {most:.1f}"] if late else []


def living(worker: Worker) -> list[str]:
    """A complaint when a worker has ended that should not have."""
    return [] if worker.lives else [f"the worker ended: {worker.output[-300:]}"]
