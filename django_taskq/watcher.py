"""Sees to it that a child's hands are where the work is; looks again only while there is some."""

from __future__ import annotations

from .exceptions import TaskTimeout
from .pool import Pool
from .service import FOREVER
from .services.consumer import Consumer

TICK = 0.002  # seconds between two looks while another hand may be needed
SLOW_TICK = 0.010  # while outcomes wait for company
LAZY_TICK = 0.050  # while jobs run and nothing else is to be done
GIVE_BACK_AFTER = 0.100  # seconds a buffered job waits for a slot
STUCK_AFTER = 0.010  # seconds without a job taken, with all slots busy, that end prefetch


class Watcher:
    """Looks at a pool and its consumer, and wakes a hand where one is missing.

    ``restless``: look again even when all is quiet, because somebody waits for the end.
    """

    def __init__(self, pool: Pool, consumer: Consumer, *, restless: bool) -> None:
        self.restless = restless
        self._pool = pool
        self._consumer = consumer
        self._taken = 0
        self._moved = 0.0  # when a job was taken last, as far as was seen

    def look(self, now: float) -> float | None:
        """Does what is needed; seconds until the next look, None when none is."""
        self._interrupt_late(now)
        still = self._stillness(now)
        all_busy = not self._pool.free
        self._consumer.stuck = all_busy and still > STUCK_AFTER
        if all_busy or self._consumer.closing:
            self._relieve(now)
        elif self._needs_a_hand(still):
            self._pool.summon()
        if self._consumer.is_due and not self._consumer.leading:
            self._pool.summon()
        return self._rest(all_busy, now)

    def _interrupt_late(self, now: float) -> None:
        for slot in self._pool.slots:
            attempt = slot.attempt
            if attempt is not None and slot.is_late(now):
                grant = attempt.grant
                slot.interrupt(grant.id, grant.live.fence, TaskTimeout, hard=True)

    def _stillness(self, now: float) -> float:
        """Seconds for which nobody took a job."""
        if self._pool.taken != self._taken:
            self._taken = self._pool.taken
            self._moved = now
        return now - self._moved

    def _needs_a_hand(self, still: float) -> bool:
        """Whether work lies untouched in spite of a free slot, or nobody listens for new work."""
        consumer = self._consumer
        if consumer.leading and not consumer.buffer:
            return False
        if consumer.has_work:
            return still >= TICK or not consumer.pace.one_thread_is_best
        return not (consumer.listening or consumer.closing)

    def _relieve(self, now: float) -> None:
        """What is buffered behind slow jobs, or when no more is started, is somebody else's."""
        consumer = self._consumer
        if consumer.buffer and now - consumer.buffered_at > GIVE_BACK_AFTER:
            consumer.give_back_buffer()

    def _rest(self, all_busy: bool, now: float) -> float | None:
        consumer = self._consumer
        if consumer.closing:  # nobody listens then, and nobody is missing
            still = self._pool.running and not (consumer.has_work or consumer.outcomes)
            return LAZY_TICK if still else SLOW_TICK
        if not all_busy and (consumer.has_work or not consumer.listening):
            return TICK if self._pool.running else SLOW_TICK
        if consumer.outcomes or consumer.buffer:
            return SLOW_TICK
        if self._pool.running:
            return LAZY_TICK
        if self.restless:
            return SLOW_TICK
        return None if consumer.next_try == FOREVER else max(consumer.next_try - now, TICK)
