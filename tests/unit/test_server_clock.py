"""Redis' time as answers tell it, which are whole milliseconds and take their way."""

from __future__ import annotations

import pytest

from django_taskq import server_clock
from django_taskq.server_clock import ServerClocks


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Our own clock in seconds; its last item is now."""
    times = [10.0]
    monkeypatch.setattr(server_clock, "monotonic", lambda: times[-1])
    return times


def test_time_goes_on_between_two_answers(mine: list[float]) -> None:
    clocks = ServerClocks()
    assert clocks.told("q", 50_000, 10.0) is False
    mine.append(12.5)

    assert clocks.now("q") == 52_500
    assert clocks.when("q", 53_000) == pytest.approx(13.0)


def test_an_answer_that_came_slowly_changes_nothing(mine: list[float]) -> None:
    clocks = ServerClocks()
    clocks.told("q", 50_000, 10.0)
    mine.append(11.0)

    assert clocks.told("q", 50_300, 10.2) is False  # it was true at 10.3, and is read at 11
    assert clocks.now("q") == 51_000


def test_answers_within_a_millisecond_come_nearer_to_the_truth(mine: list[float]) -> None:
    clocks = ServerClocks()
    clocks.told("q", 50_000, 10.0)  # in truth 50,000.9
    mine.append(10.0002)
    clocks.told("q", 50_001, 10.0002)

    assert clocks.when("q", 50_002) == pytest.approx(10.0012)


def test_an_answer_that_shows_us_ahead_is_believed(mine: list[float]) -> None:
    clocks = ServerClocks()
    clocks.told("q", 50_000, 10.0)
    mine.append(20.0)

    assert clocks.told("q", 59_990, 20.0) is False  # ours runs fast
    assert clocks.now("q") in (59_990, 59_991)


@pytest.mark.parametrize("jump", [-5_000, 5_000])
def test_a_clock_that_was_set_is_told(mine: list[float], jump: int) -> None:
    clocks = ServerClocks()
    clocks.told("q", 50_000, 10.0)

    assert clocks.told("q", 50_000 + jump, 10.0) is True
    assert clocks.now("q") - 50_000 - jump in (0, 1)


def test_each_queue_has_its_own(mine: list[float]) -> None:
    clocks = ServerClocks()
    clocks.told("a", 1_000, 10.0)
    clocks.told("b", 9_000, 10.0)

    assert (clocks.now("a"), clocks.now("b")) == (1_000, 9_000)
