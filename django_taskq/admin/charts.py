"""Charts as SVG: pure functions from lists of numbers to markup.

No style attribute and no script, so any content security policy lets them be; colours come
from classes (``tq-fill-NAME``, ``tq-line-NAME``) in the stylesheet. Each has a title and a
description for who does not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 400, 150  # two of them stand side by side
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 22  # room for the axes
STACK = 640  # width of bars that lie
BAR = 22  # height of one bar that lies
SPARK, SPARK_BAR = 24, 4  # height of a drawing beside a text, width of one of its bars
_ids = count(1)


class Series(NamedTuple):
    """Numbers with a name that people read and a class that the stylesheet knows."""

    label: str
    css: str
    values: Sequence[float | None]  # None, of a line: nothing was measured there


class Mark(NamedTuple):
    """A moment that a chart over time points out. ``place``: from 0, its beginning, to 1."""

    place: float
    text: str


def bars(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    description: str = "",
    *,
    marks: Sequence[Mark] = (),
) -> SafeString:
    """Stacked bars side by side, one per label: what happened in each step of time."""
    totals = [sum(each.values[at] or 0 for each in series) for at in range(len(labels))]
    top = nice(max(totals, default=0))
    step = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    drawn = []
    for at in range(len(labels)):
        below = 0.0
        for each in series:
            value = each.values[at]
            if value:
                y, high = scale(below + value, top), scale(below, top)
                hint = f"{labels[at]}: {short(value)} {each.label}"
                wide = max(step - 1, 0.5)
                drawn.append((each.css, px(LEFT + at * step), px(y), px(wide), px(high - y), hint))
                below += value
    body = format_html_join(
        "",
        '<rect class="tq-fill-{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        drawn,
    )
    rungs = [0, top / 2, top] if top % 2 == 0 else [0, top]  # nothing happens half a time
    axes = format_html("{}{}", grid(rungs, top), below_axis(labels))
    return svg(title, description or summary(series), HEIGHT, axes, body + upright(marks))


def lines(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    log: bool = False,
    description: str = "",
    say: Callable[[float], str] | None = None,
    marks: Sequence[Mark] = (),
) -> SafeString:
    """A line per series, with gaps where nothing was measured: a point in the middle of each step.

    ``log``: on an axis of powers of ten, where 0 lies at its foot. ``say``: how a number is
    written, ``short()`` if nothing is said.
    """
    say = say or short
    highest = max((max(known(each), default=0) for each in series), default=0)
    top = 10 ** math.ceil(math.log10(max(highest, 10))) if log else nice(highest)
    step = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    middle = LEFT + step / 2
    drawn = []
    for each in series:
        for stretch in stretches(each.values):
            places = [(middle + at * step, scale(value, top, log=log)) for at, value in stretch]
            if len(places) == 1:  # a line needs two ends
                ((x, y),) = places
                places = [(max(x - 2, LEFT), y), (min(x + 2, WIDTH - RIGHT), y)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            drawn.append((each.css, points, each.label))
    body = format_html_join(
        "", '<polyline class="tq-line-{}" points="{}"><title>{}</title></polyline>', drawn
    )
    rungs = powers(top) if log else [0, top / 2, top]
    axes = format_html("{}{}", grid(rungs, top, log=log, say=say), below_axis(labels))
    return svg(title, description or summary(series, say), HEIGHT, axes, body + upright(marks))


def stack(
    title: str, labels: Sequence[str], series: Sequence[Series], description: str = ""
) -> SafeString:
    """Bars that lie, one per label, each made of its parts: what there is at one moment."""
    totals = [sum(each.values[at] or 0 for each in series) for at in range(len(labels))]
    most = max([*totals, 1])
    name_width, number_width = 140, 64
    room = STACK - name_width - number_width
    parts: list[tuple[object, ...]] = []
    texts: list[tuple[object, ...]] = []
    for at, label in enumerate(labels):
        y = at * BAR
        texts.append(("end", name_width - 8, y + 15, cut(label)))
        left = float(name_width)
        for each in series:
            value = each.values[at]
            if value:
                wide = max(room * value / most, 1.5)
                hint = f"{label}: {short(value)} {each.label}"
                parts.append((each.css, px(left), y + 4, px(wide), BAR - 8, hint))
                left += wide
        texts.append(("start", px(left + 6), y + 15, short(totals[at])))
    body = format_html_join(
        "",
        '<rect class="tq-fill-{}" x="{}" y="{}" width="{}" height="{}" rx="1">'
        "<title>{}</title></rect>",
        parts,
    )
    names = format_html_join(
        "", '<text class="tq-axis" text-anchor="{}" x="{}" y="{}">{}</text>', texts
    )
    said = description or ". ".join(
        f"{label}: {short(total)}" for label, total in zip(labels, totals, strict=True)
    )
    return svg(title, said, max(len(labels), 1) * BAR, names, body, STACK)


def spark(title: str, values: Sequence[float], description: str, css: str) -> SafeString:
    """Small bars without axes, to stand beside a text: whether something grows or ends."""
    top, foot = max([*values, 1]), SPARK - 1
    drawn = [
        (css, at * SPARK_BAR, px(foot - high), SPARK_BAR - 1, px(high))
        for at, value in enumerate(values)
        if (high := max(foot * value / top, 2) if value else 0)
    ]
    body = format_html_join(
        "", '<rect class="tq-fill-{}" x="{}" y="{}" width="{}" height="{}"/>', drawn
    )
    width = max(len(values), 1) * SPARK_BAR
    ground = format_html(
        '<line class="tq-grid" x1="0" x2="{}" y1="{}" y2="{}"/>', width, foot + 0.5, foot + 0.5
    )
    return svg(title, description, SPARK, ground, body, width)


# -- parts -----------------------------------------------------------------------------------------


def svg(
    title: str,
    description: str,
    height: int,
    axes: SafeString,
    body: SafeString,
    width: int = WIDTH,
) -> SafeString:
    """The whole drawing, named for screen readers."""
    id = next(_ids)
    return format_html(
        '<svg class="tq-chart" viewBox="0 0 {} {}" role="img" '
        'aria-labelledby="tq-t{} tq-d{}" xmlns="http://www.w3.org/2000/svg">'
        '<title id="tq-t{}">{}</title><desc id="tq-d{}">{}</desc>{}{}</svg>',
        *(width, height, id, id, id, title, id, description, axes, body),
    )


def known(series: Series) -> list[float]:
    """The values that there are."""
    return [value for value in series.values if value is not None]


def stretches(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """The runs of values without a gap, each value with its place."""
    here: list[tuple[int, float]] = []
    for at, value in enumerate(values):
        if value is not None:
            here.append((at, value))
        elif here:
            yield here
            here = []
    if here:
        yield here


def upright(marks: Sequence[Mark]) -> SafeString:
    """A dashed line from top to bottom at each, with a head that a pointer finds."""
    width = WIDTH - LEFT - RIGHT
    places = [(px(LEFT + width * min(max(mark.place, 0), 1)), mark.text) for mark in marks]
    return format_html_join(
        "",
        '<g class="tq-mark"><title>{}</title><line x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<path d="M{} {}h8l-4 6z"/></g>',
        [(text, x, x, TOP, HEIGHT - BOTTOM, px(x - 4), TOP - 6) for x, text in places],
    )


def grid(
    rungs: Sequence[float],
    top: float,
    *,
    log: bool = False,
    say: Callable[[float], str] | None = None,
) -> SafeString:
    """Lines across, each with its number."""
    rows = [(px(scale(rung, top, log=log)), (say or short)(rung)) for rung in rungs]
    return format_html_join(
        "",
        '<line class="tq-grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="tq-axis" text-anchor="end" x="{}" y="{}">{}</text>',
        [(LEFT, WIDTH - RIGHT, y, y, LEFT - 6, px(y + 4), text) for y, text in rows],
    )


def below_axis(labels: Sequence[str]) -> SafeString:
    """The first label, the middle one and the last."""
    if not labels:
        return SafeString("")
    last = len(labels) - 1
    places = {0: "start", last // 2: "middle", last: "end"} if last > 1 else {0: "start"}
    width = WIDTH - LEFT - RIGHT
    rows = [
        (anchor, px(LEFT + width * at / max(last, 1)), HEIGHT - 6, labels[at])
        for at, anchor in places.items()
    ]
    return format_html_join(
        "", '<text class="tq-axis" text-anchor="{}" x="{}" y="{}">{}</text>', rows
    )


def scale(value: float, top: float, *, log: bool = False) -> float:
    """How far from the top of the drawing a value lies."""
    room = HEIGHT - TOP - BOTTOM
    share = math.log10(max(value, 1)) / math.log10(top) if log else value / top
    return TOP + room * (1 - min(max(share, 0), 1))


def px(length: float) -> float:
    """A length in as many digits as an eye can tell apart."""
    return round(length, 1)


def nice(highest: float) -> float:
    """A round number at or above the highest value: 1, 2 or 5 times a power of ten."""
    if highest <= 1:
        return 1
    power = 10 ** math.floor(math.log10(highest))
    return next(float(step * power) for step in (1, 2, 5, 10) if step * power >= highest)


def powers(top: float) -> list[float]:
    """The powers of ten up to ``top``."""
    return [10**power for power in range(round(math.log10(top)) + 1)]


def short(value: float) -> str:
    """A number in few characters: 950, 1.2k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            number = value / size
            return f"{number:.0f}{letter}" if number >= 100 else f"{number:.3g}{letter}"
    return f"{value:g}" if value < 10 else f"{value:.0f}"


def short_time(ms: float) -> str:
    """A length of time in few characters, in one unit: 3 ms, 1.5 s, 17 min."""
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (600_000, "min"), (1_000, "s")):
        if ms >= size:
            length = 60_000 if unit == "min" else size
            return f"{ms / length:.3g} {unit}"
    return f"{ms:.0f} ms" if ms >= 1 or not ms else "<1 ms"


def cut(label: str, most: int = 20) -> str:
    """A label that fits beside its bar."""
    return label if len(label) <= most else f"{label[: most - 1]}…"


def summary(series: Sequence[Series], say: Callable[[float], str] = short) -> str:
    """What a chart shows, in words: each series with its last value and its highest."""
    return ". ".join(
        f"{each.label}: {say(values[-1])}, {say(max(values))}"
        for each in series
        if (values := known(each))
    )
