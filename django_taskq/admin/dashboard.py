"""Everything at one glance: what needs a person, how much there is, what fails."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from ..broker.inspector import Newest
from ..broker.releases import releases_in
from ..broker.roster import workers_in
from ..broker.triage import Decision
from ..finding import TAIL
from ..grouping import Group, groups
from . import past, server, shared
from .console import MOST_QUEUES, Console, time_of
from .pace import RECENT, pace_of
from .screen import Screen
from .searching import FAILURES

NEWEST = 300  # failures that are looked at
MOST_GROUPS = 8


class DashboardAdmin(Screen):
    """``/admin/django_taskq/dashboard/``"""

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues and workers, the newest failures."""
        period = past.period_of(request)
        looks = (period.look, period.by_task, RECENT)
        also = (console.releases.call(), console.roster.call())
        seen = console.inspector.overview_with_past(console.queues, *looks, also=also)
        overview, (history, tasks, recent), (releases, roster) = seen
        rows = shared.queue_rows(overview, dict(console.conf.queues), recent)
        newest = newest_failures(console, rows, NEWEST)
        others = [
            *server.alerts(newest.server, may_evict=console.conf.allow_eviction),
            *(alert for worker in workers_in(roster)[1] for alert in shared.of_worker(worker)),
        ]
        counts = shared.totals(rows)
        now = time_of([row.state for row in rows])
        failures = decided(newest, console, now)
        still_open = [group for group in failures if group.decision is Decision.OPEN]
        context = {
            **past.context(period, period.look.steps(history), releases_in(releases)),
            "queues": rows,
            "now": now,
            "counts": {str(state): number for state, number in counts.items()},
            "pace": pace_of(RECENT.steps(recent)),
            "oldest": max((row.state.waits for row in rows), default=0),
            "workers": shared.processes(rows),
            "alerts": shared.alerts(rows, others),
            "chart": shared.backlog_chart(rows) if rows else "",
            "legend": shared.legend(),
            "slowest": past.slowest(period.by_task.tasks(tasks)),
            "redis": newest.server,
            "groups": [(group, None) for group in still_open[:MOST_GROUPS]],
            "aside": len(failures) - len(still_open),
            "looked": newest.page.looked,
            "decided": decided_jobs(failures, rows, newest),
        }
        return self.page(request, console, "dashboard", context)


def newest_failures(console: Console, rows: list[shared.QueueRow], most: int) -> Newest:
    """The newest failures of all queues, with verdicts, and the server; one round trip."""
    sizes = {
        (row.name, state): row.count(state) for row in rows[:MOST_QUEUES] for state in FAILURES
    }
    return console.inspector.newest(sizes, most, TAIL)


def total_of(rows: list[shared.QueueRow]) -> int:
    """How many failures there are."""
    return sum(row.count(state) for row in rows for state in FAILURES)


def decided_jobs(failures: list[Group], rows: list[shared.QueueRow], newest: Newest) -> int:
    """How many of those that were looked at are no more open and keep older ones out of sight."""
    if total_of(rows) <= newest.page.looked:
        return 0
    return sum(group.jobs for group in failures if group.decision is not Decision.OPEN)


def decided(newest: Newest, console: Console, now: int) -> list[Group]:
    """The groups of these failures, with what was decided about each."""
    return groups(newest.page.rows, console.broker.seals, newest.verdicts, now)
