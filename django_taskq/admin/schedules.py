"""Schedules, from code and from rows: when they ran and will run, and orders about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from ..broker.almanac import Entry
from ..clock import now_ms, to_ms
from ..job import State
from ..periodic import Periodic, in_code
from ..schedule import Schedule, in_zone
from ..showing import Argument, shown_arguments
from ..timetable import CannotRun, Status
from . import clocks, rights, saying, words
from .console import Console
from .ordering import Ordering, may_edit, orders, row_named, switch
from .pausing import MINUTES

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

    @property
    def overrides(self) -> bool:
        """Whether it stands before one in code."""
        return self.status.source != "code" and in_code(self.status.name) is not None

    @property
    def paused_until(self) -> int:
        """ms, 0 for a pause without an end, and for none."""
        return to_ms(self.status.paused_until) if self.status.paused_until else 0

    @property
    def paused_since(self) -> int:
        """ms, 0 where that is unknown."""
        return to_ms(self.status.paused_since) if self.status.paused_since else 0


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


class ScheduleAdmin(Ordering):
    """``/admin/django_taskq/schedule/`` and ``schedule/NAME/change/``"""

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("<path:object_id>/change/", self.one_page, "change"),
            self.address("<path:object_id>/edit/", self.edit_page, "edit"),
            self.address("<path:object_id>/do/", self.do_page, "do"),
            self.address("<path:object_id>/switch/", self.switch_page, "switch"),
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
        except CannotRun as error:
            return self.broken_page(request, console, error.status)
        except LookupError:
            raise Http404(_("There is no schedule of that name.")) from None
        made, status = story.made, story.status
        jobs = {tick.detail for tick in story.ticks if has_job(tick)} | {status.job_id}
        states = console.inspector.states(by_queue((status.queue, id) for id in jobs))
        # Those of one that is paused too: when it would run.
        runs = made.schedule.next_runs(story.now, RUNS)
        context = {
            "line": line(status, states, with_args=True),
            "made": made,
            **bounds(made.schedule),
            "doc": first_line(made),
            "now": story.now,
            "runs": runs_from(runs),
            "changes": clocks.notes(made.schedule, story.now, runs),
            "ticks": [ticked(tick, states) for tick in story.ticks],
            "arguments": arguments(made),
            "orders": list(orders(request, status)),
            "minutes": MINUTES,
            **row_context(request, status),
        }
        title = _("Schedule %(name)s") % {"name": name}
        return self.page(request, console, "schedule", context, title=title)

    def broken_page(self, request: HttpRequest, console: Console, status: Status) -> HttpResponse:
        """What is wrong with one that cannot be run; Redis is not asked."""
        with_args = rights.may(request, rights.VIEW_ARGS)
        context = {
            "line": line(status, {}, with_args=with_args),
            "now": now_ms(),
            **row_context(request, status),
        }
        title = _("Schedule %(name)s") % {"name": status.name}
        return self.page(request, console, "schedule", context, title=title)

    def edit_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """To the form of its row; of one in code, to that of a row which stands before it."""
        name = unquote(object_id)
        if not apps.is_installed("django_taskq.schedules"):
            raise Http404(_("Rows need the app django_taskq.schedules."))
        row, site = row_named(name), self.admin_site.name
        if row is not None:
            url = reverse("admin:taskq_schedules_schedule_change", args=[row.pk], current_app=site)
            return redirect(url)
        url = reverse("admin:taskq_schedules_schedule_add", current_app=site)
        return redirect(f"{url}?{urlencode({'of': name})}")


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


def row_context(request: HttpRequest, status: Status) -> dict[str, Any]:
    """What a page says of the row that a schedule is, or could be."""
    is_row = status.source == "database"
    can_be = is_row or status.source == "code"  # what others describe no form is made from
    return {
        "is_row": is_row,
        "can_edit": can_be and may_edit(request, "change" if is_row else "add"),
        "can_copy": can_be and may_edit(request, "add"),
        "switch": switch(request, status),
    }


def first_line(made: Periodic) -> str:
    """The first line of what the task's function says of itself."""
    return (made.task.func.__doc__ or "").strip().partition("\n")[0]


def bounds(when: Schedule) -> dict[str, datetime | None]:
    """The first and the last moment that a tick may have, as clocks of its zone show them."""
    return {
        name: value and in_zone(value, when.zone)
        for name, value in (("start", when.start), ("end", when.end))
    }


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
