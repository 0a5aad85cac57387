"""Charts: numbers in, a drawing out that anybody can read and any policy allows."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from django_taskq.admin import charts
from django_taskq.admin.charts import Mark, Series

SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<script>alert(1)</script>"


def parsed(drawing: str) -> Any:
    return ElementTree.fromstring(drawing)  # noqa: S314 - our own text


def rects(drawing: str) -> list[dict[str, float]]:
    return [
        {name: float(rect.attrib[name]) for name in ("x", "y", "width", "height")}
        for rect in parsed(drawing).iter(f"{SVG}rect")
    ]


def test_bars_stand_on_each_other_and_share_one_scale() -> None:
    drawing = charts.bars(
        "t", ["a", "b"], [Series("ok", "succeeded", [5, 10]), Series("bad", "dead", [5, 0])]
    )

    first_ok, first_bad, second_ok = sorted(rects(drawing), key=lambda r: (r["x"], -r["y"]))
    assert first_ok["y"] == pytest.approx(first_bad["y"] + first_bad["height"], abs=0.2)
    assert second_ok["height"] == pytest.approx(first_ok["height"] * 2, abs=0.2)
    assert second_ok["y"] == pytest.approx(first_bad["y"], abs=0.2)
    assert first_ok["x"] + first_ok["width"] <= second_ok["x"]


def test_a_stack_is_as_long_as_its_sum() -> None:
    drawing = charts.stack(
        "t", ["a", "b"], [Series("x", "ready", [30, 0]), Series("y", "dead", [10, 20])]
    )

    by_row: dict[float, float] = {}
    for rect in rects(drawing):
        by_row[rect["y"]] = by_row.get(rect["y"], 0) + rect["width"]
    first, second = (by_row[row] for row in sorted(by_row))
    assert first == pytest.approx(second * 2, rel=0.01)


def test_small_numbers_are_seen_beside_large_ones() -> None:
    drawing = charts.stack("t", ["a"], [Series("x", "ready", [1e6]), Series("y", "dead", [1])])

    assert all(rect["width"] >= 1.5 for rect in rects(drawing))


def test_lines_of_powers_of_ten_lie_evenly() -> None:
    drawing = charts.lines("t", list("abcd"), [Series("p50", "p50", [1, 10, 100, 1000])], log=True)

    (line,) = parsed(drawing).iter(f"{SVG}polyline")
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    steps = [a - b for a, b in pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert steps[0] > 0


def test_a_line_has_its_points_where_bars_stand_and_marks_mean() -> None:
    series, labels = [Series("x", "ready", [1, 2, 3, 4])], list("abcd")

    (line,) = parsed(charts.lines("t", labels, series)).iter(f"{SVG}polyline")

    places = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
    bars = [rect["x"] for rect in rects(charts.bars("t", labels, series))]
    step = (charts.WIDTH - charts.LEFT - charts.RIGHT) / 4
    assert places == pytest.approx([bar + step / 2 for bar in bars], abs=0.2)


def spark(
    title: str, labels: Any, series: list[Series], *, description: str = "1, 2"
) -> charts.SafeString:
    """The one that has no axes, asked for as the others are."""
    (each,) = series
    return charts.spark(title, [value or 0 for value in each.values], description, each.css)


DRAW = [charts.bars, charts.lines, charts.stack, spark]


def test_a_spark_shows_the_smallest_beside_the_largest() -> None:
    small, none, large = [1, 0, 1_000]

    first, last = rects(charts.spark("t", [small, none, large], "", "dead"))

    assert 2 <= first["height"] < last["height"] == charts.SPARK - 1
    assert first["x"] + first["width"] < last["x"]


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("values", [[], [0, 0], [0.001, 0], [1e15, 3]])
def test_any_numbers_make_a_drawing_within_its_frame(draw: Any, values: list[float]) -> None:
    labels = [str(number) for number in range(len(values))]

    drawing = parsed(draw("t", labels, [Series("x", "ready", values)]))

    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    for rect in rects(ElementTree.tostring(drawing, encoding="unicode")):
        assert 0 <= rect["x"] <= rect["x"] + rect["width"] <= width + 0.2
        assert 0 <= rect["y"] <= rect["y"] + rect["height"] <= height + 0.2


@pytest.mark.parametrize("draw", DRAW)
def test_names_are_text_and_nothing_is_styled_in_place(draw: Any) -> None:
    drawing = draw(EVIL, [EVIL, EVIL], [Series(EVIL, "ready", [1, 2])], description=EVIL)

    assert "<script" not in drawing
    assert not re.search(r"\sstyle=|\son\w+=", drawing)


@pytest.mark.parametrize("draw", DRAW)
def test_who_does_not_see_it_is_told(draw: Any) -> None:
    drawing = parsed(draw("Backlog", ["a", "b"], [Series("ready", "ready", [1, 2])]))

    assert drawing.attrib["role"] == "img"
    named = drawing.attrib["aria-labelledby"].split()
    texts = {node.attrib.get("id"): node.text for node in drawing.iter()}
    assert texts[named[0]] == "Backlog"
    assert "2" in texts[named[1]]


@pytest.mark.parametrize("draw", [charts.bars, charts.lines])
def test_a_mark_stands_where_its_moment_is(draw: Any) -> None:
    marks = [Mark(0, "first"), Mark(0.5, EVIL), Mark(1.2, "last")]

    drawing = draw("t", list("abcd"), [Series("x", "ready", [1, 2, 3, 4])], marks=marks)

    found = list(parsed(drawing).iter(f"{SVG}g"))
    assert [group.find(f"{SVG}title").text for group in found] == ["first", EVIL, "last"]
    places = [float(group.find(f"{SVG}line").attrib["x1"]) for group in found]
    left, right = charts.LEFT, charts.WIDTH - charts.RIGHT
    assert places == [left, (left + right) / 2, right]
    assert not re.search(r"\sstyle=|\son\w+=|<script", drawing)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9.5, "9.5"), (950, "950"), (1200, "1.2k"), (123_456, "123k"), (3e6, "3M")],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert charts.short(number) == text


@pytest.mark.parametrize(("highest", "top"), [(0, 1), (1, 1), (3, 5), (7, 10), (11, 20), (99, 100)])
def test_the_scale_ends_at_a_round_number(highest: float, top: float) -> None:
    assert charts.nice(highest) == top


def test_a_line_has_a_gap_where_nothing_was_measured() -> None:
    drawing = charts.lines("t", list("abcde"), [Series("p50", "p50", [1, 2, None, None, 3])])

    first, alone = parsed(drawing).iter(f"{SVG}polyline")
    assert len(first.attrib["points"].split()) == 2
    ends = [float(point.split(",")[0]) for point in alone.attrib["points"].split()]
    assert 0 < ends[1] - ends[0] <= 4


def test_a_line_of_nothing_is_no_line() -> None:
    drawing = charts.lines("t", ["a", "b"], [Series("p50", "p50", [None, None])], log=True)

    assert list(parsed(drawing).iter(f"{SVG}polyline")) == []


def test_nothing_happens_half_a_time() -> None:
    drawing = charts.bars("t", ["a"], [Series("x", "ready", [5])])

    assert [node.text for node in parsed(drawing).iter(f"{SVG}text")] == ["0", "5", "a"]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (0.4, "<1 ms"),
        (999, "999 ms"),
        (1500, "1.5 s"),
        (100_000, "100 s"),
        (1_000_000, "16.7 min"),
        (7_200_000, "2 h"),
        (172_800_000, "2 d"),
    ],
)
def test_times_are_short(ms: float, text: str) -> None:
    assert charts.short_time(ms) == text
