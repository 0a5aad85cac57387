"""Lists of jobs, and one job with what can be done to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import registry
from ..broker.inspector import Examined, Page
from ..broker.inspector.jobs import MOST_FOUND, PAGE
from ..broker.roster import Worker
from ..finding import all_tags
from ..job import ENDED, State
from ..showing import summary
from ..tasks import redis_aliases
from . import acting, audit, editing, exporting, rights, words
from .acting import Actions
from .asking import asked_for
from .console import MOST_QUEUES, Console, time_of
from .detail import detail
from .one_job import OneJob
from .reasons import reasons
from .screen import Screen
from .searching import Asked, asked

MOST_HOLDERS = 200  # that the form offers
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


class JobAdmin(Actions, editing.Editing, OneJob, Screen):
    """``/admin/django_taskq/job/`` and ``job/ID/change/``"""

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("do/", self.do_page, "do"),
            self.address("bulk/", self.bulk_page, "bulk"),
            self.address("<path:object_id>/change/", self.job_page, "change"),
            self.address("<path:object_id>/edit/", self.edit_page, "edit"),
            self.address("<path:object_id>/copy/", self.copy_page, "copy"),
            self.address("<path:object_id>/unlock/", self.unlock_page, "unlock"),
        ]

    # -- lists -----------------------------------------------------------------------------------

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues, the jobs. ``as``: a file of them."""
        wanted = asked(request)
        if wanted.id:
            return self.go(console, "job_change", wanted.id)
        names = [wanted.queue] if wanted.queue else console.queues[:MOST_QUEUES]
        states, (_now, workers) = console.inspector.manned(names)
        counts = {state: sum(queue.states[state] for queue in states) for state in State}
        kind = request.GET.get("as", "")
        size = exporting.MOST if kind in exporting.KINDS else PAGE
        page = found(console, wanted, names, states, size)
        if kind in exporting.KINDS:
            jobs = [summary(row, console.broker.seals) for row in page.rows]
            with_args = rights.may(request, rights.VIEW_ARGS)
            return exporting.export(jobs, kind, with_args=with_args)
        context = {
            **listing(request, console, wanted, page, counts),
            "now": max((state.now for state in states), default=0),
            "queues": console.queues,
            "tasks": registry.names(),
            "tags": all_tags(),
            "holders": holders(workers),
            "tries": sorted({2, 3, 5, wanted.filter.tried} - {0}),
            "spans": words.SPANS,
            "is_cut": not wanted.queue and len(console.queues) > MOST_QUEUES,
        }
        return self.page(request, console, "jobs", context)

    # -- one job ---------------------------------------------------------------------------------

    def job_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Three round trips: the queue of its number, the job, its holder."""
        id, queue = unquote(object_id), None
        for place, queue in places(request, console, id):
            examined = place.inspector.examine(queue, id)
            if examined.stored.state is not None:
                return self.show(request, place, id, queue, examined)
        if queue is None:
            raise Http404(_("There is no such job."))
        return self.gone(request, console, id)

    def show(
        self, request: HttpRequest, console: Console, id: str, queue: str, examined: Examined
    ) -> HttpResponse:
        """A job that is there."""
        with_args = rights.may(request, rights.VIEW_ARGS)
        seals = console.broker.seals
        job = detail(id, queue, examined, console.alias, seals, with_args=with_args)
        possible = acting.possible(request, job.state)
        context = {
            "job": job,
            "now": examined.standing.now,
            "standing": examined.standing,
            "reasons": reasons(examined, is_known=job.is_known, with_args=with_args),
            "verbs": [(verb, words.VERBS[verb], verb in words.DANGEROUS) for verb in possible],
            "can_edit": self.can_edit(request, job),
            "can_copy": self.can_copy(request, job),
            "asks": asked_for(id, examined.needs, with_args=with_args),
            "entries": [audit.shown(entry) for entry in audit.entries(id)[:20]],
        }
        return self.page(request, console, "job", context, title=job.short_task)

    def gone(self, request: HttpRequest, console: Console, id: str) -> HttpResponse:
        """A job that is not there, or not any more: what was done to it still is."""
        entries = [audit.shown(entry) for entry in audit.entries(id)[:20]]
        context = {"id": id, "entries": entries}
        return self.page(request, console, "gone", context, title=_("No such job"), status=404)


def places(request: HttpRequest, console: Console, id: str) -> Iterator[tuple[Console, str]]:
    """The backends and queues that may have a job.

    An id names no backend: queues of several have one number. Where the request names none, all
    are asked, so that a search and old entries of the log find their job.
    """
    is_named = "backend" in request.GET or "backend" in request.POST
    others = [] if is_named else redis_aliases()[1:]
    for place in (console, *map(Console, others)):
        if (queue := place.queue_of(id)) is not None:
            yield place, queue


def found(
    console: Console, wanted: Asked, names: list[str], states: list[Any], size: int = PAGE
) -> Page:
    """The jobs that were asked for; one round trip. ``size``: of a page that is no search."""
    if wanted.refused:
        return Page([], None)
    if not wanted.is_search and wanted.state is not None:
        return console.inspector.page(
            names, wanted.state, wanted.after, newest_first=wanted.newest_first, size=size
        )
    sizes = {
        (queue.name, state): queue.states[state] for queue in states for state in wanted.states
    }
    filter = wanted.filter
    page = console.inspector.search(sizes, filter.matches(), filter.head, filter.tail)
    rows = sorted(page.rows, key=lambda row: -(row.live.ended or row.live.started))
    now = time_of(states)
    right = (row for row in rows if filter.is_meant(row, console.broker.seals, now))
    return page._replace(rows=list(islice(right, MOST_FOUND + 1)))


def holders(workers: Sequence[Worker]) -> list[tuple[str, str]]:
    """The processes of the workers that stand, and what people call them."""
    return [
        (each.holder, f"{worker.record.host} {each.pid}")
        for worker in workers
        for each in worker.record.processes
    ][:MOST_HOLDERS]


def most_found(page: Page) -> int:
    """How many a search shows of more; 0 where it shows all."""
    is_part = page.is_part or len(page.rows) > MOST_FOUND
    return min(len(page.rows), MOST_FOUND) if is_part else 0


def listing(
    request: HttpRequest, console: Console, wanted: Asked, page: Page, counts: dict[State, int]
) -> dict[str, Any]:
    """What the table of jobs needs, on whichever page it stands."""
    after = page.after
    return {
        "asked": wanted,
        "fields": wanted.fields(),
        "jobs": [summary(row, console.broker.seals) for row in page.rows[:MOST_FOUND]],
        "most_found": most_found(page),
        "looked": page.looked,
        "is_search": wanted.is_search,
        "tabs": [(str(state), words.STATES[state], counts[state]) for state in TABS],
        "everything": sum(counts[state] for state in wanted.states),
        "after": f"{after.score}~{after.id}" if after else "",
        "verbs": acting.choices(request, wanted.states),
        "state": wanted.state_name,
        "is_mixed": wanted.state is None,
        "has_run": wanted.state in (*ENDED, State.RUNNING),
    }
