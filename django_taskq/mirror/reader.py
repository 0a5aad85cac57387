"""The mirror: follows the queues of one backend and writes rows.

The stream only says which jobs changed. What is written is what they are when they are looked at,
with the version of that look, so nothing depends on the order or the number of entries: what is
read twice, late, or by two at once comes to the same rows.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import DatabaseError, close_old_connections, connections, reset_queries

from ..broker.broker import CHUNK, Broker
from ..broker.connection import value_of
from ..broker.inspector.jobs import Place, Scan, scan
from ..broker.listening import Entry, Heard, Listener, heard, place_key
from ..clock import monotonic
from ..codec import OPEN
from ..exceptions import BrokerUnavailable
from ..job import State, new_id
from ..service import Service
from .rows import Redactor, moment
from .store import Store

logger = logging.getLogger("django_taskq.mirror")

NAME = "mirror"  # the listener's
IDLE = 1.0  # seconds between two looks at queues where nothing happens
AGAIN = 5.0  # seconds at most until a place is tried that another has
QUEUES = 10.0  # seconds between two looks for new queues
MOST_REST = 60.0  # seconds after cuts one upon the other


class Following:
    """One queue. ``total``: rows it wrote."""

    def __init__(self, broker: Broker, backend: str, queue: str, store: Store, reader: str) -> None:
        self.queue = queue
        self.listener = Listener(broker, NAME, reader)
        self.total = 0
        self.walked = 0
        self.cuts = 0  # since all was looked through
        self.due = 0.0  # monotonic
        self.trouble = ""
        self._broker = broker
        self._backend = backend
        self._store = store
        self._redactor = Redactor(backend, queue, broker.seals or OPEN)
        self.forget()

    def forget(self) -> None:
        """Whatever is known here of how far it has come: another reader may be further."""
        self.done = ""
        self.knows: bool | None = None
        self.walk: Iterator[int] | None = None
        # id -> the last entry when it was looked at: what came before says nothing new of it.
        self._looked: dict[str, tuple[int, int]] = {}

    def take(self, told: Heard) -> float:
        """Does what an answer asks for; the seconds until the next one is wanted."""
        if not told.mine:
            self.forget()
            return min(told.wait / 1000, AGAIN)
        if told.cut:
            self.forget()
            self.cuts += 1
            if self.cuts > 1:  # again, before all was looked through: memory is short, perhaps
                return float(min(2**self.cuts, MOST_REST))
        self._follow(told.entries)
        if self.walk is None and not told.knows and not self.knows:
            logger.info("queue %s: looking through all jobs", self.queue)
            self.walk = self._walk()
        self._walk_on()
        untold = bool(self.knows) and not told.knows
        is_busy = bool(told.entries) or self.walk is not None or untold
        return 0.0 if is_busy else IDLE

    def _walk_on(self) -> None:
        if self.walk is None:
            return
        try:
            self.walked += next(self.walk)
        except StopIteration:
            self.walk, self.knows, self.cuts = None, True, 0
            logger.info("queue %s: all %d jobs were looked at", self.queue, self.walked)
        except BaseException:
            self.walk = None  # a generator that raised is over
            raise

    def _follow(self, entries: Sequence[Entry]) -> None:
        ids: dict[str, None] = {}
        for entry in entries:
            place = place_key(entry.place)
            for id in entry.ids:
                if self._looked.get(id, (0, 0)) < place:
                    ids[id] = None
        self.look_at(list(ids))
        if entries:
            self.done = entries[-1].place
            reached = place_key(self.done)
            if len(self._looked) > 2 * CHUNK:
                self._looked = {id: at for id, at in self._looked.items() if at > reached}

    def look_at(self, ids: Sequence[str]) -> int:
        """Writes the rows of those jobs as they are now; how many were news."""
        news = 0
        left = list(ids)
        while left:
            observed = self.listener.observe(self.queue, left)
            version, upto = observed.version, place_key(observed.upto)
            there = [job for job in observed.jobs if job.state is not None]
            gone = [job.id for job in observed.jobs if job.state is None]
            news += self._store.write([self._redactor.rows(job, version) for job in there])
            if gone:
                self._store.mark_gone(self._backend, gone, moment(observed.now), version)
            for job in observed.jobs:
                self._looked[job.id] = upto
            left = left[len(observed.jobs) :]
        self.total += news
        return news

    # -- looking through all jobs ----------------------------------------------------------------

    def _walk(self) -> Iterator[int]:
        """Every job that Redis has, then every row of a job that it may have no more; in steps.

        What changes meanwhile is in the stream, which is followed between the steps.
        """
        begun = self.listener.observe(self.queue, ["-"]).version
        for state in State:
            after: Place | None = None
            while True:
                asked = Scan(self.queue, state, newest_first=False, after=after, head=1, tail=1)
                (found,) = scan(self._broker, [asked])
                self.look_at([row.id for row in found.rows])
                yield found.looked
                after = found.end
                if after is None:
                    break
        last = 0
        while rows := self._store.open_rows(self._backend, self.queue, begun, last, CHUNK):
            self.look_at([job for _, job in rows])
            last = rows[-1][0]
            yield len(rows)


class Mirror(Service):
    """Follows all queues of a backend, those of which no other reader has the place.

    Where the database is away, the rows wait in Redis: the stream keeps what changed, within
    bounds, and after that all jobs are looked through.
    """

    error_delay = 1.0
    longest_delay = 10.0

    def __init__(self, broker: Broker, backend: str, using: str) -> None:
        super().__init__()
        self._broker = broker
        self._backend = backend
        self._using = using
        self._store = Store(using)
        self._reader = new_id()
        self._looked_for_queues = float("-inf")
        self._trouble = ""
        self._tries = 0  # since the database took rows
        self.following: dict[str, Following] = {}

    def tick(self) -> float:
        close_old_connections()
        reset_queries()
        before = self.total
        try:
            rest = self.sync_once()
        except DatabaseError as error:
            connections[self._using].close()  # it may be broken; the next round has a new one
            if not self._trouble:
                self._trouble = type(error).__name__  # a driver's text may quote its settings
                logger.error(
                    "database %r takes no rows of jobs (%s); they follow when it does",
                    self._using,
                    self._trouble,
                )
            self._tries += 1
            return random.uniform(0.5, 1) * min(2.0**self._tries, self.longest_delay)
        self._tries = 0
        if self._trouble and self.total > before:
            logger.warning("database %r takes rows of jobs again", self._using)
            self._trouble = ""
        return rest

    @property
    def total(self) -> int:
        """Rows of jobs that were written."""
        return sum(one.total for one in self.following.values())

    def sync_once(self) -> float:
        """One round: what every queue has to tell, some thousand jobs each; seconds to rest.

        Raises BrokerUnavailable and DatabaseError; what was not written is read again.
        """
        now = monotonic()
        if now >= self._looked_for_queues + QUEUES:
            self._look_for_queues()
            self._looked_for_queues = now
        due = [one for one in self.following.values() if one.due <= now]
        calls = [one.listener.listen_call(one.queue, one.done, one.knows) for one in due]
        replies = self._broker.server.call_each(calls) if calls else []
        for one, reply in zip(due, replies, strict=True):
            self._take(one, reply)
        waits = [max(one.due - monotonic(), 0.0) for one in self.following.values()]
        return min([IDLE, *waits])

    def _take(self, one: Following, reply: Any) -> None:
        """One queue's part. What is wrong with it is said once, and the others go on."""
        try:
            rest = one.take(heard(value_of(reply)))
        except (BrokerUnavailable, DatabaseError):
            raise
        except Exception as error:  # a key of the wrong type, a job that cannot be a row
            if not one.trouble:
                logger.exception("queue %s cannot be followed; trying again", one.queue)
            one.trouble, rest = type(error).__name__, self.longest_delay / 4
        else:
            one.trouble = ""
        one.due = monotonic() + rest if rest else 0.0

    def _look_for_queues(self) -> None:
        for queue in self._broker.queues():
            if queue not in self.following:
                self.following[queue] = Following(
                    self._broker, self._backend, queue, self._store, self._reader
                )

    def finish(self) -> None:
        """Until no queue that is ours has anything more to tell."""
        self._looked_for_queues = float("-inf")
        while True:
            for one in self.following.values():
                one.due = 0.0
            if self.sync_once() > 0.0:
                return
