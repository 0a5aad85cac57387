"""Queues: how much is in them, who serves them, and pausing, resuming and purging."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import models
from ..broker.inspector import rota
from ..broker.releases import releases_in
from ..broker.steering import UNTIL_RESUMED
from ..bulk import Order
from ..codec import encode
from ..finding import Filter
from ..job import ENDED, State
from ..operations import STATES, Params
from ..tasks import enqueue_bulk
from . import log, past, rights, shared, words
from .console import Console, time_of
from .jobs import TABS, found, listing
from .limiting import Limiting, LimitRow
from .pace import RECENT
from .pausing import MINUTES, minutes
from .screen import post_only, reason
from .searching import asked

MOST_LIMITS = 100  # that a page shows
PURGEABLE = frozenset({*State} - {State.RUNNING})


class QueueAdmin(Limiting):
    """``/admin/django_taskq/queue/`` and ``queue/NAME/change/``"""

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("pause-all/", self.pause_all_page, "pause_all"),
            self.address("resume-all/", self.resume_all_page, "resume_all"),
            self.address("<path:object_id>/change/", self.queue_page, "change"),
            self.address("<path:object_id>/pause/", self.pause_page, "pause"),
            self.address("<path:object_id>/resume/", self.resume_page, "resume"),
            self.address("<path:object_id>/purge/", self.purge_page, "purge"),
            self.address("<path:object_id>/limit/", self.limit_page, "limit"),
        ]

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Two round trips: the queues' names, the queues."""
        seen = console.inspector.weighed_overview(console.queues, RECENT)
        overview, (recent,), memory = seen
        rows = shared.queue_rows(overview, dict(console.conf.queues), recent, memory)
        context = {
            "queues": rows,
            "with_memory": True,
            "running": [row.name for row in rows if not row.pause],
            "paused": [row.name for row in rows if row.pause],
            "minutes": MINUTES,
            "now": max((row.state.now for row in rows), default=0),
            "chart": shared.backlog_chart(rows) if rows else "",
            "legend": shared.legend(),
        }
        return self.page(request, console, "queues", context)

    def queue_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Three round trips: the queues' names, the queue, a page of its jobs."""
        name = console.known_queue(object_id)
        period = past.period_of(request)
        with_args = rights.may(request, rights.VIEW_ARGS)
        also = [console.releases.call()]
        if with_args:  # keys are made of arguments
            also.append(rota.call(console.broker, name))
        seen = console.inspector.closeup(name, period.look, period.by_task, also=also)
        overview, (history, tasks), memory, limits, (releases, *turns) = seen
        ((state, _note),) = overview
        (row,) = shared.queue_rows(overview, dict(console.conf.queues), memory=[memory])
        wanted = asked(request)._replace(
            queue=name, filter=Filter(), id="", q="", since="", refused=()
        )
        if "state" not in request.GET or wanted.state is None:
            wanted = wanted._replace(state=first_state(row))
        page = found(console, wanted, [name], [state])
        context = {
            **listing(request, console, wanted, page, state.states),
            "queue": row,
            "now": state.now,
            "alerts": list(shared.of_queue(row)),
            "minutes": MINUTES,
            "can_purge": wanted.state in PURGEABLE,
            "can_move": wanted.state in STATES["move"],
            "limits": [LimitRow(limit, with_args) for limit in limits.found[:MOST_LIMITS]],
            "more_limits": max(limits.total - len(limits.found[:MOST_LIMITS]), 0),
            "rota": rota.rota_in(turns[0]) if with_args else None,
            **past.context(period, period.look.steps(history), releases_in(releases)),
            "tasks": past.task_rows(period.by_task.tasks(tasks))[: past.MOST_TASKS],
        }
        title = _("Queue %(queue)s") % {"queue": name}
        return self.page(request, console, "queue", context, title=title)

    # -- steering --------------------------------------------------------------------------------

    @post_only
    def pause_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Pauses it, with a reason that everybody sees."""
        rights.demand(request, rights.PAUSE)
        name = console.known_queue(object_id)
        pause(request, console, [name], console.inspector.queue(name).now)
        messages.success(request, _("Queue %(queue)s is paused.") % {"queue": name})
        return self.go(console, "queue_change", name)

    @post_only
    def pause_all_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """The same of all queues that are not."""
        rights.demand(request, rights.PAUSE)
        states = console.inspector.queues(console.queues)
        names = [state.name for state in states if not state.paused]
        pause(request, console, names, time_of(states))
        messages.success(request, _("All queues are paused."))
        return self.go(console, "queue_changelist")

    @post_only
    def resume_all_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Lets all go on."""
        rights.demand(request, rights.PAUSE)
        states = console.inspector.queues(console.queues)
        resume(request, console, [state.name for state in states if state.paused])
        messages.success(request, _("All queues go on."))
        return self.go(console, "queue_changelist")

    @post_only
    def resume_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Lets it go on."""
        rights.demand(request, rights.PAUSE)
        name = console.known_queue(object_id)
        resume(request, console, [name])
        messages.success(request, _("Queue %(queue)s goes on.") % {"queue": name})
        return self.go(console, "queue_change", name)

    @post_only
    def purge_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Has a job delete everything of one state, once the queue's name was typed."""
        rights.demand(request, rights.PURGE)
        name = console.known_queue(object_id)
        state = state_to_purge(request)
        if request.POST.get("name", "") != name:
            if "confirmed" in request.POST:
                messages.error(request, _("That is not the queue's name: nothing was purged."))
            return self._ask(request, console, name, state)
        by = request.user.get_username()
        places = console.open_queues()
        order = Order("delete", [name], [state], Filter(), Params(by=by), time_of(places))
        told = {"state": str(state), "why": reason(request)}
        with log.unsure(request, console, models.Queue, [(name, name)], "purge", told):
            told["job"] = enqueue_bulk(console.alias, order, places).id
        log.note(request, console, models.Queue, [(name, name)], "purge", told)
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


def pause(request: HttpRequest, console: Console, names: list[str], now: int) -> None:
    """Pauses queues as a form says: why, and for how long. ``now``: by Redis' clock."""
    why, length = reason(request), minutes(request)
    until = now + length * 60_000 if length else UNTIL_RESUMED
    said = {"by": request.user.get_username(), "why": why, "since": now}
    things, told = [(name, name) for name in names], {"why": why, "minutes": str(length or "")}
    parts = len(names) > 1
    with log.unsure(request, console, models.Queue, things, "pause", told, parts=parts):
        console.steering.pause_all(names, encode(said), until)
    log.note(request, console, models.Queue, things, "pause", told)


def resume(request: HttpRequest, console: Console, names: list[str]) -> None:
    """Lets queues go on."""
    things, told = [(name, name) for name in names], {"why": reason(request)}
    parts = len(names) > 1
    with log.unsure(request, console, models.Queue, things, "resume", told, parts=parts):
        console.steering.resume_all(names)
    log.note(request, console, models.Queue, things, "resume", told)


def first_state(row: shared.QueueRow) -> State:
    """The tab that a queue's page opens with: the first that has jobs."""
    return next((state for state in TABS if row.count(state)), State.READY)


def state_to_purge(request: HttpRequest) -> State:
    """The state a form names. Raises Http404 for one that cannot be purged."""
    state = words.state_named(request.POST.get("state", ""))
    if state is None or state not in PURGEABLE:
        raise Http404(_("Jobs of this state cannot be purged."))
    return state
