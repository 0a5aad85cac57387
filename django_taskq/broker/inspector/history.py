"""What happened per minute, hour or day: what attempts came to, how long they waited and ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ...clock import now_ms
from ...counts import failures, parse, quantile
from ..broker import Broker
from ..calls import Call
from ..replies import text

MINUTE, TEN_MINUTES, HOUR, DAY = 60_000, 600_000, 3_600_000, 86_400_000  # ms
SPANS = {DAY: ("d", 90), HOUR: ("h", 2160), TEN_MINUTES: ("t", 144), MINUTE: ("m", 1440)}
OPEN = "@"  # the field that says which minute is open
READY, TIMES = "B", "N"  # of a queue: the sum of its ready jobs, and how often they were counted


class Step(NamedTuple):
    """What happened in one step of time.

    ``at``: ms, its beginning; ``counters``: see counts.py; ``backlog``: jobs that were ready, on
    average, None where nobody counted them.
    """

    at: int
    counters: Counter[str]
    backlog: float | None = None

    @property
    def succeeded(self) -> int:
        return self.counters["S"]

    @property
    def retried(self) -> int:
        """Failed, and run again."""
        return self.counters["R"] + self.counters["X"]

    @property
    def dead(self) -> int:
        """Failed for good."""
        return failures(self.counters) - self.retried

    @property
    def cancelled(self) -> int:
        return self.counters["C"]

    def wait(self, share: float) -> float | None:
        """The ms that ``share`` of the jobs waited at most before they first ran; None: no job."""
        return quantile(self.counters, "w", share)

    def run(self, share: float) -> float | None:
        """The same of how long attempts ran."""
        return quantile(self.counters, "r", share)


class Look(NamedTuple):
    """``number`` steps of ``step`` ms up to now, as far back as is kept of them.

    ``step``: a multiple of a minute; minutes and tens of them are kept for a day, hours and days
    for 90. ``by_task``: the tasks each, not all in one; ``task``: of those that one alone.
    """

    step: int
    number: int
    by_task: bool = False
    task: str = ""

    @property
    def span(self) -> int:
        """The longest kept span that the steps are made of, ms."""
        return next(span for span in SPANS if not self.step % span)

    def call(self, broker: Broker, queue: str) -> Call:
        """As it is sent to one queue."""
        most = self.number * (self.step // self.span)
        args = (SPANS[self.span][0], most, int(self.by_task), self.task)
        return broker.operator_call("history", queue, args, timed=True)

    def steps(self, replies: Sequence[Any]) -> list[Step]:
        """What several queues answer as one, with steps in which nothing happened."""
        now = max((reply[0] for reply in replies), default=now_ms())
        first = now // self.step - self.number + 1
        found = [Step((first + at) * self.step, Counter()) for at in range(self.number)]
        for reply in replies:
            for place, counters in self._sums(reply, first).items():
                found[place] = added(found[place], counters)
        return found

    def _sums(self, reply: Any, first: int) -> dict[int, Counter[str]]:
        """Place of a step -> what one queue has of it."""
        found: dict[int, Counter[str]] = {}
        for at, _, counters in self._read([reply]):
            place = at // self.step - first
            if 0 <= place < self.number:
                found.setdefault(place, Counter()).update(counters)
        return found

    def tasks(self, replies: Sequence[Any]) -> dict[str, Counter[str]]:
        """What happened to each task in all of that time; "" is what nobody knows the task of."""
        found: dict[str, Counter[str]] = {}
        for reply in replies:
            first = reply[0] // self.step - self.number + 1
            for at, task, counters in self._read([reply]):
                if at // self.step >= first:  # the open minute may have begun long ago
                    found.setdefault(task, Counter()).update(counters)
        return found

    def _read(self, replies: Sequence[Any]) -> Iterator[tuple[int, str, Counter[str]]]:
        for _, first, texts, open in replies:
            for number, raw in enumerate(texts, first):
                for task, counters in self._lines(text(raw)):
                    yield number * self.span, task, counters
            yield from opened(open, by_task=self.by_task)

    def _lines(self, said: str) -> Iterator[tuple[str, Counter[str]]]:
        if not self.by_task:
            yield "", parse(said)
            return
        for line in said.split("\n")[1:]:
            task, _, counters = line.rpartition(" ")
            yield task, parse(counters)


def added(step: Step, counters: Counter[str]) -> Step:
    """The step with what one more queue has of it, whose average is its own."""
    step.counters.update(counters)
    sum, times = step.counters.pop(READY, 0), step.counters.pop(TIMES, 0)
    return step._replace(backlog=(step.backlog or 0) + sum / times) if times else step


def opened(flat: Sequence[bytes], *, by_task: bool) -> Iterable[tuple[int, str, Counter[str]]]:
    """The minute that is still open: when it began, and each task's counters.

    Those of the queue itself too, if it is not read by task.
    """
    values = {text(flat[at]): text(flat[at + 1]) for at in range(0, len(flat), 2)}
    minute = values.pop(OPEN, "")
    if not minute.isdigit():
        return
    for field, count in values.items():
        counter, space, task = field.partition(" ")
        if space or not by_task:
            yield int(minute) * MINUTE, task, parse(f"{counter}={count}")
