"""A row that changed is seen by every worker at once."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from ..backends import RedisBackend
from ..broker.almanac import Almanac
from ..compat import task_backends
from ..exceptions import BrokerError
from .models import Schedule

logger = logging.getLogger("django_taskq.schedules")


@receiver([post_save, post_delete], sender=Schedule)
def tell_workers_at_commit(using: str, **kwargs: Any) -> None:
    """Tells them when the transaction commits."""
    transaction.on_commit(partial(tell_workers), using=using, robust=True)


def tell_workers() -> None:
    """Has every worker look at the rows now; without it they do so within seconds."""
    for alias in task_backends.settings:
        backend = task_backends[alias]
        if isinstance(backend, RedisBackend):
            try:
                Almanac(backend.broker).announce()
            except BrokerError as error:
                logger.warning(
                    "workers will see the changed schedule some seconds later: %s", error
                )
