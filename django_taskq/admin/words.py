"""Names in the reader's language: of states, verbs, and what became of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from ..broker.triage import FOR_GOOD, Decision
from ..job import State

STATES = {
    State.READY: _("ready"),
    State.RUNNING: _("running"),
    State.SCHEDULED: _("scheduled"),
    State.RETRYING: _("retrying"),
    State.WAITING: _("waiting"),
    State.DEAD: _("dead"),
    State.SUCCEEDED: _("succeeded"),
    State.CANCELLED: _("cancelled"),
}

VERBS = {
    "retry": _("Retry"),
    "retry_at": _("Run at a time"),
    "run": _("Run now"),
    "cancel": _("Cancel"),
    "kill": _("Kill"),
    "delete": _("Delete"),
    "prioritize": _("Change priority"),
    "move": _("Move to another queue"),
    "edit": _("Edit arguments"),
    "copy": _("Enqueue a copy"),
    "call": _("Enqueue"),
    "unlock": _("Release the lock"),
    "prune": _("Delete old rows"),
    "pause": _("Pause"),
    "resume": _("Resume"),
    "purge": _("Purge"),
    "limit": _("Change limit"),
    "unlimit": _("Give limit back to the code"),
    "skip": _("Skip next run"),
    "quiet": _("Quiet"),
    "restart": _("Restart"),
    "stop": _("Stop"),
    "stack": _("Show its stack now"),
    "enable": _("Switch on"),
    "disable": _("Switch off"),
    "add": _("Add"),
    "change": _("Change"),
    "fix": _("Mend"),
    "resolve": _("Resolve"),
    "ignore": _("Ignore"),
    "reopen": _("Reopen"),
}

# How long ago a job was enqueued at most, by the name that an address has.
SPANS = {
    "quarter": (_("last 15 minutes"), timedelta(minutes=15)),
    "hour": (_("last hour"), timedelta(hours=1)),
    "day": (_("last day"), timedelta(days=1)),
    "week": (_("last 7 days"), timedelta(days=7)),
    "month": (_("last 30 days"), timedelta(days=30)),
}

# What was decided about failures, as the tabs of their page have it.
DECISIONS = {
    Decision.OPEN: _("Open"),
    Decision.IGNORED: _("Ignored"),
    Decision.RESOLVED: _("Resolved"),
}

# For how long failures can be ignored, in ms, by the name that a form has.
IGNORED_FOR = {
    "hour": (_("1 hour"), 3_600_000),
    "day": (_("1 day"), 86_400_000),
    "week": (_("1 week"), 604_800_000),
    "ever": (_("until somebody reopens it"), FOR_GOOD),
}

# What a verb will do, said before it is done.
EXPLAINED = {
    "retry": _("They stand in line again at once, with all their attempts."),
    "retry_at": _("They run at the time you give, with all their attempts."),
    "run": _("They stand in line now, before their time."),
    "cancel": _(
        "What waits is cancelled at once. What runs is asked to stop, and is cancelled when its "
        "code has."
    ),
    "kill": _(
        "Their code is asked to stop. If it does not, its process is ended; what runs beside it in "
        "that process is run again."
    ),
    "delete": _(
        "Jobs that ended are gone for good. Jobs that have not started are cancelled and gone "
        "within seconds. Running jobs are left alone."
    ),
    "prioritize": _("Jobs of a higher priority go first. It stays when they are retried."),
    "move": _(
        "An id says which queue its job is in: each job gets a new id in the other queue, with its "
        "attempts from the start, and the old one is cancelled. Running and ended jobs stay."
    ),
}

# How a schedule stands, by the class of its badge.
STANDINGS = {
    "on": _("on"),
    "paused": _("paused"),
    "skips": _("skips its next run"),
    "off": _("switched off"),
    "broken": _("cannot be run"),
}

# What a worker does, by the state it reports.
WORKING = {"running": _("at work"), "quiet": _("quiet"), "stopping": _("stopping")}

# What became of a tick, by its letter; see almanac.OUTCOMES.
TICKS = {
    "N": _("enqueued"),
    "H": _("run by hand"),
    "O": _("skipped: the job before has not ended"),
    "K": _("skipped by hand"),
    "M": _("missed"),
    "E": _("its job was there before"),
    "U": _("skipped: another job has its lock"),
}

UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))

DANGEROUS = {"cancel", "kill", "delete", "purge"}
NEEDS_FORM = {"retry_at", "prioritize", "move"}

OUTCOMES = {
    "done": ngettext_lazy("%(count)s job done", "%(count)s jobs done", "count"),
    "later": ngettext_lazy(
        "%(count)s job goes within seconds", "%(count)s jobs go within seconds", "count"
    ),
    "refused": ngettext_lazy(
        "%(count)s job left alone: its state does not allow it, or another has its lock",
        "%(count)s jobs left alone: their state does not allow it, or others have their locks",
        "count",
    ),
    "unknown": ngettext_lazy("%(count)s job not there", "%(count)s jobs not there", "count"),
}


def outcome(counts: Mapping[str, Any]) -> str:
    """What became of jobs, in one line."""
    parts = [str(OUTCOMES[name] % {"count": counts[name]}) for name in OUTCOMES if counts.get(name)]
    return str(_(", ")).join(parts) or str(_("nothing to do"))


def duration(ms: float) -> str:
    """A length of time in its two largest units."""
    ms = max(float(ms or 0), 0)
    if ms < 1000:
        return gettext("%(number)d ms") % {"number": ms}
    if ms < 10_000 and ms % 1000:
        return gettext("%(number).1f s") % {"number": ms / 1000}
    names = {"d": gettext("d"), "h": gettext("h"), "min": gettext("min"), "s": gettext("s")}
    parts = []
    rest = int(ms)
    for size, unit in UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}\N{NO-BREAK SPACE}{names[unit]}")
        if len(parts) == 2 or (parts and size == 60_000 and number >= 10):
            break
    return " ".join(parts)


def state_named(value: str) -> State | None:
    """The state of that name; None for what is none."""
    try:
        return State(value)
    except ValueError:
        return None
