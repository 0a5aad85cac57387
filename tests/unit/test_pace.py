"""How far ahead a child claims."""

from __future__ import annotations

import pytest

from django_taskq.pace import AHEAD, LEAST, MOST, SHORT, Pace


def paced(*seconds: float, task: str = "t", trip: float = 0.001) -> Pace:
    """A pace that saw runs of a task, each so long, and round trips of ``trip`` seconds."""
    pace = Pace()
    for each in seconds:
        pace.ran(task, each, pace.begins(task))
    for _ in range(100):
        pace.travelled(trip)
    return pace


def test_nothing_is_held_before_any_job_was_seen() -> None:
    assert Pace().ahead() == 0


def test_short_jobs_are_held_in_a_batch_that_outlasts_four_round_trips() -> None:
    assert paced(0.000_05, trip=0.002).ahead() in {159, 160}  # 4 * 2 ms / 0.05 ms, rounded down


@pytest.mark.parametrize(
    ("run", "trip", "jobs"),
    [
        (0.000_01, 0.000_05, LEAST),  # fewer would cost more than they gain
        (0.000_01, 0.1, MOST),  # more than one call may carry
        (0.001, 0.001, 10),  # ten milliseconds of work
        (0.004, 0.001, 2),
        (0.02, 0.001, 0),
        (60.0, 0.001, 0),
    ],
)
def test_a_batch_has_its_bounds(run: float, trip: float, jobs: int) -> None:
    assert paced(run, trip=trip).ahead() == jobs


@pytest.mark.parametrize("run", [0.0, 1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 0.009, 0.011, 1.0])
@pytest.mark.parametrize("trip", [0.000_01, 0.001, 0.1, 10.0])
def test_no_more_than_ten_milliseconds_of_work_is_ever_held(run: float, trip: float) -> None:
    jobs = paced(run, trip=trip).ahead()

    assert 0 <= jobs <= MOST
    assert jobs * run <= AHEAD


def test_nothing_is_held_while_a_task_runs_that_nobody_saw_end() -> None:
    pace = paced(0.0001)
    assert pace.ahead() > 0

    unknown = pace.begins("another")

    assert unknown
    assert pace.ahead() == 0

    pace.ran("another", 0.0001, unknown)
    assert pace.ahead() > 0


def test_several_at_once_of_an_unknown_task_are_all_waited_for() -> None:
    pace = paced(0.0001)
    first, second = pace.begins("another"), pace.begins("another")
    pace.ran("another", 0.0001, first)
    assert pace.ahead() == 0

    pace.ran("another", 0.0001, second)

    assert pace.unknown == 0
    assert pace.ahead() > 0


def test_a_known_task_does_not_stop_the_prefetch_while_it_runs() -> None:
    pace = paced(0.0001)

    assert not pace.begins("t")
    assert pace.ahead() > 0


def test_jobs_that_become_slow_are_no_longer_held() -> None:
    pace = paced(*[0.0001] * 50)
    pace.ran("t", 1.0, was_unknown=False)

    assert pace.ahead() == 0


def test_jobs_that_become_fast_are_held_again() -> None:
    pace = paced(1.0, *[0.0001] * 100)

    assert pace.ahead() >= LEAST


def test_the_round_trip_is_a_moving_average() -> None:
    pace = Pace()
    for _ in range(50):
        pace.travelled(0.005)

    assert pace.trip == pytest.approx(0.005, rel=0.01)


# -- one thread or several -------------------------------------------------------------------------


def test_short_and_busy_jobs_are_best_on_one_thread() -> None:
    assert paced(SHORT / 2).one_thread_is_best


def test_long_jobs_want_a_thread_each() -> None:
    assert not paced(SHORT * 2).one_thread_is_best


def test_nobody_knows_before_a_job_was_seen() -> None:
    assert not Pace().one_thread_is_best


def test_short_jobs_that_mostly_wait_want_a_thread_each() -> None:
    pace = paced(SHORT / 2)
    for _ in range(20):
        pace.waited(0.95)
    assert not pace.one_thread_is_best

    for _ in range(20):
        pace.waited(0.0)
    assert pace.one_thread_is_best
