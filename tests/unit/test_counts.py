"""Counters of attempts: buckets of times, marks, and what is read from them."""

from __future__ import annotations

from collections import Counter

import pytest

from django_taskq.counts import MOST, bucket, ends, failures, mark, parse, quantile
from django_taskq.job import Kind


def test_buckets_grow_by_the_square_root_of_two() -> None:
    assert [bucket(ms) for ms in (0, 1, 2, 3, 4, 5, 6, 8, 1024)] == [0, 1, 3, 4, 5, 5, 6, 7, 21]


def test_however_long_it_took_there_is_a_bucket() -> None:
    assert bucket(10**15) == MOST


def test_a_mark_says_outcome_times_and_task() -> None:
    assert mark(Kind.SUCCEEDED, "shop.tasks.pay", 1024, 0) == "S w21 r0|shop.tasks.pay"
    assert mark(Kind.CANCELLED, "shop.tasks.pay", -1, -1) == "C|shop.tasks.pay"
    assert mark(Kind.RETRYING, "shop.tasks.pay", -1, 2) == "R r3|shop.tasks.pay"


def test_what_is_no_counter_is_passed_over() -> None:
    assert parse("S=12,w9=10,r50=1,nonsense,x=,=3,S=") == Counter(S=12, w9=10, r50=1)


def test_failures_are_those_that_run_again_and_those_that_do_not() -> None:
    assert failures(Counter(S=1, R=2, D=3, K=4, X=5, Q=6, C=7, Z=8)) == 20


def test_of_outcomes_those_count_that_end_an_attempt() -> None:
    assert ends([]) == (0, 0)
    assert ends([Kind.SUCCEEDED] * 3) == (3, 0)
    assert ends([*Kind]) == (7, 5)
    assert ends([Kind.RETURNED, Kind.PARKED, Kind.SNOOZED]) == (0, 0)


@pytest.mark.parametrize("ms", [1, 7, 50, 333, 4_000, 70_000, 5_000_000])
def test_a_quantile_is_at_most_a_fifth_off(ms: int) -> None:
    counters = Counter({f"r{bucket(ms)}": 1, "r0": 1, "w50": 100})

    found = quantile(counters, "r", 0.75)

    assert found is not None
    assert found == pytest.approx(ms, rel=0.21, abs=0.5)


def test_quantiles_lie_in_order_and_within_what_was_counted() -> None:
    counters = Counter({f"w{bucket(ms)}": 1 for ms in (3, 40, 500, 6_000)})

    found = [quantile(counters, "w", share) or 0 for share in (0.25, 0.5, 0.75, 0.95)]

    assert found == sorted(found)
    assert found[-1] < 8_192


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(Counter(S=1), "r", 0.5) is None


def test_all_that_was_too_long_for_a_bucket_is_read_as_its_beginning() -> None:
    assert quantile(Counter({f"r{MOST}": 2}), "r", 0.95) == pytest.approx(2 ** ((MOST - 1) / 2))
