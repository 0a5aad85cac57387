"""One child's line to Redis: an exchange on its way, and what is done when its answer is lost.

Each queue has an answer of its own. What has none is sent again after a rest; the other queues'
exchanges go on meanwhile. Whoever leads holds the consumer's lock while it sends and collects.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from contextlib import suppress

from .broker.broker import Broker, Exchange, Inflight
from .broker.replies import Exchanged
from .clock import monotonic
from .exceptions import BrokerUnavailable
from .setbacks import Setbacks

AT_ONCE = 0.0002  # seconds: waited for at once, or for longer than that, it was a round trip
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between tries to reach Redis

Answers = list[tuple[Exchange, Exchanged]]


class Wire:
    """Sends exchanges and reads their answers; sends again, under the same names, what was lost."""

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        self._broker = broker
        self._inflight: Inflight | None = None
        self._owed: dict[str, Exchange] = {}  # sent, or to be sent again, and not answered
        self._since: dict[str, float] = {}  # when it, or the last before it, was sent first
        self._sent = 0.0
        self.setbacks = Setbacks(queues, broker.whereabouts, SHORTEST_PAUSE, LONGEST_PAUSE)
        self.back: list[str] = []  # queues that worked again, for whoever asks them to take away
        self.hurry = threading.Event()  # set to cut a rest between tries short
        self.trip = 0.001  # seconds the last round trip took that was waited for

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is on its way."""
        return self._inflight is not None

    @property
    def is_owed(self) -> bool:
        """Whether something was sent, or is to be sent again, that has no answer yet."""
        return bool(self._owed)

    @property
    def is_down(self) -> bool:
        """Whether something failed when it was tried last."""
        return bool(self.setbacks)

    @property
    def owing(self) -> list[str]:
        """The queues that have not answered."""
        return list(self._owed)

    @property
    def sent(self) -> float:
        """When the last exchange was sent, for the first time or again (monotonic)."""
        return self._sent

    def since(self, queue: str) -> float:
        """When the exchange that the queue answered last was first sent (monotonic)."""
        return self._since.get(queue, 0.0)

    def has_due(self, others: Collection[str] = ()) -> bool:
        """Whether something is to be sent whose rest is over, again or to one of ``others``."""
        if self.is_waiting or not (self._owed or others):
            return False
        now = monotonic()
        return not all(self.setbacks.rests(queue, now) for queue in (*self._owed, *others))

    def is_held_up(self, queue: str) -> bool:
        """Whether nothing new can be sent there: it has not answered, or rests."""
        return queue in self._owed or (
            bool(self.setbacks) and self.setbacks.rests(queue, monotonic())
        )

    def send(self, parcels: list[Exchange]) -> None:
        """Sends the parcels, for queues that are not held up, and again those that have rested."""
        now = monotonic()
        for parcel in parcels:
            self._since[parcel.queue] = now
        if self._owed:
            parcels = parcels + self._again(now)
        if not parcels:
            return
        for parcel in parcels:
            self._owed[parcel.queue] = parcel
        self._sent = now
        try:
            self._inflight = self._broker.begin(parcels)
        except BrokerUnavailable as error:
            self.trouble(parcels[0].queue, error)  # one server, and all its queues

    def _again(self, now: float) -> list[Exchange]:
        again = [
            parcel._replace(resent=True)
            for queue, parcel in self._owed.items()
            if not self.setbacks.rests(queue, now)
        ]
        if again and self.setbacks.is_outage():
            with suppress(BrokerUnavailable):
                self._broker.server.mend()
        return again

    def collect(self) -> Answers:
        """The answers, waited for if need be; none of queues where they are lost."""
        if self._inflight is None:
            return []
        inflight, self._inflight = self._inflight, None
        began = monotonic()
        found = inflight.finish()
        now = monotonic()
        answers: Answers = []
        failed: dict[str, Exception] = {}
        for request, answer in zip(inflight.requests, found, strict=True):
            if isinstance(answer, Exception):
                failed[request.queue] = answer
            else:
                del self._owed[request.queue]
                answers.append((request, answer))
        if answers and (began - self._sent < AT_ONCE or now - began > AT_ONCE):
            self.trip = now - self._sent  # else it lay there while nobody waited
        if failed or self.setbacks:
            self._reckon(answers, failed, now - began)
        return answers

    def _reckon(self, answers: Answers, failed: dict[str, Exception], took: float) -> None:
        """Notes what went well and what did not, and rests where there is nothing else to do."""
        for request, _ in answers:
            self.back += self.setbacks.worked(request.queue)
        concerned: set[str] = set()
        for queue, error in failed.items():
            if queue not in concerned:  # one outage, however many met it
                concerned.update(self.setbacks.failed(queue, error, took if answers else 0.0))
        self._rest()

    def trouble(self, queue: str, error: Exception) -> None:
        """Something else with the queue went wrong; may rest."""
        self.setbacks.failed(queue, error)
        self._rest()

    def _rest(self) -> None:
        """Rests if no queue can be tried now."""
        now = monotonic()
        if self.setbacks.are_everywhere(now):
            self.pause(self.setbacks.next_due(now))
            self.setbacks.expedite()

    def pause(self, until: float) -> None:
        """Waits (monotonic), unless somebody is in a hurry."""
        self.hurry.wait(max(until - monotonic(), 0.0))
        self.hurry.clear()  # one rest, not all that follow: a worker that stops must not spin
