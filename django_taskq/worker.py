"""A child: the process that runs jobs. Its main thread is an event loop with three duties.

It runs async jobs, watches over the hands (who is stuck, what is late, which outcome waits), and
obeys the supervisor, which writes a line of JSON for each thing it wants.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import socket
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from .broker.broker import Broker
from .broker.roster import Roster
from .clock import monotonic
from .deaths import PROBE, die_with_parent, ignore_signals, leave
from .departure import Departure
from .errands import start_errands
from .exceptions import BrokerError, CancelRequested, LeaseLost
from .execution import Runner
from .isolation import Isolation, Make
from .orders import Taker
from .plan import LEASE_OVER, Plan
from .pool import Pool
from .services.consumer import Consumer
from .shares import Shares
from .stacks import written
from .table import Table
from .watcher import LAZY_TICK, Watcher

logger = logging.getLogger("django_taskq.worker")

BEAT = 2.0  # seconds between two signs of life


class Child:
    """One child, from its first claim to its exit code."""

    def __init__(
        self,
        plan: Plan,
        make: Make,
        holder: str,
        table: Table,
        orders: Taker,
    ) -> None:
        broker, sender = make(plan.alias)
        self._roster = Roster(broker)
        self.plan = plan
        self.table = table
        self.holder = holder
        self._orders = orders
        self._loop = asyncio.new_event_loop()
        self.consumer = self._make_consumer(broker)
        runner = Runner.of(broker, plan.alias, holder, sender, plan.max_payload)
        runner.reported = self.consumer.reports.add
        self.pool = self._make_pool(runner, Isolation(make, runner, plan.max_memory))
        self._watcher = Watcher(self.pool, self.consumer, restless=plan.burst)
        self._departure = Departure(
            plan, self.pool, self.consumer, table, self._loop, self._look_again
        )
        self._watching = False
        self._telling: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None

    def _make_consumer(self, broker: Broker) -> Consumer:
        return Consumer(
            broker,
            Shares(self.plan.queues, strict=self.plan.strict),
            self.holder,
            self.plan.lease,
            room=self._room,
            fullness=self.table,
            registered=self._registered,
            stale=self._lost,
            ended=self.table.count,
        )

    def _make_pool(self, runner: Runner, isolation: Isolation) -> Pool:
        return Pool(
            runner,
            isolation,
            self.consumer,
            self.table,
            self._loop,
            places={name: at for at, name in enumerate(self.plan.names)},
            limit=self.plan.max_jobs,
            busy=self._busy,
        )

    # -- life ------------------------------------------------------------------------------------

    def run(self) -> int:
        """Works until told to stop; the process's exit code."""
        self._loop.add_reader(self._orders.fileno(), self._hear)
        self._beat()  # before the first job: one that kills this process is no stillbirth
        self.pool.summon()
        running = start_errands(self.plan.errands, self.plan.alias)
        self._loop.call_soon(self._watch)
        try:
            self._loop.run_forever()
        finally:
            self.pool.close()
            for errand in running:
                errand.close()
        return self._departure.code

    def _room(self) -> int:
        """Free slots, with the one that the asking hand has taken for itself."""
        if self._departure.stop_at is not None:
            return 0
        return len(self.pool.free) + 1

    def _registered(self, queue: str, since: float) -> None:
        place = self.plan.names.index(queue)
        if not self.table.lease(place):
            self.table.extend(place, since + self.plan.lease)

    # -- orders ----------------------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            orders = self._orders.take()
        except EOFError:  # the supervisor is gone, and with it our lease
            os._exit(LEASE_OVER)
        for word, *rest in orders:
            getattr(self, f"_order_{word}")(*rest)

    def _order_stop(self, timeout: float) -> None:
        """Finish within ``timeout`` seconds, then give back."""
        self._departure.stop(timeout)

    def _order_retire(self) -> None:
        """Make room for a child that has a lease in every queue."""
        self._departure.retire()

    def _order_quiet(self) -> None:
        """Finish what runs, take no more."""
        self._departure.quiet()

    def _order_resume(self) -> None:
        """Take jobs again."""
        if self._departure.resume():
            self._watcher.restless = self.plan.burst
            self.pool.summon()
            self._loop.call_soon(self._watch)

    def _order_cancel(self, id: str, fence: int) -> None:
        self._interrupt(id, fence, hard=False)

    def _order_kill(self, id: str, fence: int) -> None:
        """Stop a job, and end the process if it does not."""
        self._interrupt(id, fence, hard=True)

    def _order_dump(self) -> None:
        """Every thread's stack on stderr."""
        self.table.alive_at = monotonic()
        faulthandler.dump_traceback(all_threads=True)

    def _order_stack(self) -> None:
        """Tells whoever asked where this process is; the loop does not wait for Redis."""
        self.table.alive_at = monotonic()
        if self._telling is None or not self._telling.is_alive():
            said = written(self.pool.slots, self._loop)
            self._telling = threading.Thread(
                target=self._tell, args=(said,), name="taskq-stack", daemon=True
            )
            self._telling.start()

    def _tell(self, stacks: str) -> None:
        try:
            self._roster.tell(self.holder, stacks)
        except BrokerError as error:
            logger.warning("where this process is could not be told: %s", error)

    def _interrupt(self, id: str, fence: int, *, hard: bool) -> None:
        slot = self.pool.find(id, fence)
        if slot is not None:
            slot.interrupt(id, fence, CancelRequested, hard=hard)

    def _lost(self, id: str, fence: int) -> None:
        """Called by hands: Redis says that a job which runs here is somebody else's."""
        slot = self.pool.find(id, fence)
        if slot is not None:
            self._loop.call_soon_threadsafe(slot.interrupt, id, fence, LeaseLost)

    # -- the watch -------------------------------------------------------------------------------

    def _busy(self) -> None:
        """Called by hands: there is something to watch over."""
        if not self._watching:
            self._watching = True
            self._loop.call_soon_threadsafe(self._watch)

    def _look_again(self) -> None:
        """Somebody waits for the end."""
        self._watcher.restless = True
        self._loop.call_soon(self._watch)

    def _beat(self) -> None:
        self.table.alive_at = monotonic()
        self._loop.call_later(BEAT, self._beat)

    def _watch(self) -> None:
        """Looks, and looks again for as long as there is something to see."""
        if self._timer is not None:
            self._timer.cancel()
        now = monotonic()
        if self._departure.is_under_way(now):
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


def run_child(
    plan: Plan,
    make: Make,
    holder: str,
    memory: Any,
    orders: socket.socket,
    frames: Connection,
) -> None:
    """The body of a child's process: never returns. ``make`` gives the alias's broker.

    ``frames``: where it says what its threads do when it is asked by PROBE.
    """
    die_with_parent()
    ignore_signals()
    os.set_blocking(frames.fileno(), False)  # what has no room there is left out
    faulthandler.register(PROBE, file=frames, all_threads=True, chain=False)
    # A 10 ms timer beside ten busy threads was 67 ms late at the default of 5 ms, 5 ms with this.
    sys.setswitchinterval(0.0005)
    code = 1
    try:
        child = Child(
            plan, make, holder, Table(memory, plan.concurrency, len(plan.names)), Taker(orders)
        )
        code = child.run()
    except BaseException:
        logger.exception("the worker's child failed")
    finally:
        leave(code)
