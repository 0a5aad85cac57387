"""Limits and weights: what they may say, and the numbers that come of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_taskq import Rate
from django_taskq.exceptions import InvalidOption
from django_taskq.limits import (
    Limit,
    check_concurrency,
    check_rate,
    check_weight,
    check_weights,
    made_limit,
)


@pytest.mark.parametrize(
    ("text", "count", "per"),
    [
        ("100/m", 100, 60),
        ("5/30s", 5, 30),
        (" 1 / 2 h ", 1, 7200),
        ("10/second", 10, 1),
        ("10/secs", 10, 1),
        ("10/5minutes", 10, 300),
        ("3/day", 3, 86_400),
        ("3/2days", 3, 172_800),
    ],
)
def test_a_rate_is_a_number_per_time(text: str, count: int, per: float) -> None:
    rate = check_rate(text, "rate_limit")
    assert rate == Rate(count, per)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("fast", "must be a number per time, such as '100/m'"),
        ("100", "must be a number per time"),
        ("-1/m", "must be a number per time"),
        ("1.5/m", "must be a number per time"),
        ("\u0661/m", "must be a number per time"),
        (100, "must be a number per time"),
        (True, "must be a number per time"),
        ("0/m", "must be a whole number from 1"),
        ("10/0s", "above 0"),
        ("10/ms", "there is no unit 'ms'"),
        ("10/M", "there is no unit 'M'; did you mean 'm'?"),
        ("10/minit", "did you mean 'min'?"),
        ("10/month", "there is no unit 'month'"),
        ("2000000/s", "must be a whole number from 1 to 1,000,000"),
        ("1/900000d", "a hundred years"),
        ("1/900d", "to a year"),
    ],
)
def test_a_rate_that_does_not_parse_is_refused_with_the_value(value: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=r"^rate_limit=") as refusal:
        check_rate(value, "rate_limit")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "options",
    [
        {"count": 0, "per": 1},
        {"count": True, "per": 1},
        {"count": 1, "per": 0},
        {"count": 1, "per": "m"},
        {"count": 1, "per": True},
        {"count": 1, "per": float("nan")},
        {"count": 1, "per": 1, "burst": 0},
        {"count": 1, "per": 1, "burst": 1.5},
    ],
)
def test_each_number_of_a_rate_is_checked(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=r"^Rate\("):
        Rate(**options)


def test_a_time_may_be_a_timedelta() -> None:
    assert Rate(1, timedelta(minutes=2)) == Rate(1, 120)


@pytest.mark.parametrize(
    ("rate", "interval", "slack"),
    [
        (Rate(60, 60), 1000, 0),
        (Rate(100, 60), 600, 0),
        (Rate(10, 1), 100, 900),
        (Rate(3, 1), 1000 / 3, 2000 / 3),
        (Rate(60, 60, burst=5), 1000, 4000),
        (Rate(10, 1, burst=1), 100, 0),
    ],
)
def test_by_default_a_seconds_worth_may_start_at_once(
    rate: Rate, interval: float, slack: float
) -> None:
    assert (rate.interval, rate.slack) == pytest.approx((interval, slack))


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (Rate(100, 60), "100/m"),
        (Rate(5, 30), "10/m"),
        (Rate(1, 7_200), "12/d"),
        (Rate(3, 0.5), "6/s"),
        (Rate(7, 13), "7/13s"),
        (Rate(3, 420), "3/7m"),
        (Rate(1, 366 * 86_400), "1/366d"),
        (Rate(1_000_000, 0.001), "1000000000/s"),
    ],
)
def test_a_rate_is_read_from_its_times_and_said_in_text(rate: Rate, text: str) -> None:
    read = Rate.of(rate.interval, rate.slack)
    assert (read.interval, read.slack) == pytest.approx((rate.interval, rate.slack))
    assert (rate.text, read.text, read.burst) == (text, text, None)


def test_a_burst_is_read_where_it_is_not_what_is_usual() -> None:
    assert Rate.of(1_000, 4_000) == Rate(1, 1, burst=5)
    assert Rate.of(100, 0) == Rate(10, 1, burst=1)
    assert Rate.of(100, 900) == Rate(10, 1)


@pytest.mark.parametrize(
    ("interval", "slack"),
    [(float("nan"), 0), (-1, 0), (float("inf"), 0), (1, float("nan")), (1e300, 0), (1, -5)],
)
def test_times_that_are_no_rate_are_refused(interval: float, slack: float) -> None:
    with pytest.raises((ArithmeticError, ValueError)):
        Rate.of(interval, slack)


def test_a_limit_that_a_person_asks_for_has_to_limit_something() -> None:
    assert made_limit(3, None) == Limit(3)
    assert made_limit(None, Rate(10, 1), 2) == Limit(None, Rate(10, 1, burst=2))
    assert made_limit(None, Rate(10, 1, burst=2)) == Limit(None, Rate(10, 1, burst=2))
    for concurrency, burst in ((None, None), (3, 2), (0, None)):
        with pytest.raises(InvalidOption):
            made_limit(concurrency, None, burst)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "3", 1_000_001])
def test_a_number_of_jobs_at_once_is_a_whole_number_from_one(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"concurrency_limit=.*whole number from 1"):
        check_concurrency(value, "concurrency_limit")
    assert check_concurrency(3, "concurrency_limit") == 3
    assert check_concurrency(None, "concurrency_limit") is None


def test_a_limit_without_numbers_is_none() -> None:
    assert not Limit()
    assert Limit(concurrency=1)
    assert Limit(rate=Rate(1, 1))


async def later(key: str) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "must be a dict of keys and weights, or a function of a key"),
        (["a"], "must be a dict"),
        (("a", 1), "must be a dict"),
        ((1, 2), "must be a dict"),
        ((("a", 0),), "must be a number from 0.01"),
        ({"a": 0}, "fair_weights['a']=0: must be a number from 0.01 to 1000"),
        ({"a": True}, "must be a number"),
        ({"a": float("nan")}, "must be a number"),
        ({5: "x"}, "fair_weights[5]='x'"),
        (later, "must not be an async function"),
    ],
)
def test_weights_that_are_none_are_refused(value: Any, said: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        check_weights(value, "fair_weights")
    assert said in str(refusal.value)


def test_weights_are_kept_by_the_text_of_their_key() -> None:
    kept = check_weights({5: 2, "a": 0.5}, "fair_weights")
    assert kept == (("5", 2.0), ("a", 0.5))
    assert check_weights(kept, "fair_weights") == kept
    assert check_weights(check_weight, "fair_weights") is check_weight
    assert check_weights(None, "fair_weights") is None
