"""Queues: how much is in them, who serves them, and pausing, resuming and purging."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import models
from ..broker.steering import UNTIL_RESUMED
from ..bulk import Order
from ..clock import now_ms
from ..codec import encode
from ..finding import Filter
from ..job import ENDED, State
from ..operations import Params
from ..tasks import enqueue_bulk
from . import log, past, rights, shared, words
from .console import Console
from .jobs import TABS, found, listing
from .screen import Screen, post_only
from .searching import asked

MINUTES = (15, 60, 240, 1440)  # after which a pause may end by itself
PURGEABLE = frozenset({*State} - {State.RUNNING})


class QueueAdmin(Screen):
    """``/admin/django_taskq/queue/`` and ``queue/NAME/change/``"""

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("<path:object_id>/change/", self.queue_page, "change"),
            self.address("<path:object_id>/pause/", self.pause_page, "pause"),
            self.address("<path:object_id>/resume/", self.resume_page, "resume"),
            self.address("<path:object_id>/purge/", self.purge_page, "purge"),
        ]

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Two round trips: the queues' names, the queues."""
        overview = console.inspector.overview(console.queues)
        rows = shared.queue_rows(overview, dict(console.conf.queues))
        context = {
            "queues": rows,
            "now": max((row.state.now for row in rows), default=0),
            "chart": shared.backlog_chart(rows) if rows else "",
            "legend": shared.legend(),
        }
        return self.page(request, console, "queues", context)

    def queue_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Three round trips: the queues' names, the queue, a page of its jobs."""
        name = known(console, object_id)
        period = past.period_of(request)
        asked_for = (period.look, period.by_task)
        overview, (history, tasks) = console.inspector.overview_with_past([name], *asked_for)
        ((state, note),) = overview
        (row,) = shared.queue_rows([(state, note)], dict(console.conf.queues))
        wanted = asked(request)._replace(queue=name, filter=Filter(), id="", q="")
        wanted = wanted if "state" in request.GET else wanted._replace(state=first_state(row))
        page = found(console, wanted, [name], [state])
        context = {
            **listing(request, console, wanted, page, state.states),
            "queue": row,
            "now": state.now,
            "alerts": list(shared.of_queue(row)),
            "minutes": MINUTES,
            "can_purge": wanted.state in PURGEABLE,
            **past.context(period, period.look.steps(history)),
            "tasks": past.task_rows(period.by_task.tasks(tasks))[: past.MOST_TASKS],
        }
        title = _("Queue %(queue)s") % {"queue": name}
        return self.page(request, console, "queue", context, title=title)

    # -- steering --------------------------------------------------------------------------------

    @post_only
    def pause_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Pauses it, with a reason that everybody sees."""
        rights.demand(request, rights.PAUSE)
        name = known(console, object_id)
        why = " ".join(request.POST.get("why", "").split())[:500]
        minutes = request.POST.get("minutes", "")
        until = UNTIL_RESUMED
        if minutes.isdigit() and int(minutes) in MINUTES:
            until = now_ms() + int(minutes) * 60_000
        said = {"by": request.user.get_username(), "why": why, "since": now_ms()}
        console.steering.pause(name, encode(said), until)
        told = {"why": why, "minutes": minutes if until != UNTIL_RESUMED else ""}
        log.note(request, models.Queue, [(name, name)], "pause", told)
        messages.success(request, _("Queue %(queue)s is paused.") % {"queue": name})
        return self.go(console, "queue_change", name)

    @post_only
    def resume_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Lets it go on."""
        rights.demand(request, rights.PAUSE)
        name = known(console, object_id)
        console.steering.resume(name)
        log.note(request, models.Queue, [(name, name)], "resume")
        messages.success(request, _("Queue %(queue)s goes on.") % {"queue": name})
        return self.go(console, "queue_change", name)

    @post_only
    def purge_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Has a job delete everything of one state, once the queue's name was typed."""
        rights.demand(request, rights.PURGE)
        name = known(console, object_id)
        state = state_to_purge(request)
        if request.POST.get("name", "") != name:
            if "confirmed" in request.POST:
                messages.error(request, _("That is not the queue's name: nothing was purged."))
            return self._ask(request, console, name, state)
        by = request.user.get_username()
        order = Order("delete", [name], [state], Filter(), Params(by=by), now_ms())
        paused = tuple(q.name for q in console.inspector.queues(console.queues) if q.paused)
        result = enqueue_bulk(console.alias, order, paused)
        told = {"state": str(state), "job": result.id}
        log.note(request, models.Queue, [(name, name)], "purge", told)
        messages.info(request, _("A job purges queue %(queue)s.") % {"queue": name})
        return self.go(console, "job_bulk")

    def _ask(self, request: HttpRequest, console: Console, name: str, state: State) -> HttpResponse:
        counted = console.inspector.queue(name).states[state]
        context: dict[str, Any] = {
            "queue_name": name,
            "state": str(state),
            "state_name": words.STATES[state],
            "count": counted,
            "is_ended": state in ENDED,
        }
        return self.page(request, console, "purge", context, title=_("Purge"))


def known(console: Console, object_id: str) -> str:
    """The queue of an address. Raises Http404."""
    name = unquote(object_id)
    if name not in console.queues:
        raise Http404(_("There is no queue of that name."))
    return name


def first_state(row: shared.QueueRow) -> State:
    """The tab that a queue's page opens with: the first that has jobs."""
    return next((state for state in TABS if row.count(state)), State.READY)


def state_to_purge(request: HttpRequest) -> State:
    """The state a form names. Raises Http404 for one that cannot be purged."""
    state = words.state_named(request.POST.get("state", ""))
    if state is None or state not in PURGEABLE:
        raise Http404(_("Jobs of this state cannot be purged."))
    return state
