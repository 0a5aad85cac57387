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
from .slot import LATEST
from .table import GIVEN_UP, HELD, LEFT, Table

logger = logging.getLogger("django_taskq.worker")

FAREWELL = 4.0  # seconds to settle what is left when Redis is away; then it runs again elsewhere
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
        self._leaving = False
        self._patience = FAREWELL
        self._lost_at: dict[str, float] = {}  # queue -> when its lease was seen to be over
        self._left = 0  # times that a queue was left

    def stop(self, timeout: float) -> None:
        """Finish within ``timeout`` seconds, then give back."""
        by = monotonic() + timeout
        self.stop_at = by if self.stop_at is None else min(self.stop_at, by)
        self._pool.limit = 0
        self._consumer.close()
        self._pool.summon()
        self._look()

    def is_under_way(self, now: float) -> bool:
        """Whether the child leaves, and nothing is to be watched over any more."""
        if self._leaving:
            return True
        if self._leases_are_over(now):
            self._lease_is_over()
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

    # -- leases ----------------------------------------------------------------------------------

    @property
    def gives_up(self) -> bool:
        """Whether something of a queue where the lease is over has not stopped, or is not told."""
        return any(self._table.given_up(self._pool.places[name]) < LEFT for name in self._lost_at)

    def _leases_are_over(self, now: float) -> bool:
        """Gives up the queues where the lease is over; whether that is everywhere."""
        table, lost = self._table, self._consumer.lost
        over = table.over(now)
        if not (over or lost):
            return False
        names = self._plan.names
        lost |= {names[place] for place in over}
        held = {name for place, name in enumerate(names) if table.lease_until(place)}
        if held <= lost:
            return True
        for name in list(lost):  # a hand may add one
            self._give_up(name, now)
        return False

    def _give_up(self, queue: str, now: float) -> None:
        """What runs of that queue may run elsewhere now; the other queues' jobs go on.

        Nothing is claimed there before the supervisor has given back all that this child held,
        which it does once nothing is held any more. So long that no child of this worker can still
        run any of it, nobody here says so: their leases end together.
        """
        place = self._pool.places[queue]
        since = self._lost_at.get(queue)
        if since is None:
            self._lost_at[queue] = now
            self._table.give_up(place, GIVEN_UP)
            self._consumer.give_up(queue)
            logger.error(
                "the lease of %s in queue %s is over: its jobs of that queue are stopped, "
                "others go on",
                self._pool.runner.holder,
                queue,
            )
        if self._table.given_up(place) >= LEFT:
            return
        self._stop_jobs(queue)
        holds = self._pool.holds(queue) or self._consumer.owes(queue)
        if since and now > since + LATEST and not holds:
            self._left += 1
            self._table.give_up(place, LEFT + self._left % (256 - LEFT))

    def rejoin(self, queue: str) -> None:
        """What this child held there has gone back: its next claim begins a new lease."""
        place = self._pool.places[queue]
        self._lost_at.pop(queue, None)
        self._table.set_lease(place, 0.0)
        self._table.give_up(place, HELD)
        self._consumer.rejoin(queue)

    # -- reasons to leave ------------------------------------------------------------------------

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

    def _stop_jobs(self, queue: str = "") -> list[str]:
        """Interrupts what runs; the ids. ``queue``: of that one only, if need be the hard way."""
        ids = []
        for slot in self._pool.slots:
            attempt = slot.attempt
            if attempt is not None and queue in ("", attempt.grant.queue):
                grant = attempt.grant
                ids.append(grant.id)
                slot.interrupt(grant.id, grant.live.fence, LeaseLost, hard=bool(queue))
        return ids

    def _depart(self, patience: float) -> None:
        self._leaving = True
        threading.Thread(
            target=self._farewell, args=(patience,), name="taskq-farewell", daemon=True
        ).start()

    def _farewell(self, patience: float) -> None:
        try:
            self._consumer.farewell(patience)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
