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

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    close_old_connections,
    connections,
    reset_queries,
)

from ..broker.broker import CHUNK, Broker
from ..broker.connection import value_of
from ..broker.inspector.jobs import Place, Scan, scan
from ..broker.listening import LEASE, Entry, Heard, Listener, Observed, heard, place_key
from ..clock import monotonic
from ..codec import OPEN
from ..exceptions import BrokerUnavailable
from ..job import State, new_id
from ..service import Service
from .rows import Redactor, Rows, moment
from .store import JOB, Store

logger = logging.getLogger("django_taskq.mirror")

NAME = "mirror"  # the listener's
IDLE = 1.0  # seconds between two looks at queues where nothing happens
AGAIN = 5.0  # seconds at most until a place is tried that another has
QUEUES = 10.0  # seconds between two looks for new queues
ROUND = LEASE / 2000  # seconds of one round: the next one keeps the places
MOST_GIVEN = 1.0  # seconds of a rest for jobs that are ready; the places are kept
FAR_BEHIND = 5_000  # entries of a stream, which is cut at 10,000: from then on nobody rests
MOST_REST = 60.0  # seconds between two walks of which the first was not enough
NOWHERE = (0, 0)  # before every place in a stream


class Following:
    """One queue. ``total``: rows it wrote."""

    def __init__(self, broker: Broker, backend: str, queue: str, store: Store, reader: str) -> None:
        self.queue = queue
        self.listener = Listener(broker, NAME, reader)
        self.total = 0
        self.walked = 0
        self.cuts = 0  # walks in a row during which something was missed
        self.due = 0.0  # monotonic
        self.mine = False  # whether it has the place, as far as it was told
        self.gives_way = False  # whether jobs are ready, and it is not far behind
        self.served = 0.0  # monotonic; when there was time for it last
        self.trouble = ""
        self._broker = broker
        self._backend = backend
        self._store = store
        self._redactor = Redactor(backend, queue, broker.seals or OPEN)
        self._no_walk_before = 0.0  # monotonic
        self.forget()

    def forget(self) -> None:
        """Whatever is known here of how far it has come: another reader may be further."""
        self.walk: Iterator[int] | None = None
        self._missed = False  # something that the walk may not have met
        self._forget_place()

    def _forget_place(self) -> None:
        self.done = ""
        self.knows: bool | None = None  # to be said; None: as Redis has it
        # id -> the last entry when it was looked at: what came before says nothing new of it.
        self._looked: dict[str, tuple[int, int]] = {}

    def hear(self, told: Heard) -> None:
        """Notes what an answer says once and never again.

        A cut never stops a walk: where the stream is cut again and again, jobs get their rows all
        the same, and all is looked through once more after it.
        """
        self.mine = told.mine
        self.gives_way = told.ready > 0 and told.behind < FAR_BEHIND
        if not told.mine:
            self.forget()
        if told.cut:
            self._forget_place()
            self._missed = True
        if told.knows:
            self.knows = None

    def take(self, told: Heard, until: float) -> float:
        """Does what an answer that was heard asks for, until then (monotonic) or a little longer;
        the seconds until the next one is wanted."""
        if not told.mine:
            return min(told.wait / 1000, AGAIN)
        if monotonic() >= until:
            return 0.0
        self.served = monotonic()
        self._follow(told.entries, until)
        if self.walk is None and not told.knows and not self.knows:
            self._begin_walk()
        self._walk_on()
        untold = bool(self.knows) and not told.knows
        is_busy = bool(told.entries) or self.walk is not None or untold
        return 0.0 if is_busy else IDLE

    def _begin_walk(self) -> None:
        if monotonic() >= self._no_walk_before:
            logger.info("queue %s: looking through all jobs", self.queue)
            self.walk, self._missed = self._walk(), False

    def _walk_on(self) -> None:
        if self.walk is None:
            return
        try:
            self.walked += next(self.walk)
        except StopIteration:
            self._end_walk()
        except BaseException:
            self.walk = None  # a generator that raised is over
            raise

    def _end_walk(self) -> None:
        """All is known, or nearly: after a cut meanwhile there is another walk, but not at once,
        for memory is short, perhaps."""
        self.walk = None
        logger.info("queue %s: all %d jobs were looked at", self.queue, self.walked)
        if self._missed:
            self.cuts += 1
            self._no_walk_before = monotonic() + min(2.0**self.cuts, MOST_REST)
        else:
            self.knows, self.cuts = True, 0

    def _follow(self, entries: Sequence[Entry], until: float) -> None:
        ids: dict[str, None] = {}
        for entry in entries:
            place = place_key(entry.place)
            for id in entry.ids:
                if self._looked.get(id, NOWHERE) < place:
                    ids[id] = None
        left = self._look_until(list(ids), until)
        for entry in entries:
            if left and not self._is_done(entry):
                break
            self.done = entry.place
        reached = place_key(self.done)
        if len(self._looked) > 2 * CHUNK:
            self._looked = {id: at for id, at in self._looked.items() if at > reached}

    def _is_done(self, entry: Entry) -> bool:
        place = place_key(entry.place)
        return all(self._looked.get(id, NOWHERE) >= place for id in entry.ids)

    def _look_until(self, left: list[str], until: float) -> list[str]:
        """Looks at jobs while there is time for a look as long as the last; those that are left."""
        now, took = monotonic(), 0.0
        while left and now + took < until:
            observed = self._look(left)
            upto = place_key(observed.upto)
            for job in observed.jobs:
                self._looked[job.id] = upto
            left = left[len(observed.jobs) :]
            took, now = monotonic() - now, monotonic()
        return left

    def _look(self, ids: Sequence[str]) -> Observed:
        """Writes the rows of the first of those jobs as they are now, in one transaction."""
        observed = self.listener.observe(self.queue, ids)
        there = [job for job in observed.jobs if job.state is not None]
        gone = [job.id for job in observed.jobs if job.state is None]
        rows = [self._redactor.rows(job, observed.version) for job in there]
        self.total += self._write(rows)
        if gone:
            self._store.mark_gone(self._backend, gone, moment(observed.now), observed.version)
        return observed

    def _write(self, rows: Sequence[Rows]) -> int:
        """Writes rows; what the database refuses to take for what it is, is left out and said."""
        try:
            return self._store.write(rows)
        except (DataError, IntegrityError) as error:
            refused = error
        written, bad = 0, []
        for row in rows:
            try:
                written += self._store.write([row])
            except (DataError, IntegrityError) as error:
                bad.append(row.record[JOB])
                refused = error
        if bad:
            logger.error(  # a driver's text may quote what jobs carry
                "queue %s: %d of %d jobs cannot be rows of database %r (%s), such as %s",
                *(self.queue, len(bad), len(rows), self._store.using),
                *(type(refused).__name__, bad[0]),
            )
        return written

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
                yield from self._look_at([row.id for row in found.rows])
                after = found.end
                if after is None:
                    break
        last = 0
        while rows := self._store.open_rows(self._backend, self.queue, begun, last, CHUNK):
            yield from self._look_at([job for _, job in rows])
            last = rows[-1][0]

    def _look_at(self, left: list[str]) -> Iterator[int]:
        while left:
            looked = len(self._look(left).jobs)
            left = left[looked:]
            yield looked


