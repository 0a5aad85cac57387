"""What happened in the last hour, day, week or 90 days: charts, their numbers, and tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..broker.inspector import Look, Step
from ..broker.inspector.history import DAY, HOUR, MINUTE, TEN_MINUTES
from ..broker.releases import Release
from ..clock import to_datetime
from ..counts import OTHERS, failures, quantile
from . import charts
from .charts import Mark, Series, short_time

MOST_TASKS = 50  # of a queue's table
MOST_RELEASES = 12  # that are named below the charts
KINDS = "SRDKQXC"  # outcomes that are attempts at their end, or jobs that are cancelled


class Period(NamedTuple):
    """How far back a page looks. ``form``: how its steps are named, as Django formats dates."""

    name: str
    label: str | Promise
    look: Look
    by_task: Look  # the same time in fewer steps
    form: str


PERIODS = [
    Period("", gettext_lazy("Hour"), Look(MINUTE, 60), Look(TEN_MINUTES, 6, True), "H:i"),
    Period("day", gettext_lazy("Day"), Look(TEN_MINUTES, 144), Look(HOUR, 24, True), "D H:i"),
    Period("week", gettext_lazy("Week"), Look(HOUR, 168), Look(DAY, 7, True), "D H:i"),
    Period("90-days", gettext_lazy("90 days"), Look(DAY, 90), Look(DAY, 90, True), "j M"),
]


class Chart(NamedTuple):
    """A drawing with its title and the names of its colours."""

    title: str
    drawing: SafeString
    legend: list[tuple[str, str]]


class TaskRow(NamedTuple):
    """A task and what its jobs came to. Times in ms; None: none was measured."""

    name: str
    label: str
    counters: Counter[str]

    @property
    def attempts(self) -> int:
        return attempts(self.counters)

    @property
    def failed(self) -> int:
        return failures(self.counters)

    @property
    def share(self) -> float:
        """Of a hundred attempts so many failed."""
        return 100 * self.failed / self.attempts if self.attempts else 0

    @property
    def run(self) -> float:
        """The ms that 95 of 100 ran at most; 0: none was measured."""
        return quantile(self.counters, "r", 0.95) or 0

    def times(self) -> list[str]:
        """How long they waited and ran: half of them, and 95 of 100."""
        return [time_of(self.counters, what, share) for what in "wr" for share in (0.5, 0.95)]

    @property
    def is_known(self) -> bool:
        """Whether it is one task."""
        return self.name not in ("", OTHERS)


def period_of(request: HttpRequest) -> Period:
    """The one that the request asks for, else the last hour."""
    wanted = request.GET.get("period", "")
    return next((period for period in PERIODS if period.name == wanted), PERIODS[0])


def context(
    period: Period, steps: Sequence[Step], releases: Sequence[Release] = ()
) -> dict[str, Any]:
    """What the pages show of it. ``releases``: all that are known, the oldest first."""
    whole: Counter[str] = Counter()
    for step in steps:
        whole.update(step.counters)
    names = [named(step.at, period) for step in steps]
    marks = marks_of(releases, period, steps)
    is_empty = not whole and not any(step.backlog for step in steps)
    return {
        "periods": PERIODS,
        "period": period.name,
        "past": TaskRow("", "", whole),
        "charts": [] if is_empty else drawn(names, steps, marks),
        "releases": [mark.text for mark in reversed(marks)][:MOST_RELEASES],
        "more_releases": max(len(marks) - MOST_RELEASES, 0),
        "numbers": numbers(names, steps),
        "has_backlog": has_backlog(steps),
    }


def marks_of(releases: Sequence[Release], period: Period, steps: Sequence[Step]) -> list[Mark]:
    """The releases that came within that time."""
    if not steps:
        return []
    first, length = steps[0].at, period.look.step * len(steps)
    text = _("Release %(release)s since %(time)s")
    return [
        Mark(
            (release.since - first) / length,
            text % {"release": release.name, "time": named(release.since, period)},
        )
        for release in releases
        if first <= release.since < first + length
    ]


def drawn(names: Sequence[str], steps: Sequence[Step], marks: Sequence[Mark]) -> list[Chart]:
    """The charts: what came of attempts, what failed, how long they waited, how long they ran."""

    def chart(draw: Callable[..., SafeString], title: str, series: Sequence[Series]) -> Chart:
        drawing = draw(title, names, series, marks=marks)
        return Chart(title, drawing, [(each.css, each.label) for each in series])

    succeeded = Series(_("succeeded"), "succeeded", [step.succeeded for step in steps])
    retried = Series(_("failed, tried again"), "retrying", [step.retried for step in steps])
    dead = Series(_("failed for good"), "dead", [step.dead for step in steps])
    cancelled = Series(_("cancelled"), "cancelled", [step.cancelled for step in steps])
    ready = Series(_("ready, on average"), "ready", [step.backlog for step in steps])
    backlog = [chart(charts.lines, _("Backlog"), [ready])] if has_backlog(steps) else []
    times = partial(charts.lines, log=True, say=short_time)
    return [
        chart(charts.bars, _("Throughput"), [succeeded, retried, dead, cancelled]),
        chart(charts.bars, _("Failures"), [retried, dead]),
        chart(times, _("Wait before the first start"), quantiles(Step.wait, steps)),
        chart(times, _("Run time"), quantiles(Step.run, steps)),
        *backlog,
    ]


def quantiles(of: Callable[[Step, float], float | None], steps: Sequence[Step]) -> list[Series]:
    """The line that half of the jobs stayed below, and that of 95 in 100."""
    return [
        Series(_("p50: half stayed below"), "p50", [of(step, 0.5) for step in steps]),
        Series(_("p95: 95 of 100 stayed below"), "p95", [of(step, 0.95) for step in steps]),
    ]


def numbers(names: Sequence[str], steps: Sequence[Step]) -> list[tuple[Any, ...]]:
    """The same as a table, the newest first, without steps in which nothing happened."""
    with_backlog = has_backlog(steps)
    return [
        (
            name,
            *(step.succeeded, step.retried, step.dead, step.cancelled),
            *(time_of(step.counters, what, share) for what in "wr" for share in (0.5, 0.95)),
            *([backlog_of(step)] if with_backlog else []),
        )
        for name, step in zip(reversed(names), reversed(steps), strict=True)
        if step.counters or step.backlog
    ]


def has_backlog(steps: Sequence[Step]) -> bool:
    """Whether anybody counted what was ready; of a single task nobody does."""
    return any(step.backlog is not None for step in steps)


def backlog_of(step: Step) -> str:
    """How many jobs were ready, as text."""
    return "–" if step.backlog is None else charts.short(step.backlog)


def time_of(counters: Mapping[str, int], what: str, share: float) -> str:
    """A quantile as text."""
    found = quantile(counters, what, share)
    return "–" if found is None else short_time(found)


def attempts(counters: Mapping[str, int]) -> int:
    """How many ended."""
    return sum(counters.get(kind, 0) for kind in KINDS)


def task_rows(found: Mapping[str, Counter[str]]) -> list[TaskRow]:
    """The tasks, the busiest first; what is no task's own at the end."""
    labels = {"": _("of no known task"), OTHERS: _("all other tasks")}
    rows = [TaskRow(name, labels.get(name, name), each) for name, each in found.items()]
    return sorted(rows, key=lambda row: (not row.is_known, -row.attempts, row.name))


def slowest(found: Mapping[str, Counter[str]], most: int = 5) -> list[TaskRow]:
    """The tasks whose attempts ran longest, by what 95 of 100 stayed below."""
    ran = [row for row in task_rows(found) if row.is_known and row.run]
    return sorted(ran, key=lambda row: -row.run)[:most]


def named(at: int, period: Period) -> str:
    """When a step began. Days are those of UTC."""
    if period.look.step >= DAY:
        return date_format(datetime.fromtimestamp(at / 1000, UTC), period.form)
    moment = to_datetime(at)
    assert moment is not None
    return date_format(timezone.localtime(moment) if moment.tzinfo else moment, period.form)
