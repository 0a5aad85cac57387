"""Claims what there is room for and settles what was run: one child's whole talk with Redis.

There is no thread of its own. A hand that finds the buffer low leads: it sends one exchange (all
outcomes, and a claim for what there is room for) while the buffer is half full, and reads the
answer when it has run dry. The others work on.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from ..broker.broker import CHUNK, Broker, Exchange, Exchanged, Inflight
from ..broker.doorbell import Doorbell
from ..clock import monotonic
from ..codec import decode_failures, encode_failure
from ..exceptions import BrokerUnavailable
from ..job import TRUNCATED, Grant, Kind, Outcome
from ..pace import Pace
from ..shares import Shares

logger = logging.getLogger("django_taskq.worker")

FLUSH_AFTER = 0.010  # seconds an outcome waits for company
WAKE_PATIENCE = 5.0  # seconds a blocked read lasts
LEAN_ABOVE = 90  # % of Redis' memory
LEAN_BYTES = 1024  # of a result or traceback then
LONGEST_PAUSE = 5.0  # seconds between tries to reach Redis


class Consumer:
    """The buffer and the outcomes of one child.

    ``room`` says how many slots are free; ``memory`` how full Redis is (%); ``registered`` is
    told when a lease counts from (monotonic).
    """

    def __init__(
        self,
        broker: Broker,
        shares: Shares,
        holder: str,
        lease: float,
        room: Callable[[], int],
        memory: Callable[[], int],
        registered: Callable[[float], None],
    ) -> None:
        self.broker = broker
        self.shares = shares
        self.holder = holder
        self.lease = lease
        self.pace = Pace()
        self.buffer: deque[Grant] = deque()
        self.suspects: deque[Grant] = deque()  # crashed before: each runs alone
        self.outcomes: deque[Outcome] = deque()
        self.closing = False
        self.lost = False  # Redis says the lease is over
        self.stuck = False  # nothing was taken for a while: claim no more
        self.offset = 0.0  # Redis' clock minus the monotonic one, seconds
        self.buffered_at = self.oldest = 0.0
        self._room = room
        self._memory = memory
        self._registered = registered
        self._leading = threading.Lock()
        self._listening = threading.Lock()
        self._inflight: Inflight | None = None
        self._unsent: list[Exchange] = []
        self._first_sent = self._sent_at = 0.0
        self._request = 0
        self._known: set[str] = set()
        self._low = 0
        self._dry: set[str] = set()
        self._woken: set[str] | None = None
        self._bell = Doorbell(broker.server, [broker.key(q, "wake") for q in shares.queues])
        self._channels = {broker.key(queue, "wake"): queue for queue in shares.queues}
        self._failures = 0
        self.pause = threading.Event()  # set to cut a rest between tries short

    # -- for the hands ---------------------------------------------------------------------------

    def next(self) -> Grant | None:
        """A job to run now; None when there is none, or another hand is fetching."""
        if len(self.buffer) <= self._low:
            self._lead()
        try:
            return self.buffer.popleft()
        except IndexError:
            return None

    def done(self, outcome: Outcome) -> None:
        """Hands in an outcome; it leaves with the next exchange."""
        if not self.outcomes:
            self.oldest = monotonic()
        self.outcomes.append(outcome)

    def flush(self) -> None:
        """Sends the outcomes although nothing is to be claimed."""
        with self._leading:
            self._collect()
            if self.outcomes or self._unsent:
                self._send()
                self._collect()

    def listen(self) -> bool:
        """Waits for a token; whether to look again. One hand at a time, and only when idle."""
        if len(self._dry) < len(self.shares.queues) or self._inflight or self.closing:
            return False
        if not self._listening.acquire(blocking=False):
            return False
        try:
            key = self._bell.wait(WAKE_PATIENCE)
        except BrokerUnavailable as error:
            if not self.closing:
                self._trouble(error)
            self._dry.clear()
            return True
        finally:
            self._listening.release()
        if key is not None:
            self._woken = {self._channels[key]}
            self._dry -= self._woken
        return True

    @property
    def listening(self) -> bool:
        return self._listening.locked()

    @property
    def leading(self) -> bool:
        return self._leading.locked()

    @property
    def waits_for_reply(self) -> bool:
        return self._inflight is not None

    @property
    def is_dry(self) -> bool:
        """Whether every queue was left empty, and nothing is held here."""
        return len(self._dry) == len(self.shares.queues) and not (
            self.buffer or self.suspects or self.outcomes or self._unsent or self._inflight
        )

    @property
    def is_due(self) -> bool:
        """Whether outcomes have waited long enough to be sent on their own."""
        return bool(self.outcomes) and monotonic() - self.oldest >= FLUSH_AFTER

    # -- giving back -----------------------------------------------------------------------------

    def give_back_buffer(self) -> None:
        """Returns what has not started, uncounted, to the front of its queue."""
        self._return(self.buffer)

    def give_back(self) -> None:
        """Returns everything that has not started."""
        self._return(self.buffer)
        self._return(self.suspects)

    def _return(self, held: deque[Grant]) -> None:
        while True:
            try:
                self.done(Outcome(held.popleft(), Kind.RETURNED))
            except IndexError:
                return

    def close(self) -> None:
        """Claims no more and wakes whoever listens."""
        self.closing = True
        self.pause.set()
        self._bell.close()

    def farewell(self) -> None:
        """The last exchange: settles everything, and puts back a token that may have been eaten."""
        self.give_back()
        with self._leading:
            self._collect()
            while self.outcomes or self._unsent:
                self._send()
                self._collect()
                if self._failures:
                    return
            self._dry.clear()
            self._unsent = [self._parcel(queue, 0, []) for queue in self._known]
            self._send()
            self._collect()

    # -- the exchange, under the lead lock -------------------------------------------------------

    def _lead(self) -> None:
        if not self._leading.acquire(blocking=False):
            return
        try:
            if self._inflight is None:
                self._send()
            if not self.buffer:
                self._collect()
        finally:
            self._leading.release()

    def _send(self) -> None:
        parcels = self._unsent or self._pack()
        if not parcels:
            return
        now = monotonic()
        if self._unsent:
            age = max(round((now - self._first_sent) * 1000), 1)
            parcels = [parcel._replace(resent=age) for parcel in parcels]
        else:
            self._first_sent = now
        self._unsent = parcels
        self._sent_at = now
        try:
            self._inflight = self.broker.begin(parcels)
        except BrokerUnavailable as error:
            self._trouble(error)

    def _collect(self) -> None:
        if self._inflight is None:
            return
        inflight, self._inflight = self._inflight, None
        try:
            answers = inflight.finish()
        except BrokerUnavailable as error:
            self._trouble(error)
            return
        self._unsent = []
        self._recovered()
        self.pace.travelled(monotonic() - self._sent_at)
        for request, answer in zip(inflight.requests, answers, strict=True):
            self._take(request, answer)
        self._low = self.pace.ahead() // 2

    def _pack(self) -> list[Exchange]:
        outcomes = self._outcomes_by_queue()
        woken, self._woken = self._woken, None
        asks = self.shares.split(self._want(), self._dry)
        if len(self._dry) == len(self.shares.queues):
            asks = {}  # a token will tell
        elif woken:
            asks = {queue: room for queue, room in asks.items() if queue in woken}
        queues = {**outcomes, **asks}
        return [
            self._parcel(queue, asks.get(queue, 0), outcomes.get(queue, [])) for queue in queues
        ]

    def _parcel(self, queue: str, want: int, outcomes: list[Outcome]) -> Exchange:
        self._request += 1
        return Exchange(
            queue,
            self.holder,
            round(self.lease * 1000),
            want > 0 and queue not in self._known,
            self._request,
            min(want, CHUNK),
            outcomes,
            lean=self._memory() >= LEAN_ABOVE,
        )

    def _want(self) -> int:
        if self.closing or self.lost or self.suspects:
            return 0
        ahead = 0 if self.stuck else self.pace.ahead()
        return max(self._room() + ahead - len(self.buffer), 0)

    def _outcomes_by_queue(self) -> Mapping[str, list[Outcome]]:
        lean = self._memory() >= LEAN_ABOVE
        sorted_: dict[str, list[Outcome]] = {}
        for _ in range(min(len(self.outcomes), CHUNK)):
            outcome = self.outcomes.popleft()
            if lean and len(outcome.blob) > LEAN_BYTES:
                outcome = outcome._replace(blob=cut(outcome))
            sorted_.setdefault(outcome.grant.queue, []).append(outcome)
        self.oldest = monotonic()
        return self._park(sorted_)

    def _park(self, by_queue: dict[str, list[Outcome]]) -> dict[str, list[Outcome]]:
        """Sends away what another worker may know, and leaves the rest."""
        rest = {}
        for queue, outcomes in by_queue.items():
            parked = [o for o in outcomes if o.kind is Kind.PARKED]
            others = [o for o in outcomes if o.kind is not Kind.PARKED]
            if others:
                rest[queue] = others
            if parked:
                try:
                    self.broker.park(queue, parked)
                except BrokerUnavailable as error:
                    self.outcomes.extend(parked)
                    self._trouble(error)
        return rest

    def _take(self, request: Exchange, answer: Exchanged) -> None:
        if request.first and answer.alive:
            self._known.add(request.queue)
            self._registered(self._first_sent)
        if not answer.alive and request.want:
            self.lost = True
        self.offset = answer.now / 1000 - monotonic()
        for outcome, verdict in zip(request.outcomes, answer.verdicts, strict=True):
            if verdict == "S":
                logger.warning(
                    "job %s: its lease was lost, what came of attempt %d is not recorded",
                    outcome.grant.id,
                    outcome.grant.live.attempt + 1,
                    extra={"job_id": outcome.grant.id, "queue": request.queue},
                )
        for grant in answer.grants:
            (self.suspects if grant.live.crashes else self.buffer).append(grant)
        if answer.grants:
            self.buffered_at = monotonic()
        if request.want:
            (self._dry.discard if answer.left else self._dry.add)(request.queue)

    # -- trouble ---------------------------------------------------------------------------------

    def _trouble(self, error: BrokerUnavailable) -> None:
        """Says it once, rests a little longer each time, and lets the caller try again."""
        self._failures += 1
        if self._failures == 1:
            logger.error("%s; the worker goes on when it is back", error)
        longest = min(0.05 * 2**self._failures, LONGEST_PAUSE)
        self.pause.wait(random.uniform(longest / 2, longest))
        self.broker.server.mend()

    def _recovered(self) -> None:
        if self._failures:
            logger.warning("%s is back", self.broker.server.address)
            self._failures = 0
            self._dry.clear()


def cut(outcome: Outcome) -> bytes:
    """A value or failure that Redis has hardly room for."""
    if outcome.kind is Kind.SUCCEEDED:
        return TRUNCATED
    (failure,) = decode_failures(outcome.blob)
    return encode_failure(msgspec.structs.replace(failure, b=failure.b[-500:], m=failure.m[:200]))
