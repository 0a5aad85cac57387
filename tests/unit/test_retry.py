"""Whether a failed job runs again, and when."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq import retry
from django_taskq.exceptions import Fail, InvalidOption, Retry, TaskTimeout
from django_taskq.retry import LONGEST, RetryPolicy, as_seconds, make_backoff


class Shortage(ConnectionError):
    pass


SHORTAGE = f"{Shortage.__module__}.Shortage"
ERROR = ValueError("no")


def fixed(**options: Any) -> RetryPolicy:
    return RetryPolicy(**{"backoff": 7, **options})


# --- seconds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0, 0.0), (5, 5.0), (0.25, 0.25), (timedelta(minutes=1, microseconds=1), 60.000001)],
)
def test_numbers_and_timedeltas_are_seconds(value: Any, seconds: float) -> None:
    assert as_seconds(value, "timeout") == seconds
    assert type(as_seconds(value, "timeout")) is float


@pytest.mark.parametrize(
    "value",
    [
        -3,
        -0.001,
        timedelta(seconds=-1),
        math.nan,
        math.inf,
        -math.inf,
        True,
        None,
        "5",
        Decimal(5),
        [5],
        pytest.param(10**5000, id="huge"),
        pytest.param(-(10**5000), id="huge and negative"),
        timedelta.max,
    ],
)
def test_what_is_no_length_of_time_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^timeout=") as caught:
        as_seconds(value, "timeout")
    assert isinstance(caught.value, ValueError)


def test_the_refusal_names_option_value_and_what_it_must_be() -> None:
    with pytest.raises(InvalidOption) as caught:
        as_seconds(-3, "timeout")
    assert str(caught.value) == (
        "timeout=-3: must be a number of seconds of at least 0, or a timedelta"
    )


def test_zero_can_be_refused() -> None:
    with pytest.raises(InvalidOption, match="above 0"):
        as_seconds(0, "timeout", zero=False)


# --- backoff --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "least", "most"), [(1, 15, 44), (2, 16, 74), (3, 31, 118), (6, 640, 814)]
)
def test_the_default_is_the_formula_of_sidekiq(attempt: int, least: int, most: int) -> None:
    assert make_backoff(None, random=lambda: 0.0)(attempt, ERROR) == least
    assert make_backoff(None, random=lambda: 0.999999)(attempt, ERROR) == most


@pytest.mark.parametrize("value", [9, 9.0, timedelta(seconds=9), [9], (timedelta(seconds=9),)])
def test_a_constant_is_always_the_same(value: Any) -> None:
    assert {make_backoff(value)(attempt, ERROR) for attempt in (1, 2, 50)} == {9.0}


def test_the_last_entry_of_a_table_repeats() -> None:
    backoff = make_backoff([1, timedelta(seconds=5), 25])
    assert [backoff(attempt, ERROR) for attempt in (1, 2, 3, 4, 99)] == [1, 5, 25, 25, 25]


def test_a_function_is_asked_with_attempt_and_error() -> None:
    asked = []

    def backoff(attempt: int, error: BaseException | None) -> timedelta:
        asked.append((attempt, error))
        return timedelta(seconds=attempt)

    assert make_backoff(backoff)(3, ERROR) == 3.0
    assert asked == [(3, ERROR)]


def test_a_function_that_answers_none_leaves_it_to_the_default() -> None:
    assert make_backoff(lambda attempt, error: None, random=lambda: 0.0)(1, ERROR) == 15


@pytest.mark.parametrize("answer", [-1, math.nan, "soon", True])
def test_a_function_with_a_bad_answer_is_logged_and_the_default_taken(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backoff = make_backoff(lambda attempt, error: answer, random=lambda: 0.0)
    assert backoff(1, ERROR) == 15
    assert "default delay is used" in caplog.text


def test_a_function_that_raises_does_not_lose_the_retry(caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy(backoff=lambda attempt, error: 1 / 0, random=lambda: 0.0)
    assert policy.decide(1, ERROR) == 15
    assert "ZeroDivisionError" in caplog.text


BAD_BACKOFFS = [
    -1,
    math.nan,
    True,
    "5",
    b"5",
    [],
    (),
    [1] * 1001,
    range(10**12),
    [1, -1],
    ["1"],
    [None],
    {},
    {1},
    timedelta,
]


@pytest.mark.parametrize("value", BAD_BACKOFFS, ids=repr)
def test_a_bad_backoff_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^backoff"):
        make_backoff(value)
    with pytest.raises(InvalidOption, match=r"^backoff"):
        RetryPolicy(backoff=value)


def test_the_refusal_of_a_table_names_the_entry() -> None:
    with pytest.raises(InvalidOption, match=r"^backoff\[1\]=-5: must be"):
        make_backoff([1, -5])


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (None, None),
        (60, 60),
        (0.5, 0.5),
        (timedelta(minutes=1), 60),
        ([1, timedelta(seconds=2.5)], [1, 2.5]),
    ],
)
def test_a_backoff_without_code_travels_as_json(value: Any, raw: Any) -> None:
    assert retry.is_portable(value)
    assert retry.to_json(value) == raw
    assert retry.from_json(raw) == retry.normalize_backoff(value)


def test_a_function_does_not_travel() -> None:
    assert not retry.is_portable(lambda attempt, error: 1)
    with pytest.raises(InvalidOption, match="declare it on the task"):
        retry.to_json(lambda attempt, error: 1)


@pytest.mark.parametrize("raw", ["5", -1, [], [[]], {}, True])
def test_garbage_is_no_backoff(raw: Any) -> None:
    with pytest.raises(InvalidOption):
        retry.from_json(raw)


# --- the policy -----------------------------------------------------------------------------------


def test_attempts_end_at_their_limit() -> None:
    assert [fixed(max_attempts=3).decide(n, ERROR) for n in (1, 2, 3, 4)] == [7, 7, None, None]
    assert fixed(max_attempts=1).decide(1, ERROR) is None


def test_without_a_limit_they_never_end() -> None:
    assert fixed(max_attempts=None).decide(10**9, ERROR) == 7


@settings(deadline=None)
@given(st.integers(1, 10**30))
def test_no_delay_is_longer_than_ten_years(attempt: int) -> None:
    delay = RetryPolicy(max_attempts=None).decide(attempt, ERROR)
    assert delay is not None
    assert 15 <= delay <= LONGEST
    assert RetryPolicy(backoff=LONGEST * 2).decide(1, ERROR) == LONGEST


def test_fail_is_final() -> None:
    assert fixed(retry_on=(Exception,)).decide(1, Fail("no")) is None


@pytest.mark.parametrize(("after", "delay"), [(3, 3.0), (timedelta(hours=1), 3600.0), (0, 0.0)])
def test_retry_after_overrides_the_backoff(after: Any, delay: float) -> None:
    assert fixed().decide(1, Retry(after=after)) == delay


def test_retry_without_after_takes_the_backoff() -> None:
    assert fixed().decide(1, Retry("again")) == 7


def test_retry_is_capped_by_the_attempts_and_by_nothing_else() -> None:
    policy = fixed(max_attempts=2, retry_on=(KeyError,), give_up_on=(Exception,))
    assert policy.decide(1, Retry(after=3)) == 3
    assert policy.decide(2, Retry(after=3)) is None


def test_a_bad_after_is_logged_and_the_backoff_taken(caplog: pytest.LogCaptureFixture) -> None:
    assert fixed().decide(1, Retry(after=-5)) == 7
    assert "Retry(after)=-5" in caplog.text


@pytest.mark.parametrize(
    ("kinds", "error", "again"),
    [
        ((Exception,), Shortage(), True),
        ((ConnectionError,), Shortage(), True),
        ((KeyError,), Shortage(), False),
        ((SHORTAGE,), Shortage(), True),
        (("builtins.ConnectionError",), Shortage(), True),
        (("ConnectionError",), Shortage(), True),
        (("Shortage",), Shortage(), False),
        (("nowhere.Absent",), Shortage(), False),
        (("nowhere.Absent", OSError), Shortage(), True),
        ((), Shortage(), False),
        ((Exception,), KeyboardInterrupt(), False),
        ((BaseException,), KeyboardInterrupt(), True),
        ((Exception,), TaskTimeout(), True),
        ((TimeoutError,), TaskTimeout(), True),
        ((TaskTimeout,), TaskTimeout(), True),
        ((KeyError,), TaskTimeout(), False),
    ],
)
def test_retry_on_names_what_is_tried_again(kinds: Any, error: Any, again: bool) -> None:
    assert (fixed(retry_on=kinds).decide(1, error) is not None) is again
    # The same kinds given up on, with everything else tried again.
    assert (fixed(retry_on=(BaseException,), give_up_on=kinds).decide(1, error) is None) is again


def test_giving_up_beats_trying_again() -> None:
    policy = fixed(retry_on=(OSError,), give_up_on=(Shortage,))
    assert policy.decide(1, Shortage()) is None
    assert policy.decide(1, ConnectionError()) == 7


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", 10**6])
def test_max_attempts_is_a_whole_number_or_none(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^max_attempts="):
        RetryPolicy(max_attempts=value)


@pytest.mark.parametrize("value", [5, None, [5], [int], [ERROR], ["not a name"], [""], {"a": 1}])
@pytest.mark.parametrize("option", ["retry_on", "give_up_on"])
def test_only_exception_classes_and_names_can_be_retried_on(option: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{option}="):
        RetryPolicy(**{option: value})


def test_policies_are_compared_by_value() -> None:
    assert RetryPolicy(backoff=5) == RetryPolicy(backoff=5)
    assert RetryPolicy(backoff=5) != RetryPolicy(backoff=6)
