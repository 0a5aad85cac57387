"""One child's line to Redis: an exchange on its way, and what is done when its answer is lost.

Each queue has its own answer: one that fails is sent again, under the same names, and the others
go on. Whoever leads holds the consumer's lock while it sends and collects; only ``trouble`` is
also called by a hand that listens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from .broker.broker import Broker, Exchange, Inflight
from .broker.replies import Exchanged
from .clock import monotonic
from .exceptions import BrokerUnavailable
from .troubles import FOREVER, Troubles

AT_ONCE = 0.0002  # seconds: waited for at once, or for longer than that, it was a round trip
SHORTEST_PAUSE = 0.1  # seconds between two tries to reach Redis, at most; doubled each time
LONGEST_PAUSE = 5.0


class Owed(NamedTuple):
    """What was sent and has no answer yet. ``since``: when it was sent first (monotonic)."""

    parcel: Exchange
    since: float


class Answer(NamedTuple):
    """What a queue said to what; ``since``: when that was sent first (monotonic)."""

    request: Exchange
    said: Exchanged
    since: float


class Wire:
    """Sends exchanges and reads their answers; sends again, under the same names, what was lost."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._inflight: Inflight | None = None
        self._owed: dict[str, Owed] = {}
        self._sent = 0.0
        self._troubles = Troubles(
            "the exchange with Redis", SHORTEST_PAUSE, LONGEST_PAUSE, "it goes on when it is back"
        )
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
        """Whether something failed and was not done since."""
        return bool(self._troubles)

    def has_failed(self, queue: str) -> bool:
        """Whether the last try with a queue failed."""
        return queue in self._troubles

    def may_take(self, queue: str) -> bool:
        """Whether something new may be sent to a queue."""
        return queue not in self._owed and self._troubles.until(queue) <= monotonic()

    @property
    def next_try(self) -> float:
        """When what failed is to be tried again (monotonic)."""
        return self._troubles.next_try

    @property
    def sent(self) -> float:
        """When the last exchange was sent, for the first time or again (monotonic)."""
        return self._sent

    def send(self, parcels: Iterable[Exchange]) -> None:
        """Sends the parcels, of queues that owe no answer, and again those whose rest is over."""
        now = self._sent = monotonic()
        batch = [
            owed.parcel._replace(resent=True)
            for queue, owed in self._owed.items()
            if self._troubles.until(queue) <= now
        ]
        for parcel in parcels:
            self._owed[parcel.queue] = Owed(parcel, now)
            batch.append(parcel)
        if not batch:
            return
        try:
            self._inflight = self._broker.begin(batch)
        except BrokerUnavailable as error:
            self.failed((parcel.queue for parcel in batch), error)

    def collect(self) -> list[Answer]:
        """The answers, waited for if need be; none of what failed, or when nothing was sent."""
        if self._inflight is None:
            return []
        inflight, self._inflight = self._inflight, None
        began = monotonic()
        answers = []
        errors: dict[BaseException, list[str]] = {}
        for request, said in zip(inflight.requests, inflight.finish(), strict=True):
            if isinstance(said, BaseException):
                errors.setdefault(said, []).append(request.queue)
                continue
            answers.append(Answer(request, said, self._owed.pop(request.queue).since))
            if self._troubles:
                self._troubles.over(request.queue)
        for error, queues in errors.items():
            self.failed(queues, error)
        now = monotonic()
        if began - self._sent < AT_ONCE or now - began > AT_ONCE:
            self.trip = now - self._sent  # else it lay there while nobody waited
        return answers

    def rest(self, until: float = FOREVER) -> None:
        """Waits until what failed is to be tried again, or somebody is in a hurry."""
        self._pause(min(self.next_try, until) - monotonic())

    def urge(self) -> None:
        """What failed is to be sent again now."""
        self._troubles.urge()

    def trouble(self, error: BaseException) -> None:
        """Waiting for work failed: says it once, and rests a little longer each time."""
        self.failed([""], error)
        self._pause(self._troubles.until("") - monotonic())

    def works(self) -> None:
        """Waiting for work is possible again."""
        if self._troubles:
            self._troubles.over("")

    def failed(self, queues: Iterable[str], error: BaseException) -> None:
        """Something could not be done for these queues."""
        until = 0.0
        for queue in queues:
            until = self._troubles.met(queue, error, until)
        if isinstance(error, BrokerUnavailable):
            with suppress(BrokerUnavailable):
                self._broker.server.mend()

    def _pause(self, seconds: float) -> None:
        if seconds > 0 and self.hurry.wait(seconds):
            self.hurry.clear()  # one rest, not all that follow: a worker that stops must not spin
            self._troubles.urge()
