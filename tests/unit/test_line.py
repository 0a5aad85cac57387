"""A line of names by time: each once, and nothing grows."""

from __future__ import annotations

from django_taskq.line import SLACK, Line


def test_names_come_out_when_their_time_has_come_in_order() -> None:
    line = Line()
    for name, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        line.put(name, when)

    assert line.head() == 1.0
    assert line.pop(2.0, 10) == ["a", "b"]
    assert line.pop(2.0, 10) == []
    assert "c" in line
    assert "a" not in line


def test_no_more_come_out_than_were_asked_for() -> None:
    line = Line()
    for name in "abc":
        line.put(name, 1.0)

    assert line.pop(1.0, 2) == ["a", "b"]


def test_a_name_that_is_put_again_has_its_last_time() -> None:
    line = Line()
    line.put("a", 1.0)
    line.put("a", 5.0)

    assert line.pop(4.0, 10) == []
    assert line.pop(5.0, 10) == ["a"]
    assert line.head() == float("inf")


def test_a_name_that_was_dropped_does_not_come_out() -> None:
    line = Line()
    line.put("a", 1.0)
    line.drop("a")
    line.drop("never there")

    assert line.pop(1.0, 10) == []


def test_names_that_are_put_again_and_again_take_no_more_room() -> None:
    line = Line()
    for number in range(10_000):
        for name in "abc":
            line.put(name, 1_000_000.0 + number)

    assert len(line) <= 2 * 3 + SLACK
    assert sorted(line.pop(2_000_000.0, 10)) == ["a", "b", "c"]
