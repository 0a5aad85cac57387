"""``unique=``: what it may say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_taskq import Unique
from django_taskq.exceptions import InvalidOption
from django_taskq.unique import check_unique


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        ("until_started", Unique(until="started")),
        ("until_finished", Unique()),
        (60, Unique(ttl=60.0)),
        (0.5, Unique(ttl=0.5)),
        (timedelta(minutes=1), Unique(ttl=60.0)),
        (Unique("x", on_conflict="raise"), Unique("x", on_conflict="raise")),
    ],
)
def test_short_forms_are_kept_as_the_long_one(value: Any, kept: Any) -> None:
    assert check_unique(value, "unique") == kept


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("until_start", "did you mean 'until_started'?"),
        ("xyz", "must be 'until_started', 'until_finished', a number of seconds, or a Unique"),
        (True, "must be 'until_started'"),
        ([], "must be 'until_started'"),
        (0, "above 0"),
        (-1, "above 0"),
        (float("nan"), "above 0"),
        (timedelta(0), "above 0"),
        (10**30, "hundred years"),
    ],
)
def test_what_it_cannot_be_is_refused_with_the_value(value: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=r"^unique=") as refusal:
        check_unique(value, "unique")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": 5}, "Unique(key)=5: must be text"),
        ({"key": "{a"}, "Unique(key)='{a': is no format string"),
        ({"key": "until_started"}, "did you mean until='started'?"),
        ({"until": "start"}, "must be one of 'started', 'finished'; did you mean 'started'?"),
        ({"until": None}, "Unique(until)=None: must be one of"),
        ({"on_conflict": "ignore"}, "must be one of 'return', 'replace', 'raise'"),
        ({"on_conflict": "rise"}, "did you mean 'raise'?"),
        ({"on_conflict": []}, "Unique(on_conflict)=[]"),
        ({"ttl": -1}, "Unique(ttl)=-1: must be a number of seconds of at least 0"),
        ({"ttl": None}, "Unique(ttl)=None"),
    ],
)
def test_each_of_its_words_is_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        Unique(**options)
    assert said in str(refusal.value)


def test_a_lock_stays_in_milliseconds() -> None:
    assert Unique(ttl=timedelta(milliseconds=1500)).stays_ms == 1500
    assert Unique().stays_ms == 0
