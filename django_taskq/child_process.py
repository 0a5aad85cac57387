"""A child as its supervisor knows it: started, told what to do, watched, and cleared away."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
from contextlib import suppress
from typing import Any, NamedTuple

from .clock import monotonic, now_ms
from .deaths import PROBE, cause_of
from .isolation import Make
from .job import new_id
from .memory import memory_of, peak_of_the_dead
from .orders import Giver
from .plan import ORDERLY, Plan
from .service import FOREVER
from .slot import GRACE
from .table import Row, Table
from .worker import run_child

logger = logging.getLogger("django_taskq.worker")

LATEST = GRACE + 2.0  # seconds after its deadline, or the order to kill it, that a job may keep its
# process alive; the process ends itself before, unless the job does not let its other threads run
KILL_AFTER = 5.0  # seconds beyond the shutdown timeout that a child may take to leave


class Remains(NamedTuple):
    """What a dead child leaves: its exit code (negative for a signal), why, what was running.

    ``orderly``: it went as children go, and nothing that ran in it is to blame.
    """

    code: int
    cause: str
    rows: list[Row]
    orderly: bool = False


class ChildProcess:
    """A child as its supervisor knows it."""

    def __init__(self, plan: Plan, make: Make, method: str) -> None:
        context: Any = multiprocessing.get_context(method)
        self.holder = new_id()
        self.runs_errands = bool(plan.errands)
        memory = context.RawArray("B", Table.size(plan.concurrency, len(plan.names)))
        self.table = Table(memory, plan.concurrency, len(plan.names))
        self.started = monotonic()
        self.started_at = now_ms()  # for people
        self.stop_by = FOREVER
        self.blameless = False  # its end is not the fault of what ran in it
        self._cause = ""  # why we killed it
        self._peak = 0  # bytes, as far as was seen
        self._measured = False  # whether that is exactly the most it held
        self._kills: dict[tuple[str, int], float] = {}  # job and fence -> when its kill was ordered
        ours, theirs = socket.socketpair()
        self._orders = Giver(ours)
        # A pipe: it takes the many short writes of a stack together, of which a socket holds few.
        self._frames, writes = context.Pipe(duplex=False)
        os.set_blocking(self._frames.fileno(), False)
        self.process = context.Process(
            target=run_child,
            args=(plan, make, self.holder, memory, theirs, writes),
            name="taskq-child",
        )
        self.process.start()
        theirs.close()
        writes.close()
        self.weigh()

    def order(self, *order: object) -> None:
        """Tells the child something; one that does not listen is about to be killed anyway."""
        match order:
            case "kill", str() as id, int() as fence:
                self._kills.setdefault((id, fence), monotonic())
        if not self._orders.give(*order):
            logger.warning("child %s takes no orders", self.process.pid)

    def tell(self) -> None:
        """Sends what it was ordered while it had no room for it."""
        self._orders.flush()

    def stop(self, timeout: float) -> None:
        """Asks the child to finish within ``timeout`` seconds."""
        self.stop_by = min(self.stop_by, monotonic() + timeout + KILL_AFTER)
        self.order("stop", timeout)

    def kill(self, why: str, *, blame: bool = False) -> None:
        """Ends the process the hard way. ``blame``: its running jobs are charged with that."""
        if self._cause:
            return  # it is about to be dead
        logger.error("child %s is killed: %s", self.process.pid, why)
        self._cause = why
        self.blameless = not blame
        self.process.kill()

    def probe(self) -> None:
        """Has it write down where its threads are, although none of them can be asked."""
        self.frames()  # of an earlier time
        with suppress(ProcessLookupError):
            os.kill(int(self.process.pid or 0), PROBE)

    def frames(self) -> str:
        """What it has written since."""
        said = b""
        with suppress(OSError):  # nothing more, or it was cleared away
            while chunk := os.read(self._frames.fileno(), 1 << 16):
                said += chunk
        return said.decode("utf-8", "replace")

    def weigh(self) -> int:
        """Bytes of memory it holds."""
        held = memory_of(self.process.pid)
        self._peak = max(self._peak, held.peak)
        return held.now

    def has_lost(self, now: float) -> bool:
        """Whether it still runs a job of a queue in which its lease is over."""
        ended = self.table.ended(now)
        return bool(ended) and any(row.queue in ended for row in self.table.rows())

    def obstinate(self, now: float) -> Row | None:
        """A running job that should have stopped long ago."""
        rows = self.table.rows()
        if self._kills:
            running = {(row.id, row.fence) for row in rows}
            self._kills = {job: at for job, at in self._kills.items() if job in running}
        for row in rows:
            told = self._kills.get((row.id, row.fence), FOREVER)
            if now > min(row.deadline or FOREVER, told) + LATEST:
                return row
        return None

    def is_dead(self) -> bool:
        """Whether its process has ended."""
        before = peak_of_the_dead()
        if self.process.is_alive():
            return False
        after = peak_of_the_dead()  # of all who ever died: its own if it has risen
        if after > before:
            self._peak, self._measured = after, True
        return True

    def close(self) -> Remains:
        """Clears up after a dead child."""
        self.process.join()
        self._orders.close()
        self._frames.close()
        code = int(self.process.exitcode or 0)
        rows = self.table.rows()
        for row in rows:
            if row.process:  # before its job goes back, though it dies by itself in a moment
                with suppress(ProcessLookupError):
                    os.kill(row.process, signal.SIGKILL)
        peak = f"{'' if self._measured else 'at least '}{self._peak >> 20:,} MB"
        orderly = code in ORDERLY and self.table.leaving
        return Remains(code, self._cause or cause_of(code, peak), rows, orderly)
