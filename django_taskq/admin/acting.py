"""Doing something to jobs: the one shown, those that were ticked, or all that match.

Each is a POST, asks for its own permission, and is written into the log. What cannot be undone, or
has to be told something, is confirmed on a page of its own; all that match are a job's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from .. import models
from ..broker.inspector import Row
from ..bulk import Order, decode_progress
from ..clock import to_ms
from ..exceptions import InvalidOption
from ..job import State
from ..operations import STATES, Done, Params, check
from ..tasks import enqueue_bulk
from . import log, rights, words
from .console import Console, time_of
from .screen import Screen, post_only
from .searching import CARRIED, Asked, asked, can_be_an_id

if TYPE_CHECKING:
    from ..bulk import Progress

MOST_TICKED = 500


class Actions(Screen):
    """The part of the jobs' screen that changes something."""

    @post_only
    def do_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Does it, or asks once more; back to where it was asked."""
        verb = request.POST.get("verb", "")
        if verb not in rights.OF_VERB:
            messages.warning(request, _("Choose what to do first."))
            return self.back(request, console)
        rights.demand(request, rights.OF_VERB[verb])
        ids = ticked(request)
        everything = "everything" in request.POST
        if everything and (trouble := unclear(asked(request))):
            messages.warning(request, trouble)
            return self.back(request, console)
        if not ids and not everything:
            messages.warning(request, _("Tick the jobs first."))
            return self.back(request, console)
        if needs_asking(request, verb, everything=everything):
            return self.confirm(request, console, verb, ids, everything=everything)
        try:
            params = told(request, verb)
            check(verb, params, list(console.conf.queues))
        except InvalidOption as error:
            messages.error(request, str(error))
            return self.confirm(request, console, verb, ids, everything=everything)
        if everything:
            return self.do_all(request, console, verb, params)
        return self.do_some(request, console, verb, params, ids)

    def confirm(
        self, request: HttpRequest, console: Console, verb: str, ids: list[str], *, everything: bool
    ) -> HttpResponse:
        """The page that says what will happen, and asks for what has to be known."""
        wanted = asked(request)
        open_queues = list(console.conf.queues) or console.queues
        context = {
            "verb": verb,
            "name": words.VERBS[verb],
            "explained": words.EXPLAINED[verb],
            "is_dangerous": verb in words.DANGEROUS,
            "ids": ids,
            "everything": everything,
            "fields": wanted.conditions() if everything else {},
            "asked": wanted,
            "queues": [queue for queue in open_queues if not everything or queue != wanted.queue],
            "given": request.POST,
            "back": request.POST.get("back", ""),
        }
        return self.page(request, console, "confirm", context, title=words.VERBS[verb])

    def do_some(
        self, request: HttpRequest, console: Console, verb: str, params: Params, ids: list[str]
    ) -> HttpResponse:
        """Does it to the jobs of these ids, now."""
        rows = rows_of(console, ids)
        told_ = {name: value for name, value in params._asdict().items() if value and name != "by"}
        things = [(row.id, row.id) for row in rows] or [(id, id) for id in ids]
        parts = len(rows) > 1 or verb == "move"
        with log.unsure(request, console, models.Job, things, verb, told_, parts=parts):
            done = console.operations.apply(verb, rows, params)
        done += Done({"unknown": len(ids) - len(rows)})
        log.note(request, console, models.Job, things, verb, told_, +done)
        say(request, verb, done)
        return self.back(request, console)

    def do_all(
        self, request: HttpRequest, console: Console, verb: str, params: Params
    ) -> HttpResponse:
        """Has a job do it to everything that matches, and shows how it goes."""
        wanted = asked(request)
        places = console.open_queues()
        states = [state for state in wanted.states if state in STATES[verb]]
        order = Order(
            verb,
            [wanted.queue] if wanted.queue else console.queues,
            states,
            wanted.filter,
            params,
            time_of(places),
        )
        said = {
            name: "…" if name in CARRIED else value  # the log has no value of an argument
            for name, value in wanted.conditions().items()
        }
        with log.unsure(request, console, models.Job, [], verb, {"all": said}):
            result = enqueue_bulk(console.alias, order, places)
        log.note(request, console, models.Job, [(result.id, result.id)], verb, {"all": said})
        messages.info(request, _("A job does it to everything that matches."))
        return self.go(console, "job_bulk")

    def back(self, request: HttpRequest, console: Console) -> HttpResponse:
        """To the job or the list that the form was on."""
        if request.POST.get("back") == "job" and (ids := ticked(request)):
            return self.go(console, "job_change", ids[0])
        return self.go(console, "job_changelist", **asked(request).fields())

    # -- work on many ----------------------------------------------------------------------------

    def bulk_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """How far the work on everything that matches has come; two round trips."""
        noted = console.inspector.tallies(console.queues)
        works = [
            (tally, progress)
            for tallies in noted.values()
            for tally in tallies
            if (progress := decode_progress(tally.text))
        ]
        works.sort(key=lambda work: -work[0].since)
        context = {"works": [work(tally.id, tally.since, said) for tally, said in works[:50]]}
        return self.page(request, console, "bulk", context, title=_("Work on many jobs"))


def unclear(wanted: Asked) -> str:
    """Why it is not clear what all that match are; "" where it is.

    A condition that is left out would let much more match.
    """
    if wanted.refused:
        return _("What was to be looked for was not understood.")
    return _("A job's id is no condition for all that match: tick that job.") if wanted.id else ""


def work(id: str, since: int, progress: Progress) -> dict[str, Any]:
    """One piece of such work, for its row."""
    share = 100 if progress.ended else 100 * progress.looked // max(progress.total, 1)
    return {
        "id": id,
        "since": since,
        "verb": words.VERBS.get(progress.verb, progress.verb),
        "by": progress.by,
        "share": min(share, 100),
        "total": progress.total,
        "looked": progress.looked,
        "ended": progress.ended,
        "outcome": words.outcome(progress.counts),
    }


def ticked(request: HttpRequest) -> list[str]:
    """The ids that a form names, each once."""
    return list(dict.fromkeys(filter(can_be_an_id, request.POST.getlist("job"))))[:MOST_TICKED]


def needs_asking(request: HttpRequest, verb: str, *, everything: bool) -> bool:
    """Whether a page has to ask first, and has not yet."""
    if "confirmed" in request.POST:
        return False
    return everything or verb in words.DANGEROUS or verb in words.NEEDS_FORM


def told(request: HttpRequest, verb: str) -> Params:
    """What the form says. Raises InvalidOption."""
    params = Params(by=request.user.get_username())
    if verb == "prioritize":
        try:
            return params._replace(priority=int(request.POST.get("priority", "")))
        except ValueError:
            raise InvalidOption(_("The priority must be a whole number.")) from None
    if verb == "move":
        return params._replace(queue=request.POST.get("queue_to", ""))
    if verb == "retry_at":
        return params._replace(due=due_of(request.POST.get("due", "")))
    return params


def due_of(text: str) -> int:
    """A time in the reader's time zone as ms. Raises InvalidOption."""
    try:
        moment: datetime | None = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidOption(_("Give a date and a time."))
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_current_timezone())
    return to_ms(moment)


def rows_of(console: Console, ids: list[str]) -> list[Row]:
    """The jobs of these ids that there are; a round trip per queue."""
    by_queue: dict[str, list[str]] = {}
    for id in ids:
        if (queue := console.queue_of(id)) is not None:
            by_queue.setdefault(queue, []).append(id)
    return [row for queue, some in by_queue.items() for row in console.inspector.peek(queue, some)]


def possible(request: HttpRequest, *states: State) -> list[str]:
    """What the user may do to jobs of these states, and what can be done to some of them."""
    return [verb for verb in rights.verbs(request) if STATES[verb] & {*states}]


def choices(request: HttpRequest, states: Sequence[State]) -> list[tuple[str, Any]]:
    """The same with their names."""
    return [(verb, words.VERBS[verb]) for verb in possible(request, *states)]


def say(request: HttpRequest, verb: str, done: Done) -> None:
    """Tells the user what became of it."""
    text = f"{words.VERBS[verb]}: {words.outcome(done)}."
    level = messages.SUCCESS if done["done"] or done["later"] else messages.WARNING
    messages.add_message(request, level, text)
