"""How fast a queue goes just now."""

from __future__ import annotations

from collections import Counter

from django_taskq.admin.pace import NO_PACE, pace_of
from django_taskq.broker.inspector import Step


def steps(*ended: int) -> list[Step]:
    """Minutes in which so many jobs succeeded."""
    return [Step(60_000 * at, Counter(S=number)) for at, number in enumerate(ended)]


def test_it_is_the_average_of_the_minutes_that_are_over() -> None:
    assert pace_of(steps(10, 20, 30, 20, 20, 999)).per_minute == 20


def test_minutes_before_the_first_job_do_not_count() -> None:
    assert pace_of(steps(0, 0, 0, 10, 0, 7)).per_minute == 5


def test_what_has_only_begun_is_counted_as_far_as_it_goes() -> None:
    assert pace_of(steps(0, 0, 0, 0, 0, 7)).per_minute == 7


def test_where_nothing_ended_there_is_none() -> None:
    assert pace_of(steps(0, 0, 0, 0, 0, 0)) == NO_PACE


def test_failures_take_as_much_time_as_successes() -> None:
    pace = pace_of([Step(0, Counter(S=1, R=2, D=3, w3=6)), *steps(0)])

    assert pace.per_minute == 6
    assert round(pace.failed) == 83
