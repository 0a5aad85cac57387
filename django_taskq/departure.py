"""How a child leaves: told to, worn out, with code that does not stop, or after its lease."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from .clock import monotonic
from .codec import printable
from .exceptions import LeaseLost
from .memory import memory_of
from .plan import DONE, LEASE_OVER, RECYCLE, Plan
from .pool import Pool
from .services.consumer import Consumer
from .table import Table

logger = logging.getLogger("django_taskq.worker")

FAREWELL = 4.0  # seconds to settle what is left when Redis is away; then it runs again elsewhere
QUIET = float("inf")
LAST_WORDS = 1.0  # the same, while code that does not stop is still running


class Departure:
    """Decides, each time the child looks, and goes through with it.

    ``look`` has it look again at once; ``code`` is the process's exit code once ``loop`` stopped.
    """

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        consumer: Consumer,
        table: Table,
        loop: asyncio.AbstractEventLoop,
        look: Callable[[], None],
    ) -> None:
        self.code = DONE
        self.stop_at: float | None = None  # when it has to be gone, if it is to go
        self._plan = plan
        self._pool = pool
        self._consumer = consumer
        self._table = table
        self._loop = loop
        self._look = look
        self._limit = pool.limit
        self._leaving = False
        self._given_up: set[str] = set()  # queues in which the lease is over
        self._patience = FAREWELL

    def stop(self, timeout: float) -> None:
        """Finish within ``timeout`` seconds, then give back."""
        by = monotonic() + timeout
        self.stop_at = by if self.stop_at is None else min(self.stop_at, by)
        self._pool.limit = 0
        self._consumer.close()
        self._pool.summon()
        self._look()

    def quiet(self) -> None:
        """Finish however long that takes, unless told to resume before."""
        self.stop(QUIET)

    def resume(self) -> bool:
        """Goes on where the child was only quiet; whether it does.

        One that is on its way out already is replaced.
        """
        if self._leaving or self.stop_at != QUIET:
            return False
        self.stop_at = None
        self._pool.limit = self._limit
        self._consumer.reopen()
        return True

    def retire(self) -> None:
        """Finish as if stopped, and have another child take this one's place."""
        if self.stop_at is None and not self._leaving:
            self.code = RECYCLE
            self.stop(self._plan.shutdown_timeout)

    def is_under_way(self, now: float) -> bool:
        """Whether the child leaves, and nothing is to be watched over any more."""
        if self._leaving:
            return True
        self._look_at_leases(now)
        if self._leaving:
            return True
        idle = self._pool.running == 0
        if self.stop_at is not None and (idle or now >= self.stop_at):
            self._finish()
            return True
        self._leave_behind(now)
        if self.stop_at is None:
            if self._plan.burst and idle and self._consumer.is_empty:
                self.stop(0)
            elif self._is_worn_out():
                self.code = RECYCLE
                self.stop(self._plan.shutdown_timeout)
        return False

    def _look_at_leases(self, now: float) -> None:
        """Where its lease is over this child holds nothing any more; where it holds, it goes on."""
        told = set(self._consumer.lost)  # by Redis
        over = told | {self._plan.names[place] for place in self._table.ended(now)}
        if over <= self._given_up:
            return
        if over >= {self._plan.names[place] for place in self._table.claimed()}:
            self._lease_is_over()
            return
        for queue in over - self._given_up:
            self._give_up(queue)
        if told:
            self.retire()

    def _give_up(self, queue: str) -> None:
        """Stops what is of this queue. Code that does not stop ends with its process."""
        holder = self._pool.runner.holder
        logger.error(
            "the lease of %s in queue %s is over: its jobs of that are stopped", holder, queue
        )
        self._given_up.add(queue)
        self._consumer.give_up(queue)
        self._stop_jobs(queue)
        self._loop.call_later(FAREWELL, self._leave_if_running, queue)

    def _leave_if_running(self, queue: str) -> None:
        if queue in self._running():
            logger.error("jobs of queue %s do not stop: their process ends", queue)
            self.code = LEASE_OVER
            self._table.leave()
            self._loop.stop()

    def _running(self) -> set[str]:
        """The queues whose jobs run here."""
        attempts = [slot.attempt for slot in self._pool.slots]
        return {attempt.grant.queue for attempt in attempts if attempt is not None}

    def _leave_behind(self, now: float) -> None:
        """A job that cannot be stopped ends with its process, and so do those beside it.

        It is settled by the supervisor, when its code can do nothing more.
        """
        for slot in self._pool.slots:
            attempt = slot.attempt
            if attempt is not None and slot.is_deaf(now):
                logger.error(
                    "job %s does not stop (%s): its process ends and is replaced. It is at\n%s",
                    printable(attempt.grant.id),
                    slot.interrupted,
                    slot.stack(),
                )
                self.code = RECYCLE
                self._patience = LAST_WORDS
                self.stop(0)

    def _is_worn_out(self) -> bool:
        plan = self._plan
        if self._pool.taken >= self._pool.limit:
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
        holder = self._pool.runner.holder
        logger.error("the lease of %s is over: its running jobs are stopped", holder)
        self.code = LEASE_OVER
        self._consumer.close()
        self._consumer.buffer.clear()
        self._stop_jobs()
        self._loop.call_later(FAREWELL, self._leave_if_busy)
        self._depart(float("inf"))

    def _leave_if_busy(self) -> None:
        if self._pool.running:
            self._loop.stop()

    def _stop_jobs(self, queue: str | None = None) -> list[str]:
        """Interrupts what runs, or what is of a queue; the ids."""
        ids = []
        for slot in self._pool.slots:
            attempt = slot.attempt
            if attempt is not None and queue in (None, attempt.grant.queue):
                grant = attempt.grant
                ids.append(grant.id)
                slot.interrupt(grant.id, grant.live.fence, LeaseLost)
        return ids

    def _depart(self, patience: float) -> None:
        self._leaving = True
        self._table.leave()
        threading.Thread(
            target=self._farewell, args=(patience,), name="taskq-farewell", daemon=True
        ).start()

    def _farewell(self, patience: float) -> None:
        try:
            self._consumer.farewell(patience)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
