"""Claims what there is room for and settles what was run: one child's whole talk with Redis.

There is no thread of its own. A hand that finds the buffer low leads: it sends one exchange (all
outcomes, and a claim for what there is room for) while the buffer is half full, and reads the
answer when it has run dry. The others work on.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import msgspec

from .. import counts
from ..broker.broker import CHUNK, Broker, Exchange
from ..broker.doorbell import Doorbell
from ..clock import monotonic
from ..codec import OPEN, Seals, printable
from ..exceptions import BrokerUnavailable
from ..held import AGAIN, Held
from ..job import TRUNCATED, Grant, Kind, Outcome
from ..pace import Pace
from ..reporting import Reports
from ..shares import Shares
from ..wire import Answer, Wire

logger = logging.getLogger("django_taskq.worker")

FLUSH_AFTER = 0.010  # seconds an outcome waits for company
WAKE_PATIENCE = 5.0  # seconds a blocked read lasts
LEAN_ABOVE = 90  # % of Redis' memory
LEAN_BYTES = 1024  # of a result or traceback then


class Fullness(Protocol):
    """How full Redis is (%), as whoever looked last says."""

    memory: int


class Consumer:
    """The buffer and the outcomes of one child.

    ``room`` says how many slots are free; ``fullness`` how full Redis is; ``registered`` is told
    when the lease in a queue counts from (monotonic); ``stale`` the id and fence of a job that
    turned out to be somebody else's; ``ended`` how many attempts were settled, and how many of
    them had failed.
    """

    def __init__(
        self,
        broker: Broker,
        shares: Shares,
        holder: str,
        lease: float,
        room: Callable[[], int],
        fullness: Fullness,
        registered: Callable[[str, float], None],
        stale: Callable[[str, int], None] = lambda id, fence: None,
        ended: Callable[[int, int], None] = lambda attempts, failed: None,
    ) -> None:
        self.pace = Pace()
        self.buffer: deque[Grant] = deque()
        self.outcomes: deque[Outcome] = deque()
        self.closing = False
        self.lost: set[str] = set()  # queues in which the lease is over
        self.stuck = False  # nothing was taken for a while: claim no more than can start
        self.offset = 0.0  # Redis' clock minus the monotonic one, seconds
        self.buffered_at = self.oldest = 0.0  # when the buffer was filled, the first outcome came
        self._broker = broker
        self._shares = shares
        self._holder = holder
        self._lease = round(lease * 1000)
        self._room = room
        self._fullness = fullness
        self._registered = registered
        self._ended = ended
        self._wire = Wire(broker)
        self.reports = Reports(broker, stale)
        self._held = Held(broker, holder)
        self._leading = threading.Lock()
        self._listening = threading.Lock()
        self._request = 0
        self._known: set[str] = set()  # queues that know the holder
        self._low = 0
        self._dry: set[str] = set()  # queues whose last answer left nothing, or was none
        self._kept: dict[str, list[Outcome]] = {}  # outcomes for queues that take nothing now
        self._woken: str | None = None
        self._closings = 0  # how often it was closed
        self._channels = {broker.key(queue, "wake"): queue for queue in shares.queues}
        self._bell = Doorbell(broker.server, list(self._channels))

    # -- for the hands ---------------------------------------------------------------------------

    def next(self) -> Grant | None:
        """A job to run now; None when there is none, or another hand is fetching."""
        if len(self.buffer) <= self._low and self._leading.acquire(blocking=False):
            try:
                if not self._wire.is_waiting:
                    self._send(self._room())
                if not self.buffer:
                    self._collect()
            finally:
                self._leading.release()
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
            self._send(0)
            self._collect()

    def listen(self) -> bool:
        """Waits for a token; whether to look again. One hand at a time, and only when idle."""
        if not self._all_dry or self._wire.is_waiting or self._is_overdue or self.closing:
            return False
        if not self._listening.acquire(blocking=False):
            return False
        closings = self._closings
        try:
            if not self._tune():
                return False
            self._bell.ask(WAKE_PATIENCE)
            if self.closing:  # close() came before there was a connection that it could close
                self._bell.close()
                return False
            keys = self._bell.answer()
        except BrokerUnavailable as error:
            if self._closings == closings:  # else it was close(), and it may be open again
                self._wire.trouble(error)
            self._dry.clear()
            return True
        finally:
            self._listening.release()
        self._wire.works()
        woken = [self._channels[key] for key in keys]
        self._dry.difference_update(woken)
        self._woken = woken[0] if len(woken) == 1 else None  # several only on a Cluster
        return True

    def _tune(self) -> bool:
        """Has the bell wait for the queues that answer; one that does not would break it."""
        heard = [
            key
            for key, queue in self._channels.items()
            if queue not in self.lost and not self._wire.has_failed(queue)
        ]
        if heard:
            self._bell.tune(heard)
        return bool(heard)

    # -- for whoever watches ---------------------------------------------------------------------

    @property
    def listening(self) -> bool:
        return self._listening.locked()

    @property
    def leading(self) -> bool:
        return self._leading.locked()

    @property
    def has_work(self) -> bool:
        """Whether a hand would find something to do."""
        return bool(self.buffer) or self._wire.is_waiting or self._is_overdue

    @property
    def _is_overdue(self) -> bool:
        """Whether something that failed is to be tried again."""
        return self._wire.is_down and self._wire.next_try <= monotonic()

    @property
    def next_try(self) -> float:
        """When something that failed is to be tried again (monotonic)."""
        return self._wire.next_try

    @property
    def is_due(self) -> bool:
        """Whether outcomes, or an answer that no hand has read, have waited long enough."""
        if self._held.is_doubtful or self._is_overdue or self.reports.is_due:
            return True
        if self.outcomes and monotonic() - self.oldest >= FLUSH_AFTER:
            return True
        wire = self._wire  # what it brings would lie behind jobs that run long
        return wire.is_waiting and not self.buffer and monotonic() - wire.sent >= FLUSH_AFTER

    @property
    def is_empty(self) -> bool:
        """Whether every queue was left empty, and nothing is held here or changes hands."""
        return self._all_dry and not (self.leading or self.buffer or self._is_in_debt)

    @property
    def _is_in_debt(self) -> bool:
        """Whether Redis was not told everything yet, or has not answered."""
        return bool(self.outcomes or self._kept) or self._wire.is_owed or self._wire.is_down

    @property
    def _all_dry(self) -> bool:
        return len(self._dry) == len(self._shares.queues)

    # -- the end ---------------------------------------------------------------------------------

    def give_back_buffer(self) -> None:
        """Returns what has not started, uncounted, to the front of its queue."""
        with suppress(IndexError):
            while True:
                self.done(Outcome(self.buffer.popleft(), Kind.RETURNED))

    def give_up(self, queue: str) -> None:
        """The lease in a queue is over: what is buffered of it may be anybody's."""
        self.lost.add(queue)
        for _ in range(len(self.buffer)):
            with suppress(IndexError):
                grant = self.buffer.popleft()
                if grant.queue != queue:
                    self.buffer.append(grant)

    def close(self) -> None:
        """Claims no more and wakes whoever listens."""
        self.closing = True
        self._closings += 1
        self._wire.hurry.set()
        self._bell.close()

    def reopen(self) -> None:
        """Claims again after ``close()``."""
        self.closing = False
        self._wire.hurry.clear()
        self._dry.clear()  # nobody listened meanwhile: what came is to be asked for

    def farewell(self, patience: float) -> None:
        """Settles everything and returns the rest, then looks at each queue once more.

        The last look puts back a wake token that this child may have taken without using it.
        ``patience``: seconds to wait for a server that is away.
        """
        until = monotonic() + patience
        self._wire.hurry.set()  # a hand that rests between two tries makes room
        with self._leading:
            self._wire.hurry.clear()
            self._collect()
            self.reports.send(self._wire.may_take)
            self.give_back_buffer()
            self._wire.urge()
            while (self.outcomes or self._kept or self._wire.is_owed) and monotonic() < until:
                self._tell(0)
                if not self._wire.is_waiting and (self._kept or self._wire.is_owed):
                    self._wire.rest(until)
                self._collect()
            self._wire.send(
                [self._parcel(queue, 0, []) for queue in self._known if self._wire.may_take(queue)]
            )
            self._collect()

    # -- the exchange, under the lead lock -------------------------------------------------------

    def _send(self, room: int) -> None:
        if self._wire.is_down and not self.buffer and all(map(self._is_shut, self._shares.queues)):
            self._wire.rest()
        self._tell(room)

    def _tell(self, room: int) -> None:
        """Sends the outcomes, and before them what their jobs said last: then it is not too late.

        The outcomes are taken first: other jobs go on to say something, and end, meanwhile.
        """
        parcels = self._pack(room)
        if self.reports and (self.reports.is_due or any(parcel.outcomes for parcel in parcels)):
            self.reports.send(self._wire.may_take)
        self._wire.send(parcels)

    def _is_shut(self, queue: str) -> bool:
        """Whether nothing may be claimed of a queue."""
        return queue in self.lost or not self._wire.may_take(queue)

    def _collect(self) -> None:
        failed = [queue for queue in self._shares.queues if self._wire.has_failed(queue)]
        for answer in self._wire.collect():
            self._take(answer)
        for queue in failed:
            if not self._wire.has_failed(queue):
                self._dry.discard(queue)
                self._held.doubt()
        if self._wire.is_down:  # who cannot be asked is not waited for
            self._dry.update(filter(self._wire.has_failed, self._shares.queues))
        if self._held.is_doubtful:
            sure = [queue for queue in self._known if not self._is_shut(queue)]
            for grant in self._held.strays(sure):
                self.done(Outcome(grant, Kind.RETURNED))
        self.pace.travelled(self._wire.trip)
        self._low = self.pace.ahead() // 2

    def _pack(self, room: int) -> list[Exchange]:
        outcomes = self._outcomes_by_queue()
        asks = self._asks(room)
        return [
            self._parcel(queue, asks.get(queue, 0), outcomes.get(queue, []))
            for queue in {**outcomes, **asks}
        ]

    def _asks(self, room: int) -> dict[str, int]:
        """How many jobs to ask of each queue."""
        woken, self._woken = self._woken, None
        if self.closing or self._all_dry:
            return {}  # where all are dry, a token will tell
        ahead = 0 if self.stuck or not room else self.pace.ahead()
        asks = self._shares.split(room + ahead - len(self.buffer), self._dry)
        if self.lost or self._wire.is_down:
            asks = {queue: ask for queue, ask in asks.items() if not self._is_shut(queue)}
        return {woken: asks[woken]} if woken in asks else asks

    def _parcel(self, queue: str, want: int, outcomes: list[Outcome]) -> Exchange:
        self._request += 1
        return Exchange(
            queue,
            self._holder,
            self._lease,
            want > 0 and queue not in self._known,
            self._request,
            min(want, CHUNK),
            outcomes,
            lean=self._fullness.memory >= LEAN_ABOVE,
        )

    def _outcomes_by_queue(self) -> dict[str, list[Outcome]]:
        lean = self._fullness.memory >= LEAN_ABOVE
        for queue in [queue for queue in self._kept if self._wire.may_take(queue)]:
            self.outcomes.extendleft(reversed(self._kept.pop(queue)))
        by_queue: dict[str, list[Outcome]] = {}
        parked: dict[str, list[Outcome]] = {}
        for _ in range(min(len(self.outcomes), CHUNK)):
            outcome = self.outcomes.popleft()
            if lean and len(outcome.blob) > LEAN_BYTES:
                outcome = outcome._replace(blob=cut(outcome, self._broker.seals or OPEN))
            where = parked if outcome.kind is Kind.PARKED else by_queue
            where.setdefault(outcome.grant.queue, []).append(outcome)
        self.oldest = monotonic()
        if self._wire.is_down:
            for queue in [queue for queue in by_queue if not self._wire.may_take(queue)]:
                self._kept.setdefault(queue, []).extend(by_queue.pop(queue))
        for queue, outcomes in parked.items():
            self._park(queue, outcomes)
        return by_queue

    def _park(self, queue: str, outcomes: list[Outcome]) -> None:
        """Sends away what this worker cannot run and another may."""
        if self._wire.may_take(queue):
            try:
                self._broker.park(queue, outcomes)
                self._held.settled(queue, outcomes)
            except Exception as error:
                self._wire.failed([queue], error)
            else:
                return
        self._kept.setdefault(queue, []).extend(outcomes)

    def _take(self, told: Answer) -> None:
        request, answer, since = told
        if request.first and answer.alive:
            self._known.add(request.queue)
            self._registered(request.queue, since)
        if request.want:
            if not answer.alive:
                self.lost.add(request.queue)
            (self._dry.discard if answer.left else self._dry.add)(request.queue)
        elif answer.left and all(each.kind is not Kind.RETURNED for each in request.outcomes):
            self._dry.discard(request.queue)  # an end lets in who waited at a limit
        if answer.memory > self._fullness.memory:  # renewals tell of a fall
            self._fullness.memory = answer.memory
        self.offset = answer.now / 1000 - monotonic()
        self._held.settled(request.queue, request.outcomes)
        if "S" in answer.verdicts:
            self._held.doubt(AGAIN)  # it may take an earlier attempt of that job for running here
            self._report_stale(request, answer.verdicts)
        if request.outcomes:
            self._ended(*counts.ends([outcome.kind for outcome in request.outcomes]))
        if answer.grants:
            self.buffered_at = monotonic()
            self._held.claimed(request.queue, answer.grants)
        self.buffer.extend(answer.grants)

    def _report_stale(self, request: Exchange, verdicts: str) -> None:
        for outcome, verdict in zip(request.outcomes, verdicts, strict=True):
            if verdict == "S":
                logger.warning(
                    "job %s: its lease was lost, what came of attempt %d is not recorded",
                    printable(outcome.grant.id),
                    outcome.grant.live.attempt + 1,
                    extra={"job_id": outcome.grant.id, "queue": request.queue},
                )


def cut(outcome: Outcome, seals: Seals = OPEN) -> bytes:
    """A value or failure that Redis has hardly room for."""
    if outcome.kind is Kind.SUCCEEDED:
        return TRUNCATED
    grant = outcome.grant
    failures = seals.open_failures(grant.id, grant.queue, outcome.blob)
    if len(failures) != 1:  # not what this process writes; the outcome must leave all the same
        return outcome.blob
    (failure,) = failures
    short = msgspec.structs.replace(failure, b=failure.b[-500:], m=failure.m[:200])
    return seals.seal_failure(grant.id, short)
