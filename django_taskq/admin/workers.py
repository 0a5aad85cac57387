"""The processes that run jobs, as far as Redis knows them: their leases, and what each runs."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import models
from ..broker.inspector import QueueState
from ..broker.roster import Process as Child
from ..broker.roster import Worker
from ..job import State
from ..showing import Summary, summary
from . import log, rights, shared, words
from .console import MOST_QUEUES, Console
from .screen import Screen, post_only

SILENCE = 5_000  # ms; a process that says nothing for longer does not answer
MOST_RUNNING = 300  # jobs that the page shows


class Process(NamedTuple):
    """A process that holds leases. ``left``: ms until the first of them ends."""

    id: str
    left: int
    queues: list[str]
    jobs: list[Summary]

    @property
    def is_lapsed(self) -> bool:
        return self.left <= 0


class WorkerAdmin(Screen):
    """``/admin/django_taskq/worker/``"""

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues and the workers, what runs."""
        states, (now, workers) = console.inspector.manned(console.queues[:MOST_QUEUES])
        names = [state.name for state in states]
        running = console.inspector.page(names, State.RUNNING, size=MOST_RUNNING)
        jobs = [summary(row, console.broker.seals) for row in running.rows]
        found = processes(states, jobs)
        known = {each.holder for worker in workers for each in worker.record.processes}
        context = {
            "crews": [crew(worker, found, now) for worker in workers],
            "processes": [each for each in found if each.id not in known],
            "orders": orders(request),
            "shown": len(jobs),
            "running": sum(state.states[State.RUNNING] for state in states),
            "now": now,
            "orphans": orphans(states, jobs),
            "silence": SILENCE,
        }
        return self.page(request, console, "workers", context)

    # -- orders ----------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("<path:object_id>/change/", self.one_page, "change"),
            self.address("<path:object_id>/do/", self.do_page, "do"),
        ]

    def one_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """One worker, and where its code was when somebody asked; two round trips.

        ``since``: when that was asked for, by Redis' clock.
        """
        id = unquote(object_id)
        now, workers = console.roster.workers()
        worker = next((worker for worker in workers if worker.id == id), None)
        may_see = rights.may(request, rights.OF_WORKER["stack"])
        members = worker.record.processes if worker else []
        told = console.roster.told([each.holder for each in members]) if may_see else {}
        since = request.GET.get("since", "")
        asked = int(since) if since.isascii() and since.isdecimal() and len(since) < 15 else 0
        context = {
            "id": id,
            "crew": crew(worker, [], now) if worker else None,
            "orders": orders(request),
            "now": now,
            "asked": asked,
            "stacks": [stack(each, told.get(each.holder), asked, now) for each in members],
            "may_see": may_see,
        }
        title = _("Worker %(name)s") % {"name": worker.name if worker else id}
        return self.page(request, console, "worker", context, title=title)

    @post_only
    def do_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Tells a worker something. It is not waited for: its next report says what it does."""
        id, order = unquote(object_id), request.POST.get("verb", "")
        if order not in rights.OF_WORKER:
            raise Http404(_("A worker cannot be told that."))
        rights.demand(request, rights.OF_WORKER[order])
        now, workers = console.roster.workers()
        worker = next((worker for worker in workers if worker.id == id), None)
        things = [(id, worker.name)] if worker else []
        with log.unsure(request, console, models.Worker, things, order):
            is_told = bool(worker) and console.roster.order(id, order)
        if worker is None or not is_told:
            messages.error(request, _("This worker is gone, or does not listen."))
            return self.go(console, "worker_changelist")
        log.note(request, console, models.Worker, things, order)
        told = TOLD[order]() % {"name": worker.name}
        doubts = [alert.text for alert in shared.of_worker(worker)]
        say = messages.warning if doubts else messages.success
        say(request, " ".join([told, *doubts]))
        return self.go(console, "worker_change", id, since=str(now) if order == "stack" else "")


TOLD = {
    "quiet": lambda: _("Worker %(name)s was told to take no more jobs."),
    "resume": lambda: _("Worker %(name)s was told to take jobs again."),
    "restart": lambda: _("Worker %(name)s was told to start anew; it comes back as another."),
    "stop": lambda: _("Worker %(name)s was told to stop."),
    "stack": lambda: _("Worker %(name)s was asked where its code is."),
}


class Crew(NamedTuple):
    """A worker with what its processes run. ``members``: each with what Redis knows of it."""

    worker: Worker
    members: list[tuple[Child, Process | None]]
    now: int

    @property
    def reported(self) -> int:
        """When it said this (ms)."""
        return self.now - (self.worker.age or 0)

    @property
    def state_name(self) -> str:
        state = self.worker.record.state
        return str(words.WORKING.get(state, state))


class Stack(NamedTuple):
    """Where a process's code was (``at``, 0: it never said). ``is_silent``: it does not answer."""

    child: Child
    at: int
    text: str
    is_awaited: bool
    is_silent: bool


def crew(worker: Worker, found: list[Process], now: int) -> Crew:
    """A worker for its card. ``now``: ms, by Redis' clock."""
    by_id = {process.id: process for process in found}
    members = [(each, by_id.get(each.holder)) for each in worker.record.processes]
    return Crew(worker, members, now)


def stack(child: Child, told: tuple[int, str] | None, asked: int, now: int) -> Stack:
    """What a process said, and whether it has answered what was asked."""
    at, text = told or (0, "")
    is_missing = bool(asked) and at < asked
    is_silent = is_missing and now - asked > SILENCE
    return Stack(child, at, text, is_missing and not is_silent, is_silent)


def orders(request: HttpRequest) -> list[tuple[str, Any]]:
    """What the user may tell workers."""
    return [
        (order, words.VERBS[order])
        for order, permission in rights.OF_WORKER.items()
        if rights.may(request, permission)
    ]


def processes(states: list[QueueState], jobs: list[Summary]) -> list[Process]:
    """Who holds leases, the busiest first, with what each runs."""
    found: dict[str, Process] = {}
    for state in states:
        for holder in state.page:
            known = found.get(holder.id)
            if known is None:
                found[holder.id] = Process(holder.id, holder.left, [state.name], [])
            else:
                known.queues.append(state.name)
                found[holder.id] = known._replace(left=min(known.left, holder.left))
    for job in jobs:
        if job.live.holder in found:
            found[job.live.holder].jobs.append(job)
    return sorted(found.values(), key=lambda each: (-len(each.jobs), each.id))


def orphans(states: list[QueueState], jobs: list[Summary]) -> list[Summary]:
    """What runs in a process that has no lease: the next reaper takes it back."""
    known = {holder.id for state in states for holder in state.page}
    whole = all(state.holders == len(state.page) for state in states)
    return [job for job in jobs if whole and job.live.holder not in known]
