"""What a job says of itself, bounded, as JSON and back."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.report import (
    LONGEST,
    MOST_BYTES,
    MOST_LINES,
    Report,
    decode_report,
    encode_report,
)

NOW = 1_700_000_000_000


def back(report: Report) -> Report:
    found = decode_report(encode_report(report))
    assert found is not None
    return found


def test_what_was_told_last_counts() -> None:
    report = Report(n=2)
    report.tell(1, 10, "first", NOW)
    report.tell(5, 10, "", NOW + 1)

    found = back(report)

    assert found.n == 2
    assert found.progress is not None
    assert found.progress[:3] == (5, 10, "")
    assert found.progress.share == 0.5
    assert found.progress.at is not None
    assert found.progress.at.timestamp() * 1000 == NOW + 1


def test_without_a_total_there_is_no_share() -> None:
    report = Report()
    report.tell(7, None, "rows", NOW)

    assert back(report).progress is not None
    assert back(report).progress.share is None  # type: ignore[union-attr]


@pytest.mark.parametrize(("done", "total", "share"), [(12, 10, 1), (-1, 10, 0), (0, 0, 1)])
def test_a_share_is_between_nothing_and_all(done: float, total: float, share: float) -> None:
    report = Report()
    report.tell(done, total, "", NOW)

    assert report.progress is not None
    assert report.progress.share == share


@pytest.mark.parametrize("value", ["3", None, True, [1]])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"progress\(\): done=.* is no number"):
        Report().tell(value, 10, "", NOW)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_cannot_be_counted_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"progress\(\): total="):
        Report().tell(1, value, "", NOW)


def test_a_job_that_said_nothing_has_no_progress_and_no_log() -> None:
    assert (Report().progress, Report().lines) == (None, [])


def test_the_oldest_lines_go_when_they_are_many() -> None:
    report = Report()
    for n in range(MOST_LINES + 5):
        report.write(f"line {n}", NOW + n)

    lines = back(report).lines
    assert [lines[0].text, lines[-1].text] == ["line 5", f"line {MOST_LINES + 4}"]
    assert (len(lines), report.x) == (MOST_LINES, 5)


def test_the_oldest_lines_go_when_they_are_long() -> None:
    report = Report()
    for _ in range(100):
        report.write("x" * LONGEST, NOW)

    assert len(report.l) == MOST_BYTES // LONGEST
    assert len(report.l) + report.x == 100


def test_a_line_that_is_too_long_is_cut() -> None:
    report = Report()
    report.write("y" * (LONGEST + 1), NOW)

    assert report.lines[0].text == "y" * (LONGEST - 1) + "…"


def test_text_that_is_no_unicode_can_be_kept() -> None:
    report = Report()
    report.write("bad \ud800", NOW)

    assert back(report).lines[0].text == "bad ?"


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"l":[[1]]}', b"\xff", b'{"d":"x"}'])
def test_garbage_is_no_report(raw: bytes) -> None:
    assert decode_report(raw) is None
