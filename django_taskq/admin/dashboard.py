"""Everything at one glance: what needs a person, how much there is, what fails."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from ..broker.inspector import Page
from ..finding import Group, groups
from ..job import State
from . import past, shared
from .console import Console
from .screen import Screen

NEWEST = 300  # failures that are looked at
MOST_GROUPS = 8
MINUTE = 60_000
TAIL = 20_000  # bytes of a failure, enough for most tracebacks


class DashboardAdmin(Screen):
    """``/admin/django_taskq/dashboard/``"""

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues, the newest failures."""
        period = past.period_of(request)
        overview, (history,) = console.inspector.overview_with_past(console.queues, period.look)
        rows = shared.queue_rows(overview, dict(console.conf.queues))
        failures, memory = failures_and_memory(console, rows, NEWEST)
        counts = shared.totals(rows)
        now = max((row.state.now for row in rows), default=0)
        context = {
            **past.context(period, period.look.steps(history)),
            "queues": rows,
            "now": now,
            "counts": {str(state): number for state, number in counts.items()},
            "oldest": max((row.state.waits for row in rows), default=0),
            "workers": max((row.workers for row in rows), default=0),
            "alerts": shared.alerts(rows, memory),
            "chart": shared.backlog_chart(rows) if rows else "",
            "legend": shared.legend(),
            "memory": memory,
            "groups": found(failures, console)[:MOST_GROUPS],
            "looked": failures.looked,
        }
        return self.page(request, console, "dashboard", context)


def failures_and_memory(
    console: Console, rows: list[shared.QueueRow], most: int
) -> tuple[Page, tuple[int, int]]:
    """The newest failures of all queues, and how full the server is; one round trip."""
    sizes = {
        (row.name, state): row.count(state)
        for row in rows[:50]
        for state in (State.DEAD, State.RETRYING)
    }
    return console.inspector.newest(sizes, most, TAIL)


def found(page: Page, console: Console) -> list[Group]:
    """The groups of a page of failures."""
    return groups(page.rows, console.broker.seals)
