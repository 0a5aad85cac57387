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
from ..troubles import Troubles
from .consumer import LEAN_ABOVE
from .janitor import Janitor
from .reaper import Reaper
from .timekeeper import Timekeeper

logger = logging.getLogger("django_taskq.worker")


ROUNDS = 20  # chunks of one name let go at a time; this thread has leases to renew
PATIENCE = 60.0  # seconds at most until parked jobs are let go again where that failed
MOST = 50  # parked task names in one reply, see renew.lua


class Leased(Protocol):
    """A child, as far as its lease goes."""

    holder: str
    table: Table

    def order(self, *order: object) -> None: ...


class Heartbeat(Service):
    """One round trip for all queues every third of the lease, however much is held.

    ``queues``: in the order of the tables.
    """

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
        # Tries follow each other closely: where a server answers now and then, one must meet that.
        self.error_delay = self.longest_delay = min(lease / 50, 1.0)
        super().__init__()
        self._broker = broker
        self._queues = list(queues)
        self._lease = lease
        self._children = children
        self._reaper = reaper
        self._timekeeper = timekeeper
        self._janitor = janitor
        self._cursor = ""
        # Apart: where leases are renewed, parked jobs may not be let go all the same.
        self._releases = Troubles("releasing parked jobs", self.error_delay, PATIENCE)

    @property
    def is_cut_off(self) -> bool:
        """Whether no server can be reached."""
        return self.troubles.are_all_away(self._queues)

    def tick(self) -> float:
        children = list(self._children())
        before = monotonic()  # a lease counts from before it was asked for
        answers = self._broker.renew(
            self._queues,
            [c.holder for c in children],
            round(self._lease * 1000),
            self._cursor and self._cursor + "!",  # the first string behind all of "name id"
            self.troubles.met,
        )
        for place, queue in enumerate(self._queues):
            if queue in answers:
                self.troubles.over(queue)
                for child in children:
                    self._extend(child, place, answers[queue].holders[child.holder], before)
        # Names beyond a reply's fifty are asked for with the next renewal.
        self._cursor = min(  # of several queues the one that is behind
            (a.parked[-1] for a in answers.values() if len(a.parked) >= MOST), default=""
        )
        memory = max((answer.memory for answer in answers.values()), default=0)
        for child in children:
            child.table.memory = memory  # of the node that is fullest
        rest = self._lease / 3
        for queue, answer in answers.items():
            self._obey(queue, answer, children)
            if answer.next_end >= 0:
                rest = min(rest, (answer.next_end + 20) / 1000)
        return max(min(rest, self.troubles.next_try - monotonic()), 0.0)

    def _extend(self, child: Leased, place: int, letter: str, before: float) -> None:
        """A child gives up what it holds where its lease is over, and gets no other one there."""
        if letter == "L" and not child.table.is_over(place, before):
            child.table.extend(place, before)
        if letter == "L" or child.table.is_over(place, before):
            child.order("retire")
        elif letter == "O":
            child.table.extend(place, before + self._lease)

    def _obey(self, queue: str, answer: Renewed, children: Sequence[Leased]) -> None:
        for child in children:
            for stop in answer.stops:
                if stop.holder == child.holder:
                    child.order(stop.order, stop.id, stop.fence)
        self._timekeeper.hint(queue, answer.next_due)
        if answer.memory >= LEAN_ABOVE:
            self._janitor.make_room()
        for holder in answer.lapsed:
            self._reaper.lapsed(queue, holder)
        if answer.parked:
            names = answer.parked
            self._releases.each([queue], lambda q: self._release(q, names), self._broker.place_of)

    def _release(self, queue: str, names: Sequence[str]) -> None:
        for name in names:
            if registry.find(name) is not None:
                for _ in range(ROUNDS):
                    if self._broker.release(queue, name) < HOUSEKEEPING:
                        break
