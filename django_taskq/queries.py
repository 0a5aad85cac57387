"""How many queries the code of an attempt made of Django's databases.

Counted where a query is sent, on whatever thread: the attempt travels in the context, as asgiref
hands that on. Threads that a job starts by itself are not of its context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.signals import connection_created

from .reporting import attempt_here


def watch() -> None:
    """From now on, of the connections that this process opens."""
    connection_created.connect(_watch)


def _watch(connection: Any, **kwargs: object) -> None:
    if _counted not in connection.execute_wrappers:  # it may be opened again
        # First: whoever has one for a block takes the last one away when that ends.
        connection.execute_wrappers.insert(0, _counted)


def _counted(execute: Callable[..., Any], *query: Any) -> Any:
    attempt = attempt_here.get()
    if attempt is not None:
        attempt.queries += 1
    return execute(*query)
