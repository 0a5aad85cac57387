"""What happened in the last hour, day, week or 90 days: charts, their numbers, and tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..broker.inspector import Look, Step
from ..clock import to_datetime
from ..counts import OTHERS, failures, quantile
from . import charts
from .charts import Series, short_time

MINUTE, TEN_MINUTES, HOUR, DAY = 60_000, 600_000, 3_600_000, 86_400_000  # ms
MOST_TASKS = 50  # of a queue's table
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


def context(period: Period, steps: Sequence[Step]) -> dict[str, Any]:
    """What the pages show of it."""
    whole: Counter[str] = Counter()
    for step in steps:
        whole.update(step.counters)
    names = [named(step.at, period) for step in steps]
    return {
        "periods": PERIODS,
        "period": period.name,
        "past": TaskRow("", "", whole),
        "charts": drawn(names, steps) if whole else [],
        "numbers": numbers(names, steps) if whole else [],
    }


def drawn(names: Sequence[str], steps: Sequence[Step]) -> list[Chart]:
    """The charts: what came of attempts, what failed, how long they waited, how long they ran."""
    succeeded = Series(_("succeeded"), "succeeded", [step.succeeded for step in steps])
    retried = Series(_("failed, tried again"), "retrying", [step.retried for step in steps])
    dead = Series(_("failed for good"), "dead", [step.dead for step in steps])
    cancelled = Series(_("cancelled"), "cancelled", [step.cancelled for step in steps])
    return [
        chart(charts.bars, _("Throughput"), names, [succeeded, retried, dead, cancelled]),
        chart(charts.bars, _("Failures"), names, [retried, dead]),
        chart(times, _("Wait before the first start"), names, quantiles(Step.wait, steps)),
        chart(times, _("Run time"), names, quantiles(Step.run, steps)),
    ]


def chart(
    draw: Callable[..., SafeString], title: str, names: Sequence[str], series: Sequence[Series]
) -> Chart:
    """A chart with its legend."""
    return Chart(title, draw(title, names, series), [(each.css, each.label) for each in series])


def times(title: str, names: Sequence[str], series: Sequence[Series]) -> SafeString:
    """Lines of times."""
    return charts.lines(title, names, series, log=True, say=short_time)


def quantiles(of: Callable[[Step, float], float | None], steps: Sequence[Step]) -> list[Series]:
    """The line that half of the jobs stayed below, and that of 95 in 100."""
    return [
        Series(_("p50: half stayed below"), "p50", [of(step, 0.5) for step in steps]),
        Series(_("p95: 95 of 100 stayed below"), "p95", [of(step, 0.95) for step in steps]),
    ]


def numbers(names: Sequence[str], steps: Sequence[Step]) -> list[tuple[Any, ...]]:
    """The same as a table, the newest first, without steps in which nothing happened."""
    return [
        (
            name,
            *(step.succeeded, step.retried, step.dead, step.cancelled),
            *(time_of(step.counters, what, share) for what in "wr" for share in (0.5, 0.95)),
        )
        for name, step in zip(reversed(names), reversed(steps), strict=True)
        if step.counters
    ]


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


def named(at: int, period: Period) -> str:
    """When a step began. Days are those of UTC."""
    if period.look.step >= DAY:
        return date_format(datetime.fromtimestamp(at / 1000, UTC), period.form)
    moment = to_datetime(at)
    assert moment is not None
    return date_format(timezone.localtime(moment) if moment.tzinfo else moment, period.form)
