"""Deletes what is over its time in queues where nothing happens, and finds what was left behind."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from ..broker.broker import HOUSEKEEPING, Broker
from ..broker.sweep import CHECKS
from ..clock import monotonic
from ..service import Service
from .reaper import Reaper

logger = logging.getLogger("django_taskq.worker")

INTERVAL = 60.0  # seconds
ROUNDS = 50  # chunks a tick
STEP = 0.25  # seconds from chunk to chunk of a large queue; sweep.lua refuses below 0.2


class Janitor(Service):
    """Looks after every queue about once a minute."""

    def __init__(self, broker: Broker, queues: Sequence[str], reaper: Reaper) -> None:
        super().__init__()
        self._broker = broker
        self._queues = list(queues)
        self._reaper = reaper
        self._next_round = 0.0  # monotonic
        self._trimming: list[str] = []  # queues that were not seen to in this round
        self._walking: list[str] = []  # queues whose walk is not round yet

    def tick(self) -> float:
        if monotonic() >= self._next_round:
            self._next_round = monotonic() + INTERVAL * random.uniform(0.8, 1.2)
            self._trimming = list(self._queues)
            self._walking = list(self._queues)
        place_of = self._broker.place_of
        self.troubles.each(list(self._trimming), self._trim, place_of)
        self.troubles.each(list(self._walking), self._sweep, place_of)
        rest = max(self._next_round - monotonic(), 0.0)
        return min(rest, STEP) if self._walking or self._trimming else rest

    def make_room(self) -> None:
        """Redis is nearly full: the next round is now."""
        self._next_round = self.due = 0.0

    def _trim(self, queue: str) -> None:
        for _ in range(ROUNDS):
            if self._broker.trim(queue) < HOUSEKEEPING:
                break
        self._reaper.lapsed(queue, "")  # stands for every holder that is unknown
        self._trimming.remove(queue)

    def _sweep(self, queue: str) -> None:
        """Takes the queue's walk a step further."""
        chunk = self._broker.sweep(queue)
        for name, ids in chunk.found.items():
            if not CHECKS[name].passing and name != "unheld":  # the reaper speaks of those
                what, mended = CHECKS[name].what, CHECKS[name].mended
                logger.warning("queue %s: %s: %d %s", queue, what, len(ids), mended)
        if not chunk.place:
            self._walking.remove(queue)
