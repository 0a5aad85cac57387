"""Jobs become ready when they are due: milliseconds late, and without polling."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..broker.broker import Broker
from ..broker.doorbell import Doorbell
from ..clock import monotonic
from ..exceptions import BrokerError, BrokerUnavailable
from ..service import FOREVER
from .queue_service import QueueService

logger = logging.getLogger("django_taskq.worker")

PATIENCE = 5.0  # seconds a blocked read lasts


class Timekeeper(QueueService):
    """Keeps the time of every queue of this worker, for as long as no other worker does."""

    def __init__(self, broker: Broker, queues: Sequence[str], keeper: str) -> None:
        super().__init__(broker, queues)
        self._keeper = keeper
        self._due = dict.fromkeys(queues, 0.0)
        self._force: set[str] = set()
        self._lists = {broker.key(queue, "timer"): queue for queue in queues}
        self._deaf = 0  # times in a row that it could not listen
        self.bell = Doorbell(broker.server, list(self._lists))

    def tick(self) -> float:
        now = monotonic()
        for queue, due in self._due.items():
            if due > now or self.setbacks.rests(queue, now):
                continue
            missed = queue in self.setbacks
            with self.sparing(queue) as told:
                self._promote(queue)
            if told.outage:
                return 0.0  # the other services first, then the other queues
            if missed and queue not in self.setbacks:
                self.bell.close()  # listen to it again
        heard = self._listen()
        rest = self.rest_of([queue for queue, due in self._due.items() if due <= now], FOREVER)
        return max(min(*self._due_now(), rest + monotonic(), heard) - monotonic(), 0.0)

    def _due_now(self) -> list[float]:
        working = [due for queue, due in self._due.items() if queue not in self.setbacks]
        return working or [FOREVER]

    def _listen(self) -> float:
        """Has the bell rung when something is due earlier; when to look if not (monotonic)."""
        out = [key for key, queue in self._lists.items() if queue in self.setbacks]
        if self.bell.asked or len(out) == len(self._lists):
            return FOREVER
        try:
            self.bell.ask(PATIENCE, out)
        except BrokerUnavailable:
            if not self._broker.server.is_cluster:
                raise
        except BrokerError as error:
            if not self._deaf:
                logger.error("%s: %s; looking every few seconds", self.name, error)
        else:
            return FOREVER
        return self._look_soon()

    def _look_soon(self) -> float:
        """Nobody says when something is due earlier: when to look (monotonic)."""
        self._deaf += 1
        self._look_everywhere()
        return monotonic() + min(self.error_delay * 2.0 ** min(self._deaf, 10), PATIENCE)

    def _promote(self, queue: str) -> None:
        answer = self._broker.promote(queue, self._keeper, force=queue in self._force)
        self._force.discard(queue)
        rest = answer.busy or answer.wait
        self._due[queue] = FOREVER if rest < 0 else monotonic() + rest / 1000

    def rung(self) -> None:
        """Something is due earlier than before: whoever hears it becomes the timekeeper."""
        try:
            keys = self.bell.answer()
        except BrokerError as error:
            if not (self._deaf or isinstance(error, BrokerUnavailable)):
                logger.error("%s: %s; looking every few seconds", self.name, error)
            self.due = self._look_soon()
            return
        self._deaf = 0
        for key in keys:
            queue = self._lists[key]
            self._force.add(queue)
            self._due[queue] = 0.0
        self.due = 0.0

    def hint(self, queue: str, wait: int) -> None:
        """What a renewal says: the queue's next job is due in ``wait`` ms (-1: none).

        Makes good a token that was lost with a worker that had taken it.
        """
        if wait >= 0:
            due = monotonic() + wait / 1000
            if due < self._due[queue]:
                self._due[queue] = due
                self.due = min(self.due, due)

    def _look_everywhere(self) -> None:
        self._due = dict.fromkeys(self._due, 0.0)
