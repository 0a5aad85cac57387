"""Deletes what is over its time in queues where nothing happens, and finds jobs nobody holds."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..broker.broker import HOUSEKEEPING, Broker
from ..service import Service
from .reaper import Reaper

INTERVAL = 60.0  # seconds
ROUNDS = 50  # chunks a tick


class Janitor(Service):
    """Sweeps every queue about once a minute."""

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
        return INTERVAL * random.uniform(0.8, 1.2)
