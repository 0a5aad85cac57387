"""Keeps the tables short: rows of ended jobs go by age and by count, a range of keys at a time.

A range is walked by its keys, so no statement looks at more than some thousand rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, close_old_connections, connections, transaction
from django.db.models import Q
from django.utils import timezone

from ..clock import monotonic
from ..job import ENDED
from ..service import Service
from .models import Attempt, JobPayload, JobRecord

logger = logging.getLogger("django_taskq.mirror")

REST = 60.0  # seconds between two walks
RANGE = 1_000  # rows looked at by one statement
RANGES = 20  # of one tick: the rows of new jobs are not to wait for those of old ones
RECOUNT = 3600.0  # seconds after which all rows are counted anew: others delete, too


class Pruning(Service):
    """Deletes rows of one backend: what ended longer ago than ``retention`` seconds, and what is
    behind the newest ``keep``. ``is_ours``: whether this is the process to do so."""

    def __init__(
        self,
        backend: str,
        using: str,
        retention: float,
        keep: int,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__()
        self._backend = backend
        self._using = using
        self._retention = timedelta(seconds=retention)
        self._keep = keep
        self._is_ours = is_ours
        self._at = 0  # the key up to which this walk has looked
        self._count_anew()

    def _count_anew(self) -> None:
        self._edge = 0  # rows up to this key are too many
        self._top = 0  # rows up to this key are counted
        self._over = -self._keep  # how many are too many of those that are counted, behind the edge
        self._counted_at = monotonic()

    def tick(self) -> float:
        if not self._is_ours():
            return REST
        close_old_connections()
        try:
            return 0.0 if self.prune() else REST
        except DatabaseError as error:
            connections[self._using].close()
            logger.warning("old rows cannot be deleted now (%s)", type(error).__name__)
            return REST

    @property
    def _rows(self) -> Any:
        rows = JobRecord.objects.using(self._using).filter(backend=self._backend)
        return rows.order_by("pk")

    def prune(self, now: datetime | None = None) -> bool:
        """A part of a walk; whether more of it is left."""
        now = now or _now()
        if not self._at and not self._find_edge():
            return True
        for _ in range(RANGES):
            keys = self._keys_after(self._at, RANGE)
            if not keys or not self._delete(keys[0], keys[-1], now - self._retention):
                self._at = 0
                return False
            self._at = keys[-1]
        return True

    def finish(self) -> None:
        while self.prune():
            pass

    def _find_edge(self) -> bool:
        """Goes on from the edge that there was; whether it is found, for it takes several ticks."""
        if monotonic() > self._counted_at + RECOUNT:
            self._count_anew()
        for _ in range(RANGES):
            keys = self._keys_after(self._top, RANGE)
            self._over += len(keys)
            self._top = keys[-1] if keys else self._top
            if len(keys) < RANGE:
                return self._move_edge()
        return False

    def _move_edge(self) -> bool:
        for _ in range(RANGES):
            keys = self._keys_after(self._edge, min(max(self._over, 0), RANGE))
            if not keys:
                return True
            self._over -= len(keys)
            self._edge = keys[-1]
        return False

    def _keys_after(self, key: int, most: int) -> list[int]:
        return list(self._rows.filter(pk__gt=key).values_list("pk", flat=True)[:most])

    def _delete(self, first: int, last: int, before: datetime) -> bool:
        """Deletes what may go in a range of keys; whether what follows may be old enough, too."""
        rows = self._rows.filter(pk__gte=first, pk__lte=last)
        old = older_than(before) | Q(pk__lte=self._edge)
        keys = list(rows.filter(OVER, old).values_list("pk", flat=True))
        if keys:
            delete(self._using, keys)
            self._over -= sum(self._edge < key <= self._top for key in keys)
        return last <= self._edge or rows.filter(enqueued_at__lt=before).exists() or bool(keys)


OVER = Q(state__in=ENDED) | Q(gone_at__isnull=False)  # rows that change no more


def older_than(before: datetime) -> Q:
    """Rows of jobs that ended before that; of one whose end nobody saw, that were enqueued."""
    return Q(ended_at__lt=before) | Q(ended_at=None, enqueued_at__lt=before)


def delete(using: str, keys: Sequence[int]) -> None:
    """Deletes rows of jobs with what belongs to them."""

    def raw(model: Any, **which: Any) -> None:
        model.objects.using(using).filter(**which)._raw_delete(using)

    with transaction.atomic(using=using):
        raw(Attempt, record_id__in=keys)
        raw(JobPayload, record_id__in=keys)
        raw(JobRecord, pk__in=keys)


def prune_all(using: str, before: datetime) -> Iterator[tuple[int, int]]:
    """Deletes the rows of all backends that are over and older, a range of keys at a time.

    Yields after each range how many rows it looked at, and how many of them it deleted.
    """
    rows = JobRecord.objects.using(using).order_by("pk")
    last = 0
    while keys := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:RANGE]):
        first, last = keys[0], keys[-1]
        here = rows.filter(OVER, older_than(before), pk__gte=first, pk__lte=last)
        gone = list(here.values_list("pk", flat=True))
        if gone:
            delete(using, gone)
        yield len(keys), len(gone)


def _now() -> datetime:
    return timezone.now()
