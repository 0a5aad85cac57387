"""What a running job says of itself: how far it has come, and its log. As it is kept, and as read.

Layer 1: pure, no I/O. Bounded: a job that talks without end keeps its last words.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from .clock import to_datetime
from .codec import LATEST, UNREADABLE

MOST_LINES = 200
MOST_BYTES = 16_384  # characters of all lines together
LONGEST = 1_000  # characters of a line, and of a message


class Progress(NamedTuple):
    """``done`` of ``total`` (None: nobody knows how much there is), told ``at``."""

    done: float
    total: float | None
    message: str
    at: datetime | None

    @property
    def share(self) -> float | None:
        """Between 0 and 1; None where there is no total."""
        return None if self.total is None else min(max(self.done / self.total, 0.0), 1.0)


class Line(NamedTuple):
    """One line of a job's log."""

    at: datetime | None
    text: str


class Report(msgspec.Struct, omit_defaults=True):
    """The report of one attempt; times in ms.

    ``n``: which attempt; ``d``, ``t``, ``m``, ``p``: done, total, message, and when that was told;
    ``l``: the lines, each with its time; ``x``: how many earlier ones were dropped.
    """

    n: int = 1
    d: float | None = None
    t: float | None = None
    m: str = ""
    p: int = 0
    l: list[tuple[int, str]] = []  # noqa: E741  # one letter, as in a job's envelope
    x: int = 0

    def tell(self, done: float, total: float | None, message: str, now: int) -> None:
        """Takes the place of what was told before. Raises TypeError or ValueError."""
        self.d, self.t = _number("done", done), None if total is None else _number("total", total)
        if self.t is not None and self.t <= 0:
            self.d = self.t = 1.0  # of nothing, all is done
        self.m, self.p = _text(message), now

    def write(self, text: str, now: int) -> None:
        """Adds a line; the oldest go when they are too many."""
        lines = [*self.l, (now, _text(text))]
        size, first = 0, len(lines)
        for _, line in reversed(lines[-MOST_LINES:]):
            size += len(line)
            if size > MOST_BYTES:
                break
            first -= 1
        self.x += first
        self.l = lines[first:]

    @property
    def progress(self) -> Progress | None:
        """What was told last; None if nothing was."""
        if self.d is None:
            return None
        return Progress(self.d, self.t, self.m, to_datetime(self.p))

    @property
    def lines(self) -> list[Line]:
        return [Line(to_datetime(at), text) for at, text in self.l]


def encode_report(report: Report) -> bytes:
    return msgspec.json.encode(report)


def decode_report(raw: bytes) -> Report | None:
    """None for what is no report: anybody may have written it."""
    try:
        report = _decode(raw)
    except UNREADABLE:
        return None
    times = [report.p, *(at for at, _ in report.l)]
    return report if all(0 <= at < LATEST for at in times) else None


_decode = msgspec.json.Decoder(Report).decode


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"progress(): {name}={value!r} is no number")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        is_finite = False
    if not is_finite:
        raise ValueError(f"progress(): {name}={value!r} is no number of things")
    return value


def _text(value: Any) -> str:
    """Any object, as ``print()`` takes it; what UTF-8 cannot hold is replaced."""
    text = str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
