"""Failures that are the same, as one: how often, since when, and what to do about all of them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from . import shared
from .console import Console
from .dashboard import failures_and_memory, found
from .screen import Screen

NEWEST = 1_000  # failures that are looked at


class FailureAdmin(Screen):
    """``/admin/django_taskq/failure/``"""

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues, the newest failures."""
        rows = shared.queue_rows(console.inspector.overview(console.queues), {})
        failures, _ = failures_and_memory(console, rows, NEWEST)
        context = {
            "groups": found(failures, console),
            "looked": failures.looked,
            "now": max((row.state.now for row in rows), default=0),
        }
        return self.page(request, console, "failures", context)
