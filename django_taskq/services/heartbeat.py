"""Renews the leases of the children, and does what the answers ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from .. import registry
from ..broker.broker import HOUSEKEEPING, Broker
from ..broker.replies import Renewed
from ..clock import monotonic
from ..service import Service
from ..table import Table
from .consumer import LEAN_ABOVE
from .janitor import Janitor
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


class Heartbeat(Service):
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
        super().__init__()
        self._broker = broker
        self._queues = list(queues)
        self._lease = lease
        self._children = children
        self._reaper = reaper
        self._timekeeper = timekeeper
        self._janitor = janitor
        self._cursor = ""

    def tick(self) -> float:
        children = list(self._children())
        before = monotonic()  # a lease counts from before it was asked for
        answers = self._broker.renew(
            self._queues,
            [c.holder for c in children],
            round(self._lease * 1000),
            self._cursor and self._cursor + "!",  # the first string behind all of "name id"
        )
        for child in children:
            self._extend(child, [a.holders[child.holder] for a in answers.values()], before)
        # Names beyond a reply's fifty are asked for with the next renewal.
        self._cursor = min(  # of several queues the one that is behind
            (a.parked[-1] for a in answers.values() if len(a.parked) >= MOST), default=""
        )
        rest = self._lease / 3
        for queue, answer in answers.items():
            self._obey(queue, answer, children)
            if answer.next_end >= 0:
                rest = min(rest, (answer.next_end + 20) / 1000)
        return rest

    def _extend(self, child: Leased, letters: list[str], before: float) -> None:
        if "L" in letters:
            child.table.lease_until = before  # it ends itself when it sees this
        elif "O" in letters:
            child.table.lease_until = before + self._lease

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
