"""Deletes what is over its time in queues where nothing happens, and finds what was left behind."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Sequence

from ..broker.broker import HOUSEKEEPING, Broker
from ..broker.sweep import CHECKS
from ..service import Service
from .reaper import Reaper

logger = logging.getLogger("django_taskq.worker")

INTERVAL = 60.0  # seconds
ROUNDS = 50  # chunks a tick
SLICE = 20  # chunks of the sweep a tick; the walk goes on from there, whoever takes the next step


class Janitor(Service):
    """Looks after every queue about once a minute."""

    def __init__(self, broker: Broker, queues: Sequence[str], reaper: Reaper) -> None:
        super().__init__()
        self._broker = broker
        self._queues = list(queues)
        self._reaper = reaper

    def tick(self) -> float:
        for queue in self._queues:
            for _ in range(ROUNDS):
                if self._broker.trim(queue) < HOUSEKEEPING:
                    break
            self._reaper.lapsed(queue, "")  # stands for every holder that is unknown
            self._sweep(queue)
        return INTERVAL * random.uniform(0.8, 1.2)

    def _sweep(self, queue: str) -> None:
        found: Counter[str] = Counter()
        for _ in range(SLICE):
            chunk = self._broker.sweep(queue)
            found.update({check: len(ids) for check, ids in chunk.found.items()})
            if not chunk.place:
                break
        for check, count in found.items():
            if not CHECKS[check].passing and check != "unheld":  # the reaper says so
                logger.warning("queue %s: %d %s", queue, count, CHECKS[check])
