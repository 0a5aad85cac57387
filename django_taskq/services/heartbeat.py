"""Renews the leases of the children, and does what the answers ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from .. import registry
from ..broker.broker import HOUSEKEEPING, Broker
from ..broker.replies import Renewed
from ..clock import monotonic
from ..table import HELD, LEFT, Table
from .consumer import LEAN_ABOVE
from .janitor import Janitor
from .queue_service import QueueService
from .reaper import Reaper
from .timekeeper import Timekeeper

logger = logging.getLogger("django_taskq.worker")


ROUNDS = 20  # chunks of one name let go at a time; this thread has leases to renew
MOST = 50  # parked task names in one reply, see renew.lua


class Leased(Protocol):
    """A child, as far as its lease goes."""

    holder: str
    table: Table

    def order(self, *order: object) -> None: ...


class Heartbeat(QueueService):
    """One round trip for all queues every third of the lease, however much is held."""

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[str],
        lease: float,
        children: Callable[[], Sequence[Leased]],
        reaper: Reaper,
        timekeeper: Timekeeper,
        janitor: Janitor,
    ) -> None:
        super().__init__(broker, queues)
        self._lease = lease
        self._children = children
        self._reaper = reaper
        self._timekeeper = timekeeper
        self._janitor = janitor
        self._cursor = ""
        self._beat_at = 0.0  # when those that do not fail are to be renewed (monotonic)
        self._sent_back: dict[tuple[str, str], int] = {}  # holder, queue -> what it was left as

    def tick(self) -> float:
        children = list(self._children())
        before = monotonic()  # a lease counts from before it was asked for
        is_time = not self.setbacks or before >= self._beat_at
        rest = self._lease / 3 if is_time else max(self._beat_at - before, 0.0)
        self._beat_at = before + rest
        asked = self._asked(children, before, is_time=is_time)
        if not asked:
            return self.rest_of(self._queues, rest)
        answers = self._broker.renew_each(
            asked,
            round(self._lease * 1000),
            self._cursor and self._cursor + "!",  # the first string behind all of "name id"
        )
        good = self._good(answers, (monotonic() - before) / 2)
        for queue, answer in good.items():
            self._extend(queue, answer, children, before)
        # Names beyond a reply's fifty are asked for with the next renewal.
        self._cursor = min(  # of several queues the one that is behind
            (a.parked[-1] for a in good.values() if len(a.parked) >= MOST), default=""
        )
        for queue, answer in good.items():
            with self.sparing(queue):
                self._obey(queue, answer, children)
            if answer.next_end >= 0:
                rest = min(rest, (answer.next_end + 20) / 1000)
        self._beat_at = before + rest
        return self.rest_of(self._queues, rest)

    def _asked(
        self, children: Sequence[Leased], now: float, *, is_time: bool
    ) -> dict[str, list[str]]:
        """The queues that are to be renewed now -> the holders of children that are at work there.

        What a child has given up is not prolonged: its jobs have to go back.
        """
        asked = {}
        for place, queue in enumerate(self._queues):
            if queue in self.setbacks:
                if self.setbacks.rests(queue, now):
                    continue
            elif not is_time:
                continue
            asked[queue] = [c.holder for c in children if c.table.given_up(place) == HELD]
            self._send_back(queue, place, children)
        return asked

    def _send_back(self, queue: str, place: int, children: Sequence[Leased]) -> None:
        """What a child has left goes back; then it may begin anew."""
        holders = [child.holder for child in children]
        self._sent_back = {at: left for at, left in self._sent_back.items() if at[0] in holders}
        for child in children:
            left = child.table.given_up(place)
            if left >= LEFT and self._sent_back.get((child.holder, queue)) != left:
                self._sent_back[child.holder, queue] = left
                order = partial(child.order, "rejoin", queue)
                self._reaper.left(queue, child.holder, order)

    def _good(self, answers: Mapping[str, Renewed | Exception], took: float) -> dict[str, Renewed]:
        """The answers of queues that have one."""
        good: dict[str, Renewed] = {}
        concerned: set[str] = set()
        for queue, answer in answers.items():
            if not isinstance(answer, Exception):
                good[queue] = answer
                self.setbacks.worked(queue)
        for queue, answer in answers.items():
            if isinstance(answer, Exception) and queue not in concerned:
                concerned.update(self.setbacks.failed(queue, answer, took))
        return good

    def _extend(
        self, queue: str, answer: Renewed, children: Sequence[Leased], before: float
    ) -> None:
        place = self._queues.index(queue)
        for child in children:
            letter = answer.holders.get(child.holder)
            if letter == "L":
                child.table.set_lease(place, before)  # it gives up when it sees this
            elif letter == "O":
                child.table.set_lease(place, before + self._lease)

    def _obey(self, queue: str, answer: Renewed, children: Sequence[Leased]) -> None:
        for child in children:
            child.table.memory = answer.memory
            for stop in answer.stops:
                if stop.holder == child.holder:
                    child.order(stop.order, stop.id, stop.fence)
        self._timekeeper.hint(queue, answer.next_due)
        if answer.memory >= LEAN_ABOVE:
            self._janitor.make_room()
        for holder in answer.lapsed:
            self._reaper.lapsed(queue, holder)
        for name in answer.parked:
            if registry.find(name) is not None:
                for _ in range(ROUNDS):
                    if self._broker.release(queue, name) < HOUSEKEEPING:
                        break
