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

import msgspec

from ..broker.broker import CHUNK, Broker, Exchange
from ..broker.doorbell import Doorbell
from ..broker.replies import Exchanged
from ..clock import monotonic
from ..codec import OPEN, Seals, printable
from ..exceptions import BrokerError, BrokerUnavailable
from ..held import AGAIN, Held
from ..job import TRUNCATED, Grant, Kind, Outcome
from ..pace import Pace
from ..service import FOREVER
from ..shares import Shares
from ..wire import Wire

logger = logging.getLogger("django_taskq.worker")

FLUSH_AFTER = 0.010  # seconds an outcome waits for company
WAKE_PATIENCE = 5.0  # seconds a blocked read lasts
FINAL_PATIENCE = 4.0  # seconds until a child leaves without having told a broken queue its outcomes
LEAN_ABOVE = 90  # % of Redis' memory
LEAN_BYTES = 1024  # of a result or traceback then


class Consumer:
    """The buffer and the outcomes of one child.

    ``room`` says how many slots are free; ``memory`` how full Redis is (%); ``registered`` is
    told from when the lease in a queue counts (monotonic).
    """

    def __init__(
        self,
        broker: Broker,
        shares: Shares,
        holder: str,
        lease: float,
        room: Callable[[], int],
        memory: Callable[[], int],
        registered: Callable[[str, float], None],
    ) -> None:
        self.pace = Pace()
        self.buffer: deque[Grant] = deque()
        self.outcomes: deque[Outcome] = deque()
        self.closing = False
        self.lost: set[str] = set()  # queues where the lease is over: nothing is claimed there
        self.stuck = False  # nothing was taken for a while: claim no more than can start
        self.offset = 0.0  # Redis' clock minus the monotonic one, seconds
        self.buffered_at = self.oldest = 0.0  # when the buffer was filled, the first outcome came
        self._broker = broker
        self._shares = shares
        self._holder = holder
        self._lease = round(lease * 1000)
        self._room = room
        self._memory = memory
        self._registered = registered
        self._wire = Wire(broker, shares.queues)
        self._held = Held(broker, holder)
        self._leading = threading.Lock()
        self._listening = threading.Lock()
        self._request = 0
        self._known: set[str] = set()  # queues that know the holder
        self._low = 0
        self._dry: set[str] = set()  # queues whose last answer left nothing
        self._stalled: dict[str, list[Outcome]] = {}  # outcomes for queues that are held up
        self._woken: str | None = None
        self._deaf = 0  # times in a row that nobody could listen
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
        if not self._is_idle or self.is_busy or self.closing:
            return False
        if not self._listening.acquire(blocking=False):
            return False
        try:
            keys = self._wait()
        except BrokerError as error:
            self._dry.clear()
            if not self.closing:
                self._deafened(error)
            return True
        finally:
            self._listening.release()
        self._deaf = 0
        woken = [self._channels[key] for key in keys]
        self._dry.difference_update(woken)
        self._woken = woken[0] if len(woken) == 1 else None  # several only on a Cluster
        return not self.closing

    def _wait(self) -> list[str]:
        """The keys whose tokens came; none if there is something else to do, or a rest is over."""
        now = monotonic()
        due = self._wire.setbacks.next_due(now) if self._wire.is_down else FOREVER
        patience = min(due - now, WAKE_PATIENCE)
        out = self._out
        if len(out) == len(self._shares.queues):
            self._wire.pause(now + patience)
            return []
        self._bell.ask(patience, [self._broker.key(queue, "wake") for queue in out])
        if self.closing:  # close() came before there was a connection that it could close
            self._bell.close()
            return []
        return self._bell.answer()

    def _deafened(self, error: BrokerError) -> None:
        """Nobody can listen: the exchange that follows finds out which queues that concerns."""
        if isinstance(error, BrokerUnavailable) and not self._broker.server.is_cluster:
            self._wire.trouble(self._shares.queues[0], error)
            return
        self._deaf += 1
        if self._deaf == 2:
            logger.error("%s; new jobs are looked for every few seconds", error)
        self._wire.pause(monotonic() + min(0.05 * 2 ** min(self._deaf, 7), WAKE_PATIENCE))

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
        return bool(self.buffer or self.is_busy)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is on its way, or something is to be sent that was held up."""
        return self._wire.is_waiting or self._wire.has_due(self._stalled)

    @property
    def is_due(self) -> bool:
        """Whether outcomes, or an answer that no hand has read, have waited long enough."""
        if self._held.is_doubtful:
            return True
        if self.outcomes and monotonic() - self.oldest >= FLUSH_AFTER:
            return True
        wire = self._wire
        if wire.has_due(self._stalled):
            return True
        # What it brings would lie behind jobs that run long.
        return wire.is_waiting and not self.buffer and monotonic() - wire.sent >= FLUSH_AFTER

    @property
    def is_empty(self) -> bool:
        """Whether every queue was left empty, and nothing is held here or changes hands."""
        return self._all_dry and not (self.leading or self.buffer or self.is_owing)

    @property
    def is_owing(self) -> bool:
        """Whether Redis has still to be told something."""
        return bool(self.outcomes or self._stalled or self._wire.is_owed)

    def owes(self, queue: str) -> bool:
        """Whether that queue has still to be told something."""
        return (
            queue in self._stalled
            or queue in self._wire.owing
            or any(outcome.grant.queue == queue for outcome in list(self.outcomes))
        )

    @property
    def _all_dry(self) -> bool:
        return len(self._dry) == len(self._shares.queues)

    @property
    def _out(self) -> set[str]:
        """Queues that cannot be asked now."""
        if not (self.lost or self._wire.is_down or self._wire.is_owed):
            return set()
        held_up = self._wire.is_held_up
        return {queue for queue in self._shares.queues if queue in self.lost or held_up(queue)}

    @property
    def _is_idle(self) -> bool:
        """Whether no queue that can be asked has more, as far as is known."""
        return self._all_dry or len(self._dry | self._out) == len(self._shares.queues)

    # -- leases ----------------------------------------------------------------------------------

    def give_up(self, queue: str) -> None:
        """The lease in a queue is over: what was claimed there and has not started is not ours."""
        self.lost.add(queue)
        self._known.discard(queue)
        with suppress(IndexError):
            for _ in range(len(self.buffer)):
                grant = self.buffer.popleft()
                if grant.queue != queue:
                    self.buffer.append(grant)

    def rejoin(self, queue: str) -> None:
        """All that was held there has gone back: the next claim begins a new lease."""
        self.lost.discard(queue)
        self._dry.discard(queue)

    # -- the end ---------------------------------------------------------------------------------

    def give_back_buffer(self) -> None:
        """Returns what has not started, uncounted, to the front of its queue."""
        with suppress(IndexError):
            while True:
                self.done(Outcome(self.buffer.popleft(), Kind.RETURNED))

    def close(self) -> None:
        """Claims no more and wakes whoever listens."""
        self.closing = True
        self._wire.hurry.set()
        self._bell.close()

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
            self.give_back_buffer()
            self._wire.setbacks.expedite()
            self._hand_in(until, min(until, monotonic() + FINAL_PATIENCE))
            if not self._wire.setbacks.is_outage():
                known = [queue for queue in self._known if not self._wire.is_held_up(queue)]
                self._wire.send([self._parcel(queue, 0, []) for queue in known])
                self._collect()

    def _hand_in(self, until: float, final: float) -> None:
        """Tells Redis what it has to be told; ``final``: where nothing but a person can help."""
        while self.is_owing and (now := monotonic()) < until:
            owing = {*self._stalled, *self._wire.owing}
            if now >= final and not self.outcomes and self._wire.setbacks.are_final(owing):
                return
            self._send(0)
            if not (self._wire.is_waiting or self._wire.has_due(self._stalled)):
                due = self._wire.setbacks.next_due(now)
                self._wire.pause(min(due, until, now + WAKE_PATIENCE))
            self._collect()

    # -- the exchange, under the lead lock -------------------------------------------------------

    def _send(self, room: int) -> None:
        self._wire.send(self._pack(room))

    def _collect(self) -> None:
        for request, answer in self._wire.collect():
            self._take(request, answer)
        if self._wire.back:
            self._dry.difference_update(self._wire.back)
            self._wire.back.clear()
            self._held.doubt()
        if self._stalled:
            self._let_go()
        if self._held.is_doubtful:
            known = [queue for queue in self._known if not self._wire.is_held_up(queue)]
            for grant in self._held.strays(known):
                self.done(Outcome(grant, Kind.RETURNED))
        self.pace.travelled(self._wire.trip)
        self._low = self.pace.ahead() // 2

    def _let_go(self) -> None:
        """Outcomes that were held up can be sent."""
        for queue in [queue for queue in self._stalled if not self._wire.is_held_up(queue)]:
            self.outcomes.extend(self._stalled.pop(queue))

    def _pack(self, room: int) -> list[Exchange]:
        if self._stalled:
            self._let_go()
        outcomes = self._outcomes_by_queue()
        asks = self._asks(room)
        return [
            self._parcel(queue, asks.get(queue, 0), outcomes.get(queue, []))
            for queue in {**outcomes, **asks}
        ]

    def _asks(self, room: int) -> dict[str, int]:
        """How many jobs to ask of each queue."""
        woken, self._woken = self._woken, None
        if self.closing or self._is_idle:
            return {}  # where all are dry, a token will tell
        ahead = 0 if self.stuck or not room else self.pace.ahead()
        room += ahead - len(self.buffer)
        if out := self._out:
            split = self._shares.split(room, self._dry | out)
            asks = {queue: ask for queue, ask in split.items() if queue not in out}
        else:
            asks = self._shares.split(room, self._dry)
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
            lean=self._memory() >= LEAN_ABOVE,
        )

    def _outcomes_by_queue(self) -> dict[str, list[Outcome]]:
        lean = self._memory() >= LEAN_ABOVE
        may_be_held_up = self._wire.is_down or self._wire.is_owed
        by_queue: dict[str, list[Outcome]] = {}
        parked: dict[str, list[Outcome]] = {}
        for _ in range(min(len(self.outcomes), CHUNK)):
            outcome = self.outcomes.popleft()
            if lean and len(outcome.blob) > LEAN_BYTES:
                outcome = outcome._replace(blob=cut(outcome, self._broker.seals or OPEN))
            where = parked if outcome.kind is Kind.PARKED else by_queue
            if may_be_held_up and self._wire.is_held_up(outcome.grant.queue):
                where = self._stalled
            where.setdefault(outcome.grant.queue, []).append(outcome)
        self.oldest = monotonic()
        for queue, outcomes in parked.items():
            self._park(queue, outcomes)
        return by_queue

    def _park(self, queue: str, outcomes: list[Outcome]) -> None:
        """Sends away what this worker cannot run and another may."""
        try:
            self._broker.park(queue, outcomes)
            self._held.settled(queue, outcomes)
        except Exception as error:
            self._stalled.setdefault(queue, []).extend(outcomes)
            self._wire.trouble(queue, error)

    def _take(self, request: Exchange, answer: Exchanged) -> None:
        if request.first and answer.alive:
            self._known.add(request.queue)
            self._held.forget(request.queue)
            self._registered(request.queue, self._wire.since(request.queue))
        if request.want:
            if not answer.alive:
                self.lost.add(request.queue)
            (self._dry.discard if answer.left else self._dry.add)(request.queue)
        elif answer.left and all(each.kind is not Kind.RETURNED for each in request.outcomes):
            self._dry.discard(request.queue)  # an end lets in who waited at a limit
        self.offset = answer.now / 1000 - monotonic()
        self._held.settled(request.queue, request.outcomes)
        if "S" in answer.verdicts:
            self._held.doubt(AGAIN)  # it may take an earlier attempt of that job for running here
            self._report_stale(request, answer.verdicts)
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
    (failure,) = seals.open_failures(grant.id, grant.queue, outcome.blob)
    short = msgspec.structs.replace(failure, b=failure.b[-500:], m=failure.m[:200])
    return seals.seal_failure(grant.id, short)
