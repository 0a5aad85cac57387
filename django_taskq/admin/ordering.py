"""Orders about schedules: run once, pause, go on, skip, and whether a row is switched on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from .. import models
from ..exceptions import BrokerError, DuplicateJob, TaskqError
from ..timetable import Status, Timetable
from . import log, pausing, rights, words
from .console import Console
from .screen import Screen, post_only, reason

ROWS = "taskq_schedules.schedule"
SWITCHES = {"enable": True, "disable": False}
DONE = {
    "run": lambda: _("Schedule %(name)s runs once, now."),
    "pause": lambda: _("Schedule %(name)s is paused."),
    "resume": lambda: _("Schedule %(name)s goes on."),
    "skip": lambda: _("Schedule %(name)s leaves its next run out."),
    "enable": lambda: _("Schedule %(name)s is switched on."),
    "disable": lambda: _("Schedule %(name)s is switched off."),
}


class Ordering(Screen):
    """The part of the schedules' screen that changes something."""

    @post_only
    def do_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Runs it, pauses it, lets it go on, or leaves its next run out."""
        name, order = unquote(object_id), request.POST.get("verb", "")
        if order not in rights.OF_ORDER:
            raise Http404(_("That cannot be done to a schedule."))
        rights.demand(request, rights.OF_ORDER[order])
        things, told = [(name, name)], said_of(request, order)
        try:
            with log.unsure(request, console, models.Schedule, things, order, told):
                came_to = carry_out(console.timetable, name, order, request)
        except DuplicateJob as error:
            messages.error(request, str(error))
            return self.back(request, console, name)
        except BrokerError:  # one of TaskqError, which every screen has a page for
            raise
        except (LookupError, TaskqError):  # what they say may quote an argument
            messages.error(request, _("This schedule is not there, or cannot be run."))
            return self.back(request, console, name)
        log.note(request, console, models.Schedule, things, order, told | came_to)
        messages.success(request, DONE[order]() % {"name": name})
        return self.back(request, console, name)

    @post_only
    def switch_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Switches a row on or off; workers see it at once."""
        name, order = unquote(object_id), request.POST.get("verb", "")
        if not may_switch(request):
            raise PermissionDenied
        row = row_named(name)
        if row is None or order not in SWITCHES:
            raise Http404(_("That cannot be done to a schedule."))
        row.enabled = SWITCHES[order]
        row.save(update_fields=["enabled", "changed_at"])
        log.note(request, console, models.Schedule, [(name, name)], order)
        messages.success(request, DONE[order]() % {"name": name})
        return self.back(request, console, name)

    def back(self, request: HttpRequest, console: Console, name: str) -> HttpResponse:
        """To its page; of one that is gone, to the list."""
        if not console.timetable.knows(name):
            return self.go(console, "schedule_changelist")
        return self.go(console, "schedule_change", name)


def said_of(request: HttpRequest, order: str) -> dict[str, str]:
    """What a form says of an order, for the log."""
    if order != "pause":
        return {}
    return {"why": reason(request), "minutes": str(pausing.minutes(request) or "")}


def carry_out(table: Timetable, name: str, order: str, request: HttpRequest) -> dict[str, str]:
    """Does it; what came of it, for the log. Raises LookupError, DuplicateJob, BrokerError."""
    if order == "run":
        return {"job": table.run(name).id}
    if order == "pause":
        seconds = 60 * pausing.minutes(request) or None
        by = request.user.get_username()
        table.pause(name, seconds, why=reason(request), by=by)
    else:
        {"resume": table.resume, "skip": table.skip}[order](name)
    return {}


# -- who may what ----------------------------------------------------------------------------------


def may_edit(request: HttpRequest, what: str) -> bool:
    """Whether the user may add or change rows, and there can be any."""
    # A row's form shows what its jobs carry.
    return has_right(request, what) and rights.may(request, rights.VIEW_ARGS)


def may_switch(request: HttpRequest) -> bool:
    """Whether the user may switch rows on and off, which shows nothing of them."""
    return has_right(request, "change")


def has_right(request: HttpRequest, what: str) -> bool:
    """Whether the user has one of Django's permissions for rows, and there can be any."""
    if not apps.is_installed("django_taskq.schedules") or not rights.may(request, rights.VIEW):
        return False
    return bool(request.user.has_perm(f"taskq_schedules.{what}_schedule"))


def orders(request: HttpRequest, status: Status) -> Iterable[tuple[str, Any]]:
    """What the user may do to a schedule that can be run, with its name."""
    steering = "resume" if status.paused else "pause"
    useless = set() if status.next and not status.skips_next else {"skip"}
    for order in ("run", "skip", steering):
        if order not in useless and rights.may(request, rights.OF_ORDER[order]):
            yield order, words.VERBS[order]


def switch(request: HttpRequest, status: Status) -> tuple[str, Any] | None:
    """Whether a schedule can be switched on or off by the user: the order, with its name."""
    if status.source != "database" or not may_switch(request):
        return None
    order = "disable" if status.enabled else "enable"
    return order, words.VERBS[order]


def row_named(name: str) -> Any:
    """The row of that name; None for none."""
    model: Any = apps.get_model(ROWS)
    return model.objects.filter(name=name).first()
