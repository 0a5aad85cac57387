"""Failures that are the same, as one: how often, since when, and what to do about all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import models
from ..broker.inspector.history import HOUR
from ..broker.triage import Decision
from ..frames import Fingerprint
from ..grouping import Group
from . import charts, log, rights, shared, words
from .console import Console, time_of
from .dashboard import decided, decided_jobs, newest_failures, total_of
from .screen import Screen, post_only, reason
from .searching import MOST_TEXT

NEWEST = 1_000  # failures that are looked at
MOST_SHOWN = 50  # groups
HOURS = 24  # that a curve shows
SPANS = ("hour", "day", "week")  # of words.SPANS, in which failures are counted
ALL = "all"  # the tab of all decisions
DONE = {
    "resolve": lambda: _("These failures count as resolved: %(exception)s."),
    "ignore": lambda: _("These failures are ignored: %(exception)s."),
    "reopen": lambda: _("These failures are open again: %(exception)s."),
}


class Lately(NamedTuple):
    """How often a group failed of late: (span of time, how many jobs), and a drawing of it."""

    counts: list[tuple[Any, int]]
    chart: SafeString


class FailureAdmin(Screen):
    """``/admin/django_taskq/failure/``"""

    def get_urls(self) -> list[URLPattern]:
        return [*super().get_urls(), self.address("do/", self.do_page, "do")]

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues, the newest failures with verdicts.

        ``tab``: a decision, OPEN if nothing is said, or ALL.
        """
        rows = shared.queue_rows(console.inspector.overview(console.queues), {})
        newest = newest_failures(console, rows, NEWEST)
        now = time_of([row.state for row in rows])
        groups = decided(newest, console, now)
        tab = tab_of(request.GET.get("tab", ""))
        shown = [group for group in groups if tab in (ALL, group.decision)]
        context = {
            "groups": [(group, lately(group, now)) for group in shown[:MOST_SHOWN]],
            "count": len(shown),
            "aside": len(groups) - len(shown) if tab == Decision.OPEN else 0,
            "tab": tab,
            "tabs": tabs(groups),
            "spans": words.IGNORED_FOR,
            "looked": newest.page.looked,
            "total": total_of(rows),
            "decided": decided_jobs(groups, rows, newest) if tab == Decision.OPEN else 0,
            "now": now,
        }
        return self.page(request, console, "failures", context)

    @post_only
    def do_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Resolves, ignores or reopens a group; back to the tab that the form was on."""
        rights.demand(request, rights.TRIAGE)
        group, verb = group_of(request), request.POST.get("verb", "")
        told, things = said_of(request, verb), [(str(group), str(group))]
        with log.unsure(request, console, models.Failure, things, verb, told):
            is_done = decide(request, console, group, verb, told)
        if is_done:
            log.note(request, console, models.Failure, things, verb, told)
            messages.success(request, DONE[verb]() % {"exception": group.exception})
        else:
            messages.warning(
                request, _("Somebody else has decided about these failures meanwhile: look again.")
            )
        return self.go(console, "failure_changelist", tab=tab_of(request.POST.get("tab", "")))


def said_of(request: HttpRequest, verb: str) -> dict[str, str]:
    """What a form says of a decision. Raises Http404 for what is none."""
    span = request.POST.get("span", "")
    if verb not in DONE or (verb == "ignore" and span not in words.IGNORED_FOR):
        raise Http404(_("That cannot be done to a failure."))
    return {"for": span, "why": reason(request)} if verb == "ignore" else {}


def decide(
    request: HttpRequest, console: Console, group: Fingerprint, verb: str, told: Mapping[str, str]
) -> bool:
    """Does it; whether it is done. Raises BrokerError."""
    seen, by = request.POST.get("seen", ""), request.user.get_username()
    if verb == "ignore":
        lasts = words.IGNORED_FOR[told["for"]][1]
        return console.triage.ignore(group, seen, by, told["why"], lasts)
    verdict = {"resolve": console.triage.resolve, "reopen": console.triage.reopen}[verb]
    return verdict(group, seen, by)


def group_of(request: HttpRequest) -> Fingerprint:
    """The group that a form names. Raises Http404 for what cannot be one."""
    said = request.POST
    group = Fingerprint(said.get("exception", ""), said.get("task", ""), said.get("place", ""))
    if not group.exception or any(len(part) > MOST_TEXT or "\0" in part for part in group):
        raise Http404(_("That cannot be done to a failure."))
    return group


def tab_of(name: str) -> str:
    """The tab of that name, else that of what is open."""
    return name if name in (*Decision, ALL) else Decision.OPEN


def tabs(groups: Sequence[Group]) -> list[tuple[str, Any, int]]:
    """(name, label, how many groups) of each tab."""
    made = [
        (str(decision), label, sum(group.decision is decision for group in groups))
        for decision, label in words.DECISIONS.items()
    ]
    return [*made, (ALL, _("All"), len(groups))]


def lately(group: Group, now: int) -> Lately:
    """When the jobs of a group failed. ``now``: ms of Redis' clock."""
    counts = [
        (label, group.since(now - round(span.total_seconds() * 1000)))
        for label, span in (words.SPANS[name] for name in SPANS)
    ]
    hours = per_hour(group, now)
    said = ngettext(
        "%(count)d job, at most %(most)d in an hour",
        "%(count)d jobs, at most %(most)d in an hour",
        sum(hours),
    ) % {"count": sum(hours), "most": max(hours)}
    title = _("Failures per hour of the last 24 hours")
    return Lately(counts, charts.spark(title, hours, said, "dead"))


def per_hour(group: Group, now: int) -> list[int]:
    """How many failed in each of the last hours, up to now."""
    hours = [0] * HOURS
    for member in group.members:
        ago = max(now - member.at, 0) // HOUR
        if ago < HOURS:
            hours[-1 - ago] += 1
    return hours
