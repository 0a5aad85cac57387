"""Enqueueing through the outbox: a job is in the database before it is in Redis.

Inside a transaction its row is written with it. At the commit the job is pushed, and then the row
is deleted; whatever fails or dies in between leaves the row, and a worker's sweep pushes it.
Outside of a transaction a job goes straight to Redis, and into the outbox only where Redis cannot
take it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections, router, transaction

from ..broker.broker import Broker, derived_number
from ..clock import monotonic
from ..exceptions import BrokerError, BrokerUnavailable, NotReplicated
from ..producer import Producer, unsent
from ..recipe import Prepared
from . import store
from .store import Kept

logger = logging.getLogger("django_taskq.outbox")

# Seconds after an enqueue in which no sweep can have pushed a job that Redis has forgotten since:
# an ended job's id is known for RESEND_WINDOW (10 s).
FRESH = 5.0
LULL = 1.0  # seconds without a try once Redis was found away: not every commit waits for a timeout


class Away(NamedTuple):
    """Redis was away. ``until``: monotonic."""

    until: float
    error: BrokerUnavailable


_away: WeakKeyDictionary[Broker, Away] = WeakKeyDictionary()


class OutboxProducer(Producer):
    """A Producer whose jobs wait in the database where they cannot be pushed."""

    rescues = True

    def number(self, queue: str) -> int:
        """Derived, so that an id can be made while Redis is away."""
        return derived_number(queue)

    def hold(self, jobs: Sequence[Prepared], using: str) -> None:
        """Writes the jobs into the open transaction of ``using``, and pushes them at its commit.

        Raises TableMissing.
        """
        super().hold(store.write(jobs, self.alias, using), using)

    def release(self, jobs: Sequence[Kept], using: str) -> None:
        """Pushes what was committed and deletes its rows. Never raises for Redis or the database.

        What was written a while ago may have been swept and run by now: then only who deletes the
        rows pushes the jobs.
        """
        try:
            if monotonic() - jobs[0].since < FRESH:
                self._push_fresh(jobs, using)
            else:
                self._push_old(jobs, using)
        except BrokerError as error:
            self._log(sum(not is_in(kept.job) for kept in jobs), using, error)
        except DatabaseError as error:
            logger.warning("%d jobs are still in the outbox: %s", len(jobs), error)

    def _push_fresh(self, jobs: Sequence[Kept], using: str) -> None:
        try:
            self._push_kept(jobs)
        finally:
            rows = [kept.row for kept in jobs if is_in(kept.job)]
            if rows:  # one that stays is pushed again by a sweep, to no effect, and deleted
                store.delete(rows, using)

    def _push_old(self, jobs: Sequence[Kept], using: str) -> None:
        with transaction.atomic(using=using):
            if store.delete([kept.row for kept in jobs], using) == len(jobs):
                self._push_kept(jobs)
            else:  # a sweep has some of them, and will have the others
                transaction.set_rollback(True, using=using)

    def _push_kept(self, jobs: Sequence[Kept]) -> None:
        try:
            self._push([store.renewed(kept.job) for kept in jobs])
        except NotReplicated as error:
            logger.warning("%s", error)

    def push(self, jobs: Sequence[Prepared]) -> None:
        """Pushes at once. Raises NotReplicated; for the rest see ``rescue()``."""
        try:
            self._push(jobs)
        except NotReplicated:
            raise
        except BrokerError as error:
            self.rescue(jobs, error)

    def rescue(self, jobs: Sequence[Prepared], error: BrokerError) -> None:
        """Writes what Redis did not take into the outbox.

        Raises the error where a transaction is open: it might be rolled back, and these jobs were
        not to wait for it.
        """
        if isinstance(error, BrokerUnavailable):
            self._note(error)
        waiting = [job for job in jobs if not is_in(job)]
        using = outbox_of(jobs[0])
        try:
            if is_in_transaction(using):
                raise error
            store.write(waiting, self.alias, using)
        except DatabaseError as problem:
            raise error from problem
        self._log(len(waiting), using, error)

    # -- Redis -----------------------------------------------------------------------------------

    def _push(self, jobs: Sequence[Prepared]) -> None:
        try:
            self.raise_if_away(jobs)
            self._register(jobs)
            super().push(jobs)
        except BrokerUnavailable as error:
            self._note(error)
            raise

    def raise_if_away(self, jobs: Sequence[Prepared]) -> None:
        """Raises BrokerUnavailable where Redis was away a moment ago."""
        away = _away.get(self.broker)
        if away is not None and monotonic() < away.until:
            raise unsent(away.error, jobs)

    def _register(self, jobs: Sequence[Prepared]) -> None:
        """Has the queues known to Redis, which is not asked for their numbers otherwise."""
        try:
            for queue in {job.queue for job in jobs}:
                self.broker.number(queue)
        except BrokerError as error:
            raise unsent(error, jobs) from error

    def _note(self, error: BrokerUnavailable) -> None:
        away = _away.get(self.broker)
        if away is None or monotonic() >= away.until:
            _away[self.broker] = Away(monotonic() + LULL, unsent(error, ()))  # type: ignore[arg-type]

    def _log(self, jobs: int, using: str, error: BrokerError) -> None:
        logger.warning("%d jobs wait in the outbox of database %r: %s", jobs, using, error)


def is_in(job: Prepared) -> bool:
    """Whether the job is known to be in Redis."""
    return job.result.enqueued_at is not None


def outbox_of(job: Prepared) -> str:
    """The database for a job that no transaction belongs to."""
    wanted = job.result.task.options.on_commit
    return wanted if isinstance(wanted, str) else router.db_for_write(store.model())


def is_in_transaction(using: str) -> bool:
    """Whether what is written there now might be rolled back."""
    connection = connections[using]
    return connection.in_atomic_block or not connection.get_autocommit()
