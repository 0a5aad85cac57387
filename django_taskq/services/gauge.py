"""Measures how many jobs are ready, for the charts."""

from __future__ import annotations

from collections.abc import Sequence

from ..broker.broker import Broker
from ..service import Service

INTERVAL = 20.0  # seconds: each minute has some


class Gauge(Service):
    """What stands in line is counted from time to time; what has run, where it ended."""

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        super().__init__()
        self._broker = broker
        self._queues = list(queues)

    def tick(self) -> float:
        self.troubles.each(self._queues, self._broker.measure, self._broker.place_of)
        return INTERVAL
