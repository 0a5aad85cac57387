"""The sweep: pushes what was left in the outbox, because a push failed or its process died.

A row is deleted, then its job is pushed, then the deletion is committed. What fails before the
commit undoes the deletion, so no job is lost; and who cannot delete pushes nothing, so no job is
pushed again and again. Only where the commit itself fails is a job pushed twice, which makes
one job as long as Redis knows its id (docs/transactions.md).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.models import Max

from ..broker.broker import CHUNK, Broker
from ..duplicates import push_drafts
from ..exceptions import BrokerUnavailable
from ..service import Service
from . import store

logger = logging.getLogger("django_taskq.outbox")

LOOK = 3.0  # seconds between two looks; a row that is seen twice has been left
LOOK_FOR_TABLE = 60.0
ROUNDS = 20  # chunks a tick and queue

Pushed = Callable[[str, Sequence[str]], None]  # queue and ids that were pushed


class Outbox(Service):
    """Sweeps one database for the jobs of one backend.

    A row is left alone until the look after the one that saw it first: its own process is about to
    push it. No clock is asked, since the machines' differ. ``pushed`` is told what was pushed.
    """

    def __init__(
        self, broker: Broker, backend: str, using: str, pushed: Pushed | None = None
    ) -> None:
        super().__init__()
        self._broker = broker
        self._backend = backend
        self._using = using
        self._pushed = pushed
        self._seen = 0  # the newest row of the last look
        self._trouble = ""  # what was logged last and still is so
        self._failure = ""  # of a queue, in this look

    def tick(self) -> float:
        self._failure = ""
        try:
            with store.explained(self._using):
                more = self._look()
        except store.TableMissing as error:
            return self._troubled(str(error), LOOK_FOR_TABLE)
        except DatabaseError as error:
            connections[self._using].close()  # it may be broken; the next look has a new one
            return self._troubled(str(error), LOOK)
        rest = 0.0 if more else LOOK * random.uniform(0.8, 1.2)
        return self._troubled(self._failure, rest)

    def finish(self) -> None:
        """Pushes everything there is, however new."""
        upto = self._newest()
        while self._sweep(upto):
            pass

    def _look(self) -> bool:
        """Pushes what the last look saw; whether there is more of it."""
        newest = self._newest()
        more = bool(newest and self._seen) and self._sweep(self._seen)
        if not more:
            self._seen = newest
        return more

    def _troubled(self, trouble: str, rest: float) -> float:
        """What is wrong, "" for nothing, is said once, not at each look."""
        if trouble and trouble != self._trouble:
            logger.error("the outbox of database %r cannot be swept: %s", self._using, trouble)
        self._trouble = trouble
        return rest

    # -- rows ------------------------------------------------------------------------------------

    @property
    def _rows(self) -> Any:
        return store.model()._default_manager.using(self._using).filter(backend=self._backend)

    def _newest(self) -> int:
        return self._rows.aggregate(newest=Max("pk"))["newest"] or 0

    def _sweep(self, upto: int) -> bool:
        """Pushes the rows up to that one, queue by queue; whether some are left to be pushed."""
        rows = self._rows.filter(pk__lte=upto)
        queues = list(rows.order_by().values_list("queue", flat=True).distinct())
        if queues:
            self._broker.queues()  # raises BrokerUnavailable before a transaction is begun
        more = False
        for queue in queues:
            try:
                more |= self._sweep_queue(queue, rows.filter(queue=queue).order_by("pk"))
            except (BrokerUnavailable, DatabaseError):
                raise
            except Exception as error:  # must not hold up the other queues
                self._failure = f"queue {queue}: {type(error).__name__}: {error}"
        return more

    def _sweep_queue(self, queue: str, rows: Any) -> bool:
        number_of_rows = CHUNK
        rounds = 0
        while number_of_rows == CHUNK and rounds < ROUNDS:
            number_of_rows = self._push(queue, rows[:CHUNK])
            rounds += 1
        return number_of_rows == CHUNK

    def _push(self, queue: str, query: Any) -> int:
        """Takes a chunk of rows and pushes their jobs; how many. Passes over what others hold."""
        skips = connections[self._using].features.has_select_for_update_skip_locked
        found = [] if skips else list(query)  # before the transaction, which begins with a write
        with transaction.atomic(using=self._using):
            rows = list(query.select_for_update(skip_locked=True)) if skips else found
            if not rows:
                return 0
            if store.delete([row.pk for row in rows], self._using) != len(rows):
                transaction.set_rollback(True, self._using)  # somebody else took some of them
                return 0
            self._broker.number(queue)
            letters = push_drafts(self._broker, queue, [store.draft_of(row) for row in rows])
        self._tell(queue, [row.job for row in rows], letters)
        return len(rows)

    def _tell(self, queue: str, ids: Sequence[str], letters: str) -> None:
        logger.info("%d jobs of queue %s were left in the outbox and are pushed", len(ids), queue)
        letters = letters.partition(" ")[0]
        if unconfirmed := sum(map(str.islower, letters)):
            logger.warning("%s", self._broker.unconfirmed(unconfirmed))
        made = [id for id, letter in zip(ids, letters, strict=True) if letter not in "Uu"]
        if self._pushed is not None and made:
            self._pushed(queue, made)
