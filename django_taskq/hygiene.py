"""Django's database connections around an attempt, on the attempt's own thread."""

from __future__ import annotations

import threading

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections, reset_queries
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from .clock import monotonic

FRESH = 1.0  # seconds for which what the last job left tidy needs no second look

_thread = threading.local()


@receiver(connection_created)
def _remember(sender: object, **kwargs: object) -> None:
    """A thread that never opened a connection has nothing to look after."""
    _thread.opened = True


def tidy_before() -> None:
    """Before a job: as ``tidy``, unless the job before it on this thread has just done so."""
    if getattr(_thread, "opened", False) and monotonic() - _thread.tidied > FRESH:
        tidy()


def tidy() -> None:
    """After a job: forgets logged queries, closes what is broken or too old.

    Looks only at connections that were opened; a transaction left open by the job is ended by
    closing its connection, since nobody else ever would.
    """
    if not getattr(_thread, "opened", False):
        return
    _thread.tidied = monotonic()
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
        else:
            connection.close_if_unusable_or_obsolete()


def close_all() -> None:
    """Closes this thread's connections, whatever their state."""
    for connection in connections.all(initialized_only=True):
        connection.close()


class AsyncHygiene:
    """An async job's own context: its sync ORM calls share one thread, closed at the end."""

    def __init__(self) -> None:
        self._context = ThreadSensitiveContext()

    async def __aenter__(self) -> None:
        await self._context.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        if self._context in SyncToAsync.context_to_thread_executor:
            await sync_to_async(close_all)()
        await self._context.__aexit__(*error)
