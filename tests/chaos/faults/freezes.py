"""A worker that is frozen past its lease, and wakes up as a zombie."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from django_taskq.compat import task_backends
from tests.chaos.arena import Arena, Late
from tests.chaos.checker import Census
from tests.chaos.fault import SHORT_LEASE
from tests.chaos.faults.kills import alive
from tests.chaos.holding import SLOTS, Holding
from tests.chaos.late import LateWriter
from tests.chaos.worker import Worker

SETTLES = 10.0  # seconds that its children have before it wakes itself


class Freeze(Holding):
    """SIGSTOP past the lease, then SIGCONT: its jobs ran elsewhere, and its word counts no more.

    The second runs have ended when the first ones wake and end too.
    """

    name = "freeze"
    title = "frozen past its lease; the second runs have ended when it wakes"
    rounds = 1
    long = (2_000, 25)  # times eight jobs: 200 frozen runs
    lease = SHORT_LEASE
    lapses = True

    def __init__(self) -> None:
        super().__init__()
        self.zombies: set[int] = set()  # pids, of this round
        self.frozen: dict[str, set[int]] = {}  # id -> pids of the zombies that ran it
        self.ended: set[str] = set()  # ids of those whose zombies came to an end of them
        self.told: set[str] = set()  # those of which they told it, and were refused
        self.refused = 0
        self.complaints: list[str] = []

    def arrange(self, arena: Arena) -> None:
        arena.worker()

    def strike(self, arena: Arena) -> None:
        zombie = arena.living[-1]
        gate = arena.home / f"gate-{arena.struck}"
        self.zombies = set(zombie.children())
        held = self.hold(arena, gate, late=True)
        self.frozen |= dict.fromkeys(held.values(), self.zombies)
        writer = LateWriter(task_backends["default"].broker, list(held.values()))
        zombie.signal_all(signal.SIGSTOP)
        frozen = time.monotonic()
        arena.worker()
        arena.wait(lambda: all(self.runs_elsewhere(arena, n) for n in held), "second runs begin")
        took = time.monotonic() - frozen
        if took > self.lease + 2 + arena.starting:
            arena.late.append(f"second runs began after {took:.1f} s")
        self.meet(arena, zombie, gate, held, writer)
        self.refused += writer.refused
        self.complaints += [f"accepted: {what}" for what in writer.accepted]
        if "lease" not in zombie.output:
            self.complaints.append(f"{zombie.log.name} says nothing of a lease")
        if not zombie.stop():
            self.complaints.append(f"{zombie.log.name} did not leave in order")
        self.told |= self.ended & set(zombie.refused())

    def meet(
        self, arena: Arena, zombie: Worker, gate: Path, held: dict[int, str], writer: LateWriter
    ) -> None:
        """The first runs meet what the second ones came to."""
        gate.touch()
        self.end(arena, held)
        writer.write()
        self.wake(arena, zombie)

    def runs_elsewhere(self, arena: Arena, number: int) -> bool:
        return bool(set(arena.ledger.runs.get(number, ())) - self.zombies)

    def end(self, arena: Arena, numbers: Iterable[int]) -> None:
        arena.wait(lambda: all(n in arena.ledger.done for n in numbers), "the second runs end")

    def wake(self, arena: Arena, zombie: Worker) -> None:
        """Children first, so that they settle before anybody tells them."""
        pids = zombie.children()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        with suppress(Late):  # one whose code does not stop is not gone before its supervisor wakes
            arena.wait(lambda: not any(map(alive, pids)), "the zombies settle", SETTLES)
        zombie.process.send_signal(signal.SIGCONT)
        arena.wait(lambda: not set(pids) & set(zombie.children()), "the zombies end")

    def verify(self, arena: Arena, census: Census) -> list[str]:
        stolen = [id for id, pids in self.frozen.items() if value_of(id) in pids]
        arena.notes.append(
            f"{len(self.frozen)} frozen runs, {self.refused} late writes of our own refused"
        )
        if self.ended:
            arena.notes.append(f"{len(self.told)} of {len(self.ended)} late ends told and refused")
        if 2 * len(self.told) < len(self.ended):  # a zombie may be gone before it tells
            self.complaints.append("hardly any zombie told what it came to: this shows nothing")
        if stolen:
            self.complaints.append(f"values of runs that had lost their lease: {stolen[:3]}")
        return self.complaints


class FreezeOverlap(Freeze):
    """The second run is still going when the first wakes and tells what it came to.

    Half of the first runs are at their end; the others have to be stopped.
    """

    name = "freeze-overlap"
    title = "the same, the second runs still going"
    long = (4_000, 50)  # 400 frozen runs, 200 of which tell what they came to

    def meet(
        self, arena: Arena, zombie: Worker, gate: Path, held: dict[int, str], writer: LateWriter
    ) -> None:
        writer.write()
        for pid in zombie.children():
            gate.with_name(f"{gate.name}.{pid}").touch()
        self.wake(arena, zombie)
        arena.ledger.read()
        late = [n for n in held if n in arena.ledger.done]
        self.ended |= {held[n] for n in late}
        gate.touch()
        arena.wait(lambda: not set(held) & arena.ledger.open.keys(), "the second runs end")
        if len(late) > SLOTS // 2:
            self.complaints.append("runs that had lost their lease went on")


def value_of(id: str) -> Any:
    """What the job returned."""
    from tests.chaos.app import tasks

    return tasks.gated.get_result(id).return_value
