"""Schedules, from code and from rows: when they ran and will run, and orders about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from .. import models
from ..broker.almanac import Entry
from ..clock import now_ms, to_ms
from ..exceptions import BrokerError, DuplicateJob, TaskqError
from ..job import State
from ..periodic import Periodic
from ..showing import Argument, shown_arguments
from ..timetable import Status, Story
from . import log, rights, saying, words
from .console import Console
from .screen import Screen, post_only

ROWS = "taskq_schedules.schedule"
RUNS = 5  # next runs that a page shows
LOSES_ARGUMENTS = "args"  # how an error about arguments begins, see periodic.check_arguments


class Line(NamedTuple):
    """A schedule in a list. Times in ms, 0 for none; ``outcome``: state of the last one's job."""

    status: Status
    standing: str
    words: str
    last: int
    next: int
    outcome: State | None
    problem: str

    @property
    def standing_name(self) -> str:
        return str(words.STANDINGS[self.standing])


class Run(NamedTuple):
    """A moment in the schedule's zone, and in the reader's."""

    there: datetime
    here: datetime


class Ticked(NamedTuple):
    """A line of the history: when it was due (0: it was not), what it came to, its job's state."""

    due: int
    at: int
    words: str
    missed: str
    job_id: str
    outcome: State | None


class ScheduleAdmin(Screen):
    """``/admin/django_taskq/schedule/`` and ``schedule/NAME/change/``"""

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("<path:object_id>/change/", self.one_page, "change"),
            self.address("<path:object_id>/edit/", self.edit_page, "edit"),
            self.address("<path:object_id>/do/", self.do_page, "do"),
        ]

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Two round trips: how far they are, and what became of their last jobs."""
        text = request.GET.get("q", "")[:200]
        part = console.timetable.page(text, request.GET.get("after", "")[:200])
        ids = [(status.queue, status.job_id) for status in part.rows]
        states = console.inspector.states(by_queue(ids))
        with_args = rights.may(request, rights.VIEW_ARGS)
        context = {
            "lines": [line(status, states, with_args=with_args) for status in part.rows],
            "now": part.now or now_ms(),
            "q": text,
            "after": part.after,
            "may_add": may_edit(request, "add"),
        }
        return self.page(request, console, "schedules", context)

    def one_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Two round trips, as the list."""
        name = unquote(object_id)
        try:
            story = console.timetable.look(name)
        except LookupError:
            return self.broken_page(request, console, name)
        made, status = story.made, story.status
        jobs = {tick.detail for tick in story.ticks if has_job(tick)} | {status.job_id}
        states = console.inspector.states(by_queue((status.queue, id) for id in jobs))
        context = {
            "line": line(status, states, with_args=True),
            "made": made,
            "doc": first_line(made),
            "now": story.now,
            "runs": runs_of(story),
            "zone": timezone.get_current_timezone_name(),
            "ticks": [ticked(tick, states) for tick in story.ticks],
            "arguments": arguments(made),
            "orders": list(orders(request, status)),
            "can_edit": may_edit(request, "change" if is_row(made) else "add"),
            "is_row": is_row(made),
        }
        title = _("Schedule %(name)s") % {"name": name}
        return self.page(request, console, "schedule", context, title=title)

    def broken_page(self, request: HttpRequest, console: Console, name: str) -> HttpResponse:
        """What is wrong with one that cannot be run. Raises Http404 where there is none."""
        found = [row for row in console.timetable.page(name).rows if row.name == name]
        if not found:
            raise Http404(_("There is no schedule of that name."))
        with_args = rights.may(request, rights.VIEW_ARGS)
        context = {
            "line": line(found[0], {}, with_args=with_args),
            "now": now_ms(),
            "can_edit": may_edit(request, "change"),
            "is_row": True,
        }
        title = _("Schedule %(name)s") % {"name": name}
        return self.page(request, console, "schedule", context, title=title)

    def edit_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """To the form of its row; of one in code, to that of a row which stands before it."""
        name = unquote(object_id)
        if not apps.is_installed("django_taskq.schedules"):
            raise Http404(_("Rows need the app django_taskq.schedules."))
        model: Any = apps.get_model(ROWS)
        pk = model.objects.filter(name=name).values_list("pk", flat=True).first()
        site = self.admin_site.name
        if pk is not None:
            url = reverse("admin:taskq_schedules_schedule_change", args=[pk], current_app=site)
            return redirect(url)
        url = reverse("admin:taskq_schedules_schedule_add", current_app=site)
        return redirect(f"{url}?{urlencode({'of': name})}")

    # -- steering --------------------------------------------------------------------------------

    @post_only
    def do_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Runs it, pauses it, lets it go on, or leaves its next run out."""
        name, order = unquote(object_id), request.POST.get("verb", "")
        if order not in rights.OF_ORDER:
            raise Http404(_("That cannot be done to a schedule."))
        rights.demand(request, rights.OF_ORDER[order])
        try:
            told = carry_out(console, name, order)
        except DuplicateJob as error:
            messages.error(request, str(error))
            return self.back(request, console, name)
        except BrokerError as error:
            if getattr(error, "maybe_sent", False):
                log.note(request, models.Schedule, [(name, name)], order, {}, {"unsure": 1})
            raise
        except (LookupError, TaskqError):  # what they say may quote an argument
            messages.error(request, _("This schedule is not there, or cannot be run."))
            return self.back(request, console, name)
        log.note(request, models.Schedule, [(name, name)], order, told)
        messages.success(request, DONE[order]() % {"name": name})
        return self.back(request, console, name)

    def back(self, request: HttpRequest, console: Console, name: str) -> HttpResponse:
        """To its page; of one that is gone, to the list."""
        if not console.timetable.knows(name):
            return self.go(console, "schedule_changelist")
        return self.go(console, "schedule_change", quote(name))


DONE = {
    "run": lambda: _("Schedule %(name)s runs once, now."),
    "pause": lambda: _("Schedule %(name)s is paused."),
    "resume": lambda: _("Schedule %(name)s goes on."),
    "skip": lambda: _("Schedule %(name)s leaves its next run out."),
}


def carry_out(console: Console, name: str, order: str) -> dict[str, str]:
    """Does it; what the log says beside. Raises LookupError, DuplicateJob, BrokerError."""
    table = console.timetable
    if order == "run":
        return {"job": table.run(name).id}
    steps = {"pause": table.pause, "resume": table.resume, "skip": table.skip}
    steps[order](name)
    return {}


def may_edit(request: HttpRequest, what: str) -> bool:
    """Whether the user may add or change rows, and there can be any."""
    if not apps.is_installed("django_taskq.schedules"):
        return False
    needed = (rights.VIEW, rights.VIEW_ARGS)  # a row's form shows what its jobs carry
    is_allowed = request.user.has_perm(f"taskq_schedules.{what}_schedule")
    return is_allowed and all(rights.may(request, name) for name in needed)


def orders(request: HttpRequest, status: Status) -> Iterable[tuple[str, Any]]:
    """What the user may do to a schedule that can be run, with its name."""
    steering = "resume" if status.paused else "pause"
    useless = set() if status.next and not status.skips_next else {"skip"}
    for order in ("run", steering, "skip"):
        if order not in useless and rights.may(request, rights.OF_ORDER[order]):
            yield order, words.VERBS[order]


def line(status: Status, states: dict[str, State], *, with_args: bool) -> Line:
    """A schedule as lists show it."""
    problem = status.problem
    if problem.startswith(LOSES_ARGUMENTS) and not with_args:
        problem = _("its arguments do not fit its task")
    return Line(
        status,
        standing(status),
        saying.in_words(status.expression),
        to_ms(status.last) if status.last else 0,
        to_ms(status.next) if status.next else 0,
        states.get(status.job_id),
        problem,
    )


def standing(status: Status) -> str:
    """How it stands, as words.STANDINGS has it."""
    if status.problem:
        return "broken"
    if not status.enabled:
        return "off"
    if status.paused:
        return "paused"
    return "skips" if status.skips_next else "on"


def is_row(made: Periodic) -> bool:
    """Whether a row of the database says it."""
    return made.source == "database"


def first_line(made: Periodic) -> str:
    """The first line of what the task's function says of itself."""
    return (made.task.func.__doc__ or "").strip().partition("\n")[0]


def has_job(tick: Entry) -> bool:
    """Whether the detail of a tick is the id of its job."""
    return "." in tick.detail


def by_queue(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Ids by their queues; empty ones are left out."""
    found: dict[str, list[str]] = {}
    for queue, id in pairs:
        if id:
            found.setdefault(queue, []).append(id)
    return found


def runs_of(story: Story) -> list[Run]:
    """Its next runs, those of one that is paused too: when it would run."""
    return runs_from(story.made.schedule.next_runs(story.now, RUNS))


def runs_from(moments: Sequence[datetime]) -> list[Run]:
    """The same moments for the reader."""
    return [Run(moment, timezone.localtime(moment)) for moment in moments]


def ticked(tick: Entry, states: dict[str, State]) -> Ticked:
    """A line of a history."""
    id = tick.detail if has_job(tick) else ""
    said = str(words.TICKS.get(tick.letter, tick.letter))
    missed = "" if id else tick.detail
    return Ticked(tick.due, tick.at, said, missed, id, states.get(id))


def arguments(made: Periodic) -> list[Argument]:
    """What its jobs carry, without what is sensitive."""
    return shown_arguments(made.task, *made.task.signature.dump(made.args, made.kwargs))
