"""Jobs become ready when they are due: milliseconds late, and without polling."""

from __future__ import annotations

from collections.abc import Sequence

from ..broker.broker import Broker
from ..broker.doorbell import Doorbell
from ..clock import monotonic
from ..exceptions import BrokerUnavailable
from ..service import FOREVER, Service

PATIENCE = 5.0  # seconds a blocked read lasts


class Timekeeper(Service):
    """Keeps the time of every queue of this worker, for as long as no other worker does."""

    def __init__(self, broker: Broker, queues: Sequence[str], keeper: str) -> None:
        super().__init__()
        self._broker = broker
        self._keeper = keeper
        self._due = dict.fromkeys(queues, 0.0)
        self._force: set[str] = set()
        self._queues = {broker.key(queue, "timer"): queue for queue in queues}
        self.bell = Doorbell(broker.server, list(self._queues))

    def tick(self) -> float:
        now = monotonic()
        due = [queue for queue, moment in self._due.items() if moment <= now]
        self.troubles.each(due, self._promote, self._broker.place_of)
        self._listen()
        soonest = min(self.troubles.until("") or FOREVER, *map(self._next, self._due))
        return max(soonest - monotonic(), 0.0)

    def _next(self, queue: str) -> float:
        return max(self._due[queue], self.troubles.until(queue))

    def _listen(self) -> None:
        """Waits for the tokens of the queues that answer; one that does not would break it."""
        keys = [key for key, queue in self._queues.items() if queue not in self.troubles]
        self.bell.tune(keys)
        if not keys or self.bell.asked or self.troubles.until("") > monotonic():
            return
        try:
            self.bell.ask(PATIENCE)
        except BrokerUnavailable as error:
            self.troubles.met("", error)
        else:
            self.troubles.over("")

    def _promote(self, queue: str) -> None:
        answer = self._broker.promote(queue, self._keeper, force=queue in self._force)
        self._force.discard(queue)
        rest = answer.busy or answer.wait
        self._due[queue] = FOREVER if rest < 0 else monotonic() + rest / 1000

    def rung(self) -> None:
        """Something is due earlier than before: whoever hears it becomes the timekeeper."""
        try:
            keys = self.bell.answer()
        except BrokerUnavailable:
            self._look_everywhere()
            self.due = monotonic() + self.error_delay
            return
        for key in keys:
            queue = self._queues[key]
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
