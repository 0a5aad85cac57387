"""Django's database connections around an attempt, on the attempt's own thread."""

from __future__ import annotations

from contextlib import suppress
from threading import get_ident

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections, reset_queries
from django.db.backends.signals import connection_created
from django.dispatch import receiver

_opened: set[int] = set()  # threads that opened a connection; the others have nothing to tidy


@receiver(connection_created)
def _remember(sender: object, **kwargs: object) -> None:
    _opened.add(get_ident())


def tidy() -> None:
    """Before and after a job: forgets logged queries, closes what is broken or too old.

    Looks only at connections that were opened; a transaction left open by the job is ended by
    closing its connection, since nobody else ever would.
    """
    if get_ident() not in _opened:
        return
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
            del connections[
                connection.alias
            ]  # it would stay "in atomic"; the next use is a new one
        else:
            connection.close_if_unusable_or_obsolete()


def close_all() -> None:
    """Closes this thread's connections, whatever their state."""
    for connection in connections.all(initialized_only=True):
        with suppress(Exception):  # a broken one must not keep the others open
            connection.close()
    _opened.discard(get_ident())


class AsyncHygiene:
    """An async job's own context: its sync ORM calls share one thread, closed at the end."""

    def __init__(self) -> None:
        self._context = ThreadSensitiveContext()

    async def __aenter__(self) -> None:
        await self._context.__aenter__()  # type: ignore[no-untyped-call]

    async def __aexit__(self, *error: object) -> None:
        if self._context in SyncToAsync.context_to_thread_executor:
            await sync_to_async(close_all)()
        await self._context.__aexit__(*error)  # type: ignore[no-untyped-call]
