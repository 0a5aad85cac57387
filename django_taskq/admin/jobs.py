"""Lists of jobs, and one job with what can be done to it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import registry
from ..broker.inspector import Page
from ..broker.inspector.jobs import MOST_FOUND
from ..finding import all_tags
from ..job import State
from ..showing import summary
from ..tasks import redis_aliases
from . import acting, audit, editing, rights, words
from .acting import Actions
from .console import MOST_QUEUES, Console
from .detail import detail
from .reasons import reasons
from .screen import Screen
from .searching import Asked, asked

TABS = (
    State.READY,
    State.RUNNING,
    State.SCHEDULED,
    State.RETRYING,
    State.WAITING,
    State.DEAD,
    State.SUCCEEDED,
    State.CANCELLED,
)


class JobAdmin(Actions, editing.Editing, Screen):
    """``/admin/django_taskq/job/`` and ``job/ID/change/``"""

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("do/", self.do_page, "do"),
            self.address("bulk/", self.bulk_page, "bulk"),
            self.address("<path:object_id>/change/", self.job_page, "change"),
            self.address("<path:object_id>/edit/", self.edit_page, "edit"),
        ]

    # -- lists -----------------------------------------------------------------------------------

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues, the jobs."""
        wanted = asked(request)
        if wanted.id:
            return self.go(console, "job_change", wanted.id)
        names = [wanted.queue] if wanted.queue else console.queues[:MOST_QUEUES]
        states = console.inspector.queues(names)
        counts = {state: sum(queue.states[state] for queue in states) for state in State}
        page = found(console, wanted, names, states)
        context = {
            **listing(request, console, wanted, page, counts),
            "now": max((state.now for state in states), default=0),
            "queues": console.queues,
            "tasks": registry.names(),
            "tags": all_tags(),
            "is_cut": not wanted.queue and len(console.queues) > MOST_QUEUES,
        }
        return self.page(request, console, "jobs", context)

    # -- one job ---------------------------------------------------------------------------------

    def job_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Three round trips: the queue of its number, the job, its holder."""
        id = unquote(object_id)
        console, queue = where_it_is(request, console, id)
        examined = console.inspector.examine(queue, id)
        if examined.stored.state is None:
            return self.gone(request, console, id)
        with_args = rights.may(request, rights.VIEW_ARGS)
        job = detail(id, queue, examined, console.broker.seals, with_args=with_args)
        possible = acting.possible(request, job.state)
        context = {
            "job": job,
            "now": examined.standing.now,
            "standing": examined.standing,
            "reasons": reasons(examined, is_known=job.is_known, with_args=with_args),
            "verbs": [(verb, words.VERBS[verb], verb in words.DANGEROUS) for verb in possible],
            "can_edit": self.can_edit(request, job),
            "entries": [audit.shown(entry) for entry in audit.entries(id)[:20]],
        }
        return self.page(request, console, "job", context, title=job.short_task)

    def gone(self, request: HttpRequest, console: Console, id: str) -> HttpResponse:
        """A job that is not there, or not any more: what was done to it still is."""
        entries = [audit.shown(entry) for entry in audit.entries(id)[:20]]
        context = {"id": id, "entries": entries}
        return self.page(request, console, "gone", context, title=_("No such job"), status=404)


def where_it_is(request: HttpRequest, console: Console, id: str) -> tuple[Console, str]:
    """The backend and the queue of a job.

    Entries of Django's log name no backend, so without one the others are asked too. Raises
    Http404 where no queue can have the job.
    """
    queue = console.queue_of(id)
    if queue is not None:
        return console, queue
    named = "backend" in request.GET or "backend" in request.POST
    for alias in [] if named else redis_aliases()[1:]:
        other = Console(alias)
        if (queue := other.queue_of(id)) is not None:
            return other, queue
    raise Http404(_("There is no such job."))


def found(console: Console, wanted: Asked, names: list[str], states: list[Any]) -> Page:
    """The jobs that were asked for; one round trip."""
    if not wanted.is_search and wanted.state is not None:
        return console.inspector.page(
            names, wanted.state, wanted.after, newest_first=wanted.newest_first
        )
    sizes = {
        (queue.name, state): queue.states[state]
        for queue in states
        for state in (TABS if wanted.state is None else (wanted.state,))
    }
    filter = wanted.filter
    page = console.inspector.search(sizes, filter.matches(), filter.head, filter.tail)
    rows = sorted(page.rows, key=lambda row: -(row.live.ended or row.live.started))
    right = (row for row in rows if filter.is_meant(row, console.broker.seals))
    return page._replace(rows=list(islice(right, MOST_FOUND + 1)))


def listing(
    request: HttpRequest, console: Console, wanted: Asked, page: Page, counts: dict[State, int]
) -> dict[str, Any]:
    """What the table of jobs needs, on whichever page it stands."""
    after = page.after
    return {
        "asked": wanted,
        "fields": wanted.fields(),
        "jobs": [summary(row, console.broker.seals) for row in page.rows[:MOST_FOUND]],
        "most_found": MOST_FOUND if len(page.rows) > MOST_FOUND else 0,
        "looked": page.looked,
        "is_search": wanted.is_search,
        "tabs": [(str(state), words.STATES[state], counts[state]) for state in TABS],
        "everything": sum(counts.values()) if wanted.state is None else counts[wanted.state],
        "after": f"{after.score}~{after.id}" if after else "",
        "verbs": acting.choices(request, wanted.state),
        "state": str(wanted.state or "any"),
    }
