"""Keeps the tables short: rows of ended jobs go by age and by count, a range of keys at a time.

A range is walked by its keys, so no statement looks at more than some thousand rows.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, close_old_connections, connections, transaction
from django.db.models import Q
from django.utils import timezone

from ..job import ENDED
from ..service import Service
from .models import Attempt, JobPayload, JobRecord

logger = logging.getLogger("django_taskq.mirror")

REST = 60.0  # seconds between two walks
RANGE = 1_000  # rows looked at by one statement
RANGES = 20  # of one tick: the rows of new jobs are not to wait for those of old ones


class Pruning(Service):
    """Deletes rows of one backend: what ended longer ago than ``retention`` seconds, and what is
    behind the newest ``keep``."""

    def __init__(self, backend: str, using: str, retention: float, keep: int) -> None:
        super().__init__()
        self._backend = backend
        self._using = using
        self._retention = timedelta(seconds=retention)
        self._keep = keep
        self._at = 0  # the key up to which this walk has looked
        self._edge = 0  # rows up to this key are too many

    def tick(self) -> float:
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
        if not self._at:
            self._edge = self._find_edge()
        for _ in range(RANGES):
            keys = list(self._rows.filter(pk__gt=self._at).values_list("pk", flat=True)[:RANGE])
            if not keys or not self._delete(keys[0], keys[-1], now - self._retention):
                self._at = 0
                return False
            self._at = keys[-1]
        return True

    def finish(self) -> None:
        while self.prune():
            pass

    def _find_edge(self) -> int:
        newest = self._rows.order_by("-pk").values_list("pk", flat=True)
        return next(iter(newest[self._keep : self._keep + 1]), 0)

    def _delete(self, first: int, last: int, before: datetime) -> bool:
        """Deletes what may go in a range of keys; whether what follows may be old enough, too."""
        rows = self._rows.filter(pk__gte=first, pk__lte=last)
        over = Q(state__in=ENDED) | Q(gone_at__isnull=False)
        old = Q(ended_at__lt=before) | Q(ended_at=None, enqueued_at__lt=before)
        keys = list(rows.filter(over, old | Q(pk__lte=self._edge)).values_list("pk", flat=True))
        if keys:
            with transaction.atomic(using=self._using):
                for model, name in ((Attempt, "record_id__in"), (JobPayload, "record_id__in")):
                    self._raw(model, **{name: keys})
                self._raw(JobRecord, pk__in=keys)
        return last <= self._edge or rows.filter(enqueued_at__lt=before).exists() or bool(keys)

    def _raw(self, model: Any, **which: Any) -> None:
        model.objects.using(self._using).filter(**which)._raw_delete(self._using)


def _now() -> datetime:
    return timezone.now()
