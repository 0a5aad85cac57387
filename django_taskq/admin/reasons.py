"""Why a job does not run, in sentences: what a person would otherwise ask a colleague."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..broker.inspector import Examined
from ..job import ENDED, State
from ..showing import set_aside

SHORTLY = 1_000  # ms


class Reason(NamedTuple):
    """One sentence. ``level``: info, warning, or error for what a person has to mend.

    ``until``: a time (ms) that belongs to it, 0 for none.
    """

    level: str
    text: str
    until: int = 0


def reasons(examined: Examined, *, is_known: bool, with_args: bool) -> list[Reason]:
    """Everything that keeps a job from running; [] for one that runs or is over."""
    state = examined.stored.state
    if state is None or state in ENDED:
        return []
    if state is State.RUNNING:
        return list(of_running(examined))
    return [*of_job(examined, with_args=with_args), *of_queue(examined, is_known=is_known)]


def of_running(examined: Examined) -> Iterator[Reason]:
    """What is to be said of a job that runs."""
    standing = examined.standing
    if standing.stop == "kill":
        yield Reason(
            "warning", _("It is being killed: its process ends if its code does not stop.")
        )
    elif standing.stop:
        yield Reason("warning", _("It was asked to stop, and its code has not stopped yet."))
    if standing.lease is None or standing.lease <= standing.now:
        text = _("The process that ran it has lost its lease: it goes back in line shortly.")
        yield Reason("error", text)


def of_job(examined: Examined, *, with_args: bool) -> Iterator[Reason]:
    """What is in the job itself."""
    stored, now = examined.stored, examined.standing.now
    due = round(stored.due)
    if stored.state is State.SCHEDULED and due > now:
        yield Reason("info", _("It is not due yet."), due)
    elif stored.state is State.RETRYING and due > now:
        yield Reason("info", _("It failed and backs off before the next attempt."), due)
    elif stored.state in (State.SCHEDULED, State.RETRYING) and due < now - SHORTLY:
        yield Reason("error", _("It is due, and no worker keeps this queue's time."), due)
    elif stored.state is State.WAITING and not stored.live.note:
        yield Reason("info", _("It waits for room under its limits."))
    elif stored.state is State.WAITING:
        why = set_aside(stored.live) if with_args else ""  # it may quote an argument
        text = _("It is set aside: %(why)s.") % {"why": why} if why else _("It is set aside.")
        yield Reason("warning", f"{text} {_('A worker looks at it again.')}", due)
    elif stored.state is State.READY and examined.standing.ahead:
        ahead = examined.standing.ahead
        text = ngettext("%(count)d job goes before it.", "%(count)d jobs go before it.", ahead)
        yield Reason("info", text % {"count": ahead})


def of_queue(examined: Examined, *, is_known: bool) -> Iterator[Reason]:
    """What is in its queue, its workers and this project."""
    queue = examined.queue
    if examined.standing.paused:
        yield Reason("warning", _("Its queue is paused."))
    if queue.holders <= queue.lapsed:
        text = _("No worker serves its queue: none has taken a job from it, or all are gone.")
        yield Reason("error", text)
    if not is_known:
        text = _("This site knows no task of that name. A worker with the same code sets it aside.")
        yield Reason("warning", text)
