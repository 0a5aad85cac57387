"""Limits of a queue: their names and numbers in words, and the page that changes one."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import models
from ..broker.inspector import Gate, LimitState
from ..broker.steering import Limited
from ..limits import Limit
from . import log, rights
from .console import Console
from .limit_form import LimitForm
from .screen import Screen

MOST_KEYS = 5  # of a limit with many, the busiest
KINDS = ("task", "key")
LTR, POP = "\N{LEFT-TO-RIGHT ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"


class LimitRow(NamedTuple):
    """A limit as pages show it. ``with_args``: with its keys, which are made of arguments."""

    state: LimitState
    with_args: bool = False

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def kind(self) -> str:
        """Whose jobs it is for: of a task, of a key, or of the whole queue."""
        return kind_of(self.name)

    @property
    def label(self) -> str:
        return label_of(self.name)

    @property
    def numbers(self) -> str:
        return in_words(self.state.numbers)

    @property
    def of_code(self) -> str:
        return in_words(self.state.code)

    @property
    def gates(self) -> list[Gate]:
        """Those who share it, if there are several, or one of another name."""
        gates = self.state.gates
        return [] if [gate.name for gate in gates] == [self.name] else list(gates)

    @property
    def keys(self) -> list[tuple[str, Gate]]:
        """The busiest of them, where they may be seen."""
        if not self.with_args:
            return []
        busiest = sorted(self.gates, key=lambda gate: (-gate.waiting, -gate.inside, gate.name))
        return [(label_of(gate.name), gate) for gate in busiest[:MOST_KEYS]]

    @property
    def more_keys(self) -> int:
        """How many of them are not shown."""
        return len(self.gates) - len(self.keys)


class Limiting(Screen):
    """The part of the queues' screen that changes limits."""

    def limit_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """The numbers of one limit in a form, and what that changes; three round trips."""
        rights.demand(request, rights.EDIT_LIMITS)
        queue = console.known_queue(object_id)
        name = request.POST.get("limit") or request.GET.get("limit", "")
        state = console.inspector.limits(queue, [name]).get(name)
        if state is None:
            messages.error(request, _("No job of this queue ever came with that limit."))
            return self.go(console, "queue_change", queue)
        if request.method == "POST" and "release" in request.POST:
            why = " ".join(request.POST.get("why", "").split())[:500]
            return self._set(request, console, queue, state, None, why)
        form = LimitForm(
            request.POST if request.method == "POST" else None,
            initial=(state.numbers or Limit()).told(),
        )
        if form.is_valid():
            why = form.cleaned_data["why"]
            return self._set(request, console, queue, state, form.limit, why)
        context = {"form": form, "queue_name": queue, "limit": LimitRow(state)}
        return self.page(request, console, "limit", context, title=_("Change limit"))

    def _set(
        self,
        request: HttpRequest,
        console: Console,
        queue: str,
        state: LimitState,
        numbers: Limit | None,
        why: str,
    ) -> HttpResponse:
        told = {"limit": state.name, **(numbers or Limit()).told(), "why": why}
        verb = "unlimit" if numbers is None else "limit"
        with log.unsure(request, console, models.Queue, [(queue, queue)], verb, told):
            done = console.steering.limit(queue, state.name, numbers)
        log.note(request, console, models.Queue, [(queue, queue)], verb, told)
        messages.success(request, outcome_of(LimitRow(state), numbers, done))
        return self.go(console, "queue_change", queue)


def outcome_of(limit: LimitRow, numbers: Limit | None, done: Limited) -> str:
    """What became of it, in a sentence or two."""
    said = {"limit": limit.label, "numbers": in_words(numbers or limit.state.code)}
    if numbers is None:
        text = _("Limit %(limit)s goes by the code again: %(numbers)s.") % said
    else:
        text = _("Limit %(limit)s: %(numbers)s.") % said
    if not done.let_in:
        return text
    let_in = ngettext(
        "%(count)d job that waited is let in.",
        "%(count)d jobs that waited are let in.",
        done.let_in,
    )
    return f"{text} {let_in % {'count': done.let_in}}"


def kind_of(name: str) -> str:
    """The kind of a limit or a gate."""
    kind, colon, _rest = name.partition(":")
    return kind if colon and kind in KINDS else "queue"


def label_of(name: str) -> str:
    """What a limit or a gate is called, without its kind."""
    return name.partition(":")[2] if kind_of(name) != "queue" else _("whole queue")


def in_words(limit: Limit | None) -> str:
    """Numbers for a reader."""
    if limit is None:
        return _("cannot be read")
    parts = []
    if limit.concurrency is not None:
        text = ngettext("%(count)d at once", "%(count)d at once", limit.concurrency)
        parts.append(text % {"count": limit.concurrency})
    if limit.rate is not None:
        parts.append(f"{LTR}{limit.rate.text}{POP}")
        if limit.rate.burst is not None:
            parts.append(_("burst %(count)d") % {"count": limit.rate.burst})
    return _(", ").join(parts) or _("no limit")