class Mirror(Service):
    """Follows all queues of a backend, those of which no other reader has the place.

    Rows come after jobs: while some are ready it rests as long as it worked, a second at most,
    unless it is far behind. What changes twice meanwhile is looked at once.

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
        self.gives_way = True
        self.following: dict[str, Following] = {}

    def tick(self) -> float:
        close_old_connections()
        reset_queries()
        before, began = self.total, monotonic()
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
        if self.gives_way and any(one.gives_way for one in self.following.values()):
            rest = max(rest, min(monotonic() - began, MOST_GIVEN))
        return rest

    @property
    def total(self) -> int:
        """Rows of jobs that were written."""
        return sum(one.total for one in self.following.values())

    @property
    def has_place(self) -> bool:
        """Whether some queue is ours to follow."""
        return any(one.mine for one in self.following.values())

    def sync_once(self) -> float:
        """One round: what every queue has to tell, some thousand jobs each; seconds to rest.

        Raises BrokerUnavailable and DatabaseError; what was not written is read again.
        """
        now = monotonic()
        if now >= self._looked_for_queues + QUEUES:
            self._look_for_queues()
            self._looked_for_queues = now
        due = [one for one in self.following.values() if one.due <= now]
        due.sort(key=lambda one: one.served)  # a round may be over before it is the last one's turn
        until = monotonic() + ROUND  # the places are ours from before the request on
        calls = [one.listener.listen_call(one.queue, one.done, one.knows) for one in due]
        replies = self._broker.server.call_each(calls) if calls else []
        away: list[BrokerUnavailable] = []
        told = [self._hear(one, reply, away) for one, reply in zip(due, replies, strict=True)]
        for one, heard_of_it in zip(due, told, strict=True):
            if heard_of_it is not None:
                self._take(one, heard_of_it, until)
        if away:  # a node of a Cluster; the others are not to wait for it
            raise away[0]
        waits = [max(one.due - monotonic(), 0.0) for one in self.following.values()]
        return min([IDLE, *waits])

    def _hear(self, one: Following, reply: Any, away: list[BrokerUnavailable]) -> Heard | None:
        """What one queue was answered; None if that was an error."""
        try:
            told = heard(value_of(reply))
            one.hear(told)
        except BrokerUnavailable as error:
            away.append(error)
        except Exception as error:  # a key of the wrong type
            self._has_trouble(one, error)
        else:
            return told
        return None

    def _take(self, one: Following, told: Heard, until: float) -> None:
        """One queue's part. What is wrong with it is said once, and the others go on."""
        try:
            rest = one.take(told, until)
        except (BrokerUnavailable, DatabaseError):
            raise
        except Exception as error:  # a job that cannot be a row
            self._has_trouble(one, error)
        else:
            one.trouble = ""
            one.due = monotonic() + rest if rest else 0.0

    def _has_trouble(self, one: Following, error: Exception) -> None:
        if not one.trouble:
            logger.error("queue %s cannot be followed; trying again", one.queue, exc_info=error)
        one.trouble = type(error).__name__
        one.gives_way = False
        one.due = monotonic() + self.longest_delay / 4

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
