"""Deletes what is over its time in queues where nothing happens, and finds what was left behind."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from ..broker.broker import HOUSEKEEPING, Broker
from ..broker.sweep import CHECKS
from ..clock import monotonic
from .queue_service import QueueService
from .reaper import Reaper

logger = logging.getLogger("django_taskq.worker")

INTERVAL = 60.0  # seconds
ROUNDS = 50  # chunks a tick
STEP = 0.25  # seconds from chunk to chunk of a large queue; sweep.lua refuses below 0.2


class Janitor(QueueService):
    """Looks after every queue about once a minute."""

    def __init__(self, broker: Broker, queues: Sequence[str], reaper: Reaper) -> None:
        super().__init__(broker, queues)
        self._reaper = reaper
        self._next_round = 0.0  # monotonic
        self._untrimmed: list[str] = []  # queues that were not looked after in this round
        self._walking: list[str] = []  # queues whose walk is not round yet

    def tick(self) -> float:
        now = monotonic()
        if now >= self._next_round:
            self._next_round = now + INTERVAL * random.uniform(0.8, 1.2)
            self._untrimmed = list(self._queues)
            self._walking = list(self._queues)
        for work, todo in ((self._trim, self._untrimmed), (self._sweep, self._walking)):
            for queue in list(todo):
                if self.setbacks.rests(queue, now):
                    continue
                with self.sparing(queue) as told:
                    if work(queue):
                        todo.remove(queue)
                if told.outage:
                    return 0.0  # the other services first, then the other queues
        rest = max(self._next_round - monotonic(), 0.0)
        if any(queue not in self.setbacks for queue in self._walking):
            rest = min(rest, STEP)
        return self.rest_of({*self._untrimmed, *self._walking}, rest)

    def make_room(self) -> None:
        """Redis is nearly full: the next round is now."""
        self._next_round = self.due = 0.0

    def _trim(self, queue: str) -> bool:
        for _ in range(ROUNDS):
            if self._broker.trim(queue) < HOUSEKEEPING:
                break
        self._reaper.lapsed(queue, "")  # stands for every holder that is unknown
        return True

    def _sweep(self, queue: str) -> bool:
        """Takes the queue's walk a step further; whether nothing more is to be done now."""
        chunk = self._broker.sweep(queue)
        for name, ids in chunk.found.items():
            if not CHECKS[name].passing and name != "unheld":  # the reaper speaks of those
                what, mended = CHECKS[name].what, CHECKS[name].mended
                logger.warning("queue %s: %s: %d %s", queue, what, len(ids), mended)
        return not chunk.place
