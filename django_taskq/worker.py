"""A child: the process that runs jobs. Its main thread is an event loop with three duties.

It runs async jobs, watches over the hands (who is stuck, what is late, which outcome waits), and
obeys the supervisor, which writes a line of JSON for each thing it wants.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .clock import monotonic
from .codec import printable
from .deaths import die_with_parent
from .errands import Maker, start_errands
from .exceptions import CancelRequested, LeaseLost
from .execution import Runner
from .isolation import Isolation, Make
from .memory import memory_of
from .pool import Pool
from .services.consumer import Consumer
from .shares import Shares
from .table import Table
from .watcher import LAZY_TICK, Watcher

logger = logging.getLogger("django_taskq.worker")

BEAT = 2.0  # seconds between two signs of life
FAREWELL = 4.0  # seconds to settle what is left when Redis is away; then it runs again elsewhere
LAST_WORDS = 1.0  # the same, while code that does not stop is still running

DONE = 0  # exit codes: stopped as told, or nothing left to do (burst)
RECYCLE = 3  # another child should take its place
LEASE_OVER = 4
ORDERLY = (DONE, RECYCLE, LEASE_OVER)


@dataclass(frozen=True)
class Plan:
    """What a child is to do; made by the supervisor from settings and command line."""

    alias: str
    queues: dict[str, int]
    strict: bool = False
    concurrency: int = 10
    lease: float = 30.0
    burst: bool = False
    max_jobs: int | None = None
    max_memory: int | None = None  # MB
    shutdown_timeout: float = 30.0
    max_payload: int = 1 << 20  # bytes of a return value
    names: list[str] = field(default_factory=list)  # queues by their place in the table
    errands: tuple[Maker, ...] = ()  # of one child at a time


class Child:
    """One child, from its first claim to its exit code."""

    def __init__(
        self,
        plan: Plan,
        make: Make,
        holder: str,
        table: Table,
        orders: socket.socket,
    ) -> None:
        broker, sender = make(plan.alias)
        self.plan = plan
        self.table = table
        self.holder = holder
        self._orders = orders
        self._loop = asyncio.new_event_loop()
        runner = Runner.of(broker, plan.alias, holder, sender, plan.max_payload)
        isolation = Isolation(make, runner, plan.max_memory)
        self.pool = Pool(runner, isolation, table, self._loop, self._busy, self._is_over)
        self.consumer = Consumer(
            broker,
            Shares(plan.queues, strict=plan.strict),
            holder,
            plan.lease,
            room=self._room,
            memory=lambda: table.memory,
            registered=self._registered,
        )
        self.pool.consumer = self.consumer
        self.pool.limit = plan.max_jobs or self.pool.limit
        self.pool.places = {name: at for at, name in enumerate(plan.names)}
        self._watcher = Watcher(self.pool, self.consumer, restless=plan.burst)
        self._watching = False
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = False
        self._stop_at: float | None = None
        self._exit: int | None = None
        self._patience = FAREWELL
        self._read = b""

    # -- life ------------------------------------------------------------------------------------

    def run(self) -> int:
        """Works until told to stop; the process's exit code."""
        self._loop.add_reader(self._orders.fileno(), self._hear)
        self.pool.summon()
        running = start_errands(self.plan.errands, self.plan.alias)
        self._loop.call_soon(self._watch)
        self._loop.call_soon(self._beat)
        try:
            self._loop.run_forever()
        finally:
            self.pool.close()
            for errand in running:
                errand.close()
        return self._exit or DONE

    def _leave(self, code: int) -> None:
        self._exit = code if self._exit is None else self._exit
        self._loop.stop()

    def _room(self) -> int:
        """Free slots, with the one that the asking hand has taken for itself."""
        if self._stop_at is not None:
            return 0
        return len(self.pool.free) + 1

    def _is_over(self) -> bool:
        return 0 < self.table.lease_until < monotonic()

    def _registered(self, since: float) -> None:
        if not self.table.lease_until:
            self.table.lease_until = since + self.plan.lease

    # -- orders ----------------------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            data = self._orders.recv(65536)
        except BlockingIOError:
            return
        if not data:  # the supervisor is gone, and with it our lease
            os._exit(LEASE_OVER)
        *lines, self._read = (self._read + data).split(b"\n")
        for line in lines:
            order = msgspec.json.decode(line)
            getattr(self, f"_order_{order[0]}")(*order[1:])

    def _order_stop(self, timeout: float) -> None:
        """Finish within ``timeout`` seconds, then give back."""
        by = monotonic() + timeout
        self._stop_at = by if self._stop_at is None else min(self._stop_at, by)
        self.pool.limit = 0
        self._watcher.restless = True
        self.consumer.close()
        self.pool.summon()
        self._loop.call_soon(self._watch)

    def _order_quiet(self) -> None:
        """Finish what runs, take no more."""
        self._order_stop(float("inf"))

    def _order_cancel(self, id: str, fence: int) -> None:
        self._interrupt(id, fence, hard=False)

    def _order_kill(self, id: str, fence: int) -> None:
        """Stop a job, and end the process if it does not."""
        self._interrupt(id, fence, hard=True)

    def _order_dump(self) -> None:
        """Every thread's stack on stderr."""
        faulthandler.dump_traceback(all_threads=True)

    def _interrupt(self, id: str, fence: int, *, hard: bool) -> None:
        slot = self.pool.find(id, fence)
        if slot is not None:
            slot.interrupt(id, fence, CancelRequested, hard=hard)

    # -- the watch -------------------------------------------------------------------------------

    def _busy(self) -> None:
        """Called by hands: there is something to watch over."""
        if not self._watching:
            self._watching = True
            self._loop.call_soon_threadsafe(self._watch)

    def _beat(self) -> None:
        self.table.alive_at = monotonic()
        self._loop.call_later(BEAT, self._beat)

    def _watch(self) -> None:
        """Looks, and looks again for as long as there is something to see."""
        if self._timer is not None:
            self._timer.cancel()
        now = monotonic()
        if self._must_leave(now):
            return
        rest = self._look(now)
        if rest is None:
            self._watching = False
            # A hand may have become busy since we looked; it saw us watching and did not call.
            rest = self._look(now)
        self._watching = rest is not None
        if rest is not None:
            self._timer = self._loop.call_later(rest, self._watch)

    def _look(self, now: float) -> float | None:
        try:
            return self._watcher.look(now)
        except Exception:
            logger.exception("the watch failed; looking again")
            return LAZY_TICK

    # -- leaving ---------------------------------------------------------------------------------

    def _must_leave(self, now: float) -> bool:
        if self._leaving:
            return True
        if self.consumer.lost or self._is_over():
            self._lease_is_over()
            return True
        idle = self.pool.running == 0
        if self._stop_at is not None and (idle or now >= self._stop_at):
            self._finish()
            return True
        self._leave_behind(now)
        if self._stop_at is None:
            if self.plan.burst and idle and self.consumer.is_empty:
                self._order_stop(0)
            elif self._is_worn_out():
                self._exit = RECYCLE
                self._order_stop(self.plan.shutdown_timeout)
        return False

    def _leave_behind(self, now: float) -> None:
        """A job that cannot be stopped ends with its process, and so do those beside it.

        It is settled by the supervisor, when its code can do nothing more.
        """
        for slot in self.pool.slots:
            attempt = slot.attempt
            if attempt is not None and slot.is_deaf(now):
                logger.error(
                    "job %s does not stop (%s): its process ends and is replaced. It is at\n%s",
                    printable(attempt.grant.id),
                    slot.interrupted,
                    slot.stack(),
                )
                self._exit = RECYCLE
                self._patience = LAST_WORDS
                self._order_stop(0)

    def _is_worn_out(self) -> bool:
        plan = self.plan
        if self.pool.taken >= self.pool.limit:
            return True
        return plan.max_memory is not None and memory_of().now > plan.max_memory << 20

    def _finish(self) -> None:
        """Settles everything and gives back the rest, then leaves.

        What still runs is told to stop. If it does not, it is not settled: until this process is
        dead its code may go on, and then the supervisor takes the job back, uncounted.
        """
        for id in self._stop_jobs():
            logger.warning("job %s did not finish in time and goes back", id)
        self._depart(self._patience)

    def _lease_is_over(self) -> None:
        """What runs here may run elsewhere now: stop it, hand in what is done, and go.

        What was done before is tried for as long as Redis is away: nobody takes jobs back during
        an outage, so it counts. Code that does not stop must not wait for that.
        """
        logger.error("the lease of %s is over: its running jobs are stopped", self.holder)
        self._exit = LEASE_OVER
        self.consumer.close()
        self.consumer.buffer.clear()
        self.consumer.suspects.clear()
        self._stop_jobs()
        self._loop.call_later(FAREWELL, self._leave_if_busy)
        self._depart(float("inf"))

    def _leave_if_busy(self) -> None:
        if self.pool.running:
            self._leave(LEASE_OVER)

    def _stop_jobs(self) -> list[str]:
        """Interrupts what runs; the ids."""
        ids = []
        for slot in self.pool.slots:
            attempt = slot.attempt
            if attempt is not None:
                grant = attempt.grant
                ids.append(grant.id)
                slot.interrupt(grant.id, grant.live.fence, LeaseLost)
        return ids

    def _depart(self, patience: float) -> None:
        self._leaving = True
        threading.Thread(
            target=self._farewell, args=(patience,), name="taskq-farewell", daemon=True
        ).start()

    def _farewell(self, patience: float) -> None:
        try:
            self.consumer.farewell(patience)
        finally:
            self._loop.call_soon_threadsafe(self._leave, DONE)


def run_child(
    plan: Plan,
    make: Make,
    holder: str,
    memory: Any,
    orders: socket.socket,
) -> None:
    """The body of a child's process: never returns. ``make`` gives the alias's broker."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN):
        # The supervisor tells us what they mean. Not SIG_IGN: what jobs start would inherit that.
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(-1)
    # A 10 ms timer beside ten busy threads was 67 ms late at the default of 5 ms, 5 ms with this.
    sys.setswitchinterval(0.0005)
    orders.setblocking(False)
    code = 1
    try:
        child = Child(plan, make, holder, Table(memory, plan.concurrency), orders)
        code = child.run()
    except BaseException:
        logger.exception("the worker's child failed")
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads that still run a job must not hold it up
