"""How a child's room is split over its queues."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq.shares import Shares

WEIGHTS = {"critical": 6, "default": 3, "low": 1}
NONE: set[str] = set()

weights = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=1)


def test_room_is_split_by_weight() -> None:
    assert Shares(WEIGHTS).split(20, NONE) == {"critical": 12, "default": 6, "low": 2}


def test_single_places_go_round_smoothly() -> None:
    """A heavy queue is not served six times in a row."""
    shares = Shares({"a": 3, "b": 1})

    served = ["".join(shares.split(1, NONE)) for _ in range(8)]

    assert "".join(served) == "aabaaaba"


def test_small_rooms_add_up_to_the_weights() -> None:
    shares, given_to = Shares(WEIGHTS), Counter[str]()
    for _ in range(100):
        given_to.update(shares.split(1, NONE))

    assert given_to == {"critical": 60, "default": 30, "low": 10}


def test_without_room_nobody_is_asked() -> None:
    assert Shares(WEIGHTS).split(0, NONE) == {}
    assert Shares(WEIGHTS).split(-3, NONE) == {}
    assert Shares(WEIGHTS, strict=True).split(0, NONE) == {}


def test_what_a_dry_queue_leaves_goes_to_the_others() -> None:
    asks = Shares(WEIGHTS).split(40, {"critical"})

    assert asks == {"critical": 1, "default": 30, "low": 10}


def test_a_dry_queue_is_asked_for_one_beyond_the_room() -> None:
    """New work in it is noticed, and costs the others nothing."""
    assert Shares({"a": 1, "b": 1}).split(1, {"a"}) == {"a": 1, "b": 1}


def test_where_all_are_dry_nothing_goes_beyond_the_room() -> None:
    asks = Shares(WEIGHTS).split(2, set(WEIGHTS))

    assert sum(asks.values()) == 2


def test_a_queue_that_was_dry_does_not_catch_up() -> None:
    shares = Shares({"a": 1, "b": 1})
    for _ in range(100):
        shares.split(1, {"a"})

    served = Counter[str]()
    for _ in range(10):
        served.update(shares.split(1, NONE))

    assert served == {"a": 5, "b": 5}


@settings(deadline=None)
@given(weights, st.lists(st.integers(1, 600), min_size=1, max_size=30))
def test_all_room_is_used_and_each_gets_its_weight(split: dict[str, int], rooms: list[int]) -> None:
    shares, total = Shares(split), sum(split.values())
    given_to = Counter[str]()
    for room in rooms:
        asks = shares.split(room, NONE)
        assert sum(asks.values()) == room
        given_to.update(asks)

    for name, weight in split.items():
        fair = sum(rooms) * weight / total
        assert abs(given_to[name] - fair) < len(split) + 1


@settings(deadline=None)
@given(weights, st.sets(st.sampled_from("abcde")), st.integers(1, 50))
def test_whatever_is_dry_the_others_share_the_room(
    split: dict[str, int], dry: set[str], room: int
) -> None:
    dry &= set(split)
    asks = Shares(split).split(room, dry)

    if dry != set(split):
        assert sum(ask for name, ask in asks.items() if name not in dry) == room
        assert all(asks[name] == 1 for name in dry)
    assert all(ask > 0 for ask in asks.values())


# -- strict ----------------------------------------------------------------------------------------


def test_strict_gives_all_room_to_the_heaviest_queue() -> None:
    shares = Shares({"low": 1, "critical": 6, "default": 3}, strict=True)

    assert shares.queues == ["critical", "default", "low"]
    assert [shares.split(10, NONE) for _ in range(3)] == [{"critical": 10}] * 3


@pytest.mark.parametrize(
    ("dry", "asks"),
    [
        ({"critical"}, {"critical": 1, "default": 10}),
        ({"critical", "default"}, {"critical": 1, "default": 1, "low": 10}),
        ({"default"}, {"critical": 10}),
        ({"low"}, {"critical": 10}),
    ],
)
def test_strict_asks_a_lower_queue_only_when_all_above_were_left_empty(
    dry: set[str], asks: dict[str, int]
) -> None:
    assert Shares(WEIGHTS, strict=True).split(10, dry) == asks


def test_queues_of_one_weight_stay_in_the_order_they_were_named() -> None:
    assert Shares({"b": 1, "a": 1, "c": 1}, strict=True).queues == ["b", "a", "c"]
    assert Shares({"b": 1, "a": 5}).queues == ["b", "a"]
