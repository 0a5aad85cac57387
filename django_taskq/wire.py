"""One child's line to Redis: an exchange on its way, and what is done when its answer is lost.

Whoever leads holds the consumer's lock while it sends and collects; only ``trouble`` is also called
by a hand that listens.
"""

from __future__ import annotations

import logging
import random
import threading
from contextlib import suppress

from .broker.broker import Broker, Exchange, Inflight
from .broker.replies import Exchanged
from .clock import monotonic
from .exceptions import BrokerUnavailable

logger = logging.getLogger("django_taskq.worker")

AT_ONCE = 0.0002  # seconds: waited for at once, or for longer than that, it was a round trip
LONGEST_PAUSE = 5.0  # seconds between tries to reach Redis

Answers = list[tuple[Exchange, Exchanged]]


class Wire:
    """Sends exchanges and reads their answers; sends again, under the same names, what was lost."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._inflight: Inflight | None = None
        self._unanswered: list[Exchange] = []
        self._first_sent = self._sent = 0.0
        self._failures = 0
        self.hurry = threading.Event()  # set to cut a rest between tries short
        self.trip = 0.001  # seconds the last round trip took that was waited for

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is on its way."""
        return self._inflight is not None

    @property
    def is_owed(self) -> bool:
        """Whether something was sent, or is to be sent again, that has no answer yet."""
        return bool(self._unanswered)

    @property
    def is_down(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    @property
    def sent(self) -> float:
        """When the last exchange was sent, for the first time or again (monotonic)."""
        return self._sent

    @property
    def since(self) -> float:
        """When the exchange that was answered last was first sent (monotonic)."""
        return self._first_sent

    def send(self, parcels: list[Exchange]) -> None:
        """Sends the parcels, or again those that still have no answer; they must be the same."""
        now = monotonic()
        if self._unanswered:
            parcels = [parcel._replace(resent=True) for parcel in self._unanswered]
        else:
            self._first_sent = now
        if not parcels:
            return
        self._unanswered = parcels
        self._sent = now
        try:
            self._inflight = self._broker.begin(parcels)
        except BrokerUnavailable as error:
            self.trouble(error)

    def collect(self) -> Answers:
        """The answers, waited for if need be; none when nothing was sent, or they are lost."""
        if self._inflight is None:
            return []
        inflight, self._inflight = self._inflight, None
        began = monotonic()
        try:
            answers = inflight.finish()
        except Exception as error:  # a final one, too: it is tried again, for nobody else would
            self.trouble(error)
            return []
        self._unanswered = []
        now = monotonic()
        if began - self._sent < AT_ONCE or now - began > AT_ONCE:
            self.trip = now - self._sent  # else it lay there while nobody waited
        if self._failures:
            logger.warning("%s is back", self._broker.server.address)
            self._failures = 0
        return list(zip(inflight.requests, answers, strict=True))

    def trouble(self, error: Exception) -> None:
        """Says it once, and rests a little longer each time."""
        self._failures += 1
        if self._failures == 1:
            logger.error("%s; the worker goes on when it is back", error)
        longest = min(0.05 * 2 ** min(self._failures, 10), LONGEST_PAUSE)
        self.hurry.wait(random.uniform(longest / 2, longest))
        self.hurry.clear()  # one rest, not all that follow: a worker that stops must not spin
        with suppress(BrokerUnavailable):
            self._broker.server.mend()
