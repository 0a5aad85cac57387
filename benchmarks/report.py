"""A measured row, and how rows are shown: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

FORMATS = {
    "/s": "{:,.0f}",
    "%": "{:,.0f}",
    "B": "{:,.0f}",
    "MB": "{:,.1f}",
    "µs": "{:,.1f}",
    "ms": "{:,.2f}",
}
HEADINGS = ("what", "ours", "bare", "ours / bare", "range of ours", "target")


@dataclass(frozen=True)
class Target:
    """What DESIGN.md section 9 asks for. ``of``: "ours", or "ratio" for ours / bare."""

    value: float
    at_least: bool = True
    of: str = "ours"


@dataclass
class Row:
    """One figure: a value per repetition, beside the bare loop's of the same moment."""

    name: str
    unit: str
    ours: Sequence[float]
    bare: Sequence[float] = field(default_factory=list)
    target: Target | None = None

    @property
    def value(self) -> float:
        return median(self.ours)

    @property
    def bare_value(self) -> float | None:
        return median(self.bare) if self.bare else None

    @property
    def ratio(self) -> float | None:
        """The median of the repetitions' ratios: a disturbance hits both halves of a pair."""
        pairs = [our / bare for our, bare in zip(self.ours, self.bare, strict=False) if bare]
        return median(pairs) if pairs else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is; None where there is none."""
        if self.target is None:
            return None
        figure = self.value if self.target.of == "ours" else self.ratio
        if figure is None:
            return None
        return (figure >= self.target.value) is self.target.at_least or figure == self.target.value

    def cells(self) -> tuple[str, ...]:
        """The row as text, in HEADINGS' order."""
        lowest, highest = min(self.ours), max(self.ours)
        spread = f"{self._show(lowest)} – {self._show(highest)}" if len(self.ours) > 1 else ""
        return (
            self.name,
            f"{self._show(self.value)} {self.unit}".replace(" /s", "/s"),
            "" if self.bare_value is None else self._show(self.bare_value),
            "" if self.ratio is None else f"{self.ratio:.2f}",
            spread,
            self._show_target(),
        )

    def _show(self, figure: float) -> str:
        return FORMATS.get(self.unit, "{:,.2f}").format(figure)

    def _show_target(self) -> str:
        if self.target is None:
            return ""
        figure = self._show(self.target.value)
        if self.target.of == "ratio":
            figure = f"{self.target.value:g} x bare"
        sign = "≥" if self.target.at_least else "≤"
        return f"{sign} {figure} {'yes' if self.is_met else 'NO'}"

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "value": self.value, "ratio": self.ratio, "is_met": self.is_met}


def table(rows: Sequence[Row]) -> str:
    """All rows, aligned."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADINGS))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if at in (0, 5) else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
