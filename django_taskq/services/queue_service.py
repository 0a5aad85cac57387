"""A service that does the same for each of some queues: one that fails holds up no other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from ..broker.broker import Broker
from ..clock import monotonic
from ..exceptions import BrokerUnavailable
from ..service import Service
from ..setbacks import Setbacks


class Told:
    """How a try went: ``outage`` if it waited for a server that is away."""

    outage = False


class QueueService(Service):
    """``setbacks`` are the queues that failed, and when each is tried again.

    On one server an outage is the whole service's, as of any other service.
    """

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        super().__init__()
        self._broker = broker
        self._queues = list(queues)
        self.setbacks = Setbacks(
            self._queues, broker.whereabouts, self.error_delay, self.longest_delay, self.name
        )

    @contextmanager
    def sparing(self, queue: str) -> Iterator[Told]:
        """What goes wrong inside is noted, and is the queue's own."""
        told = Told()
        began = monotonic()
        try:
            yield told
        except Exception as error:
            told.outage = isinstance(error, BrokerUnavailable)
            if told.outage and not self._broker.server.is_cluster:
                raise
            self.setbacks.failed(queue, error, monotonic() - began)
        else:
            self.setbacks.worked(queue)

    def rest_of(self, queues: Collection[str], otherwise: float) -> float:
        """Seconds until the first of the queues that failed is tried again."""
        now = monotonic()
        dues = [self.setbacks.due(queue) - now for queue in queues if queue in self.setbacks]
        return max(min([otherwise, *dues]), 0.0)
