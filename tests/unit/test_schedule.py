"""What a schedule may be declared with, and which of its ticks are made up for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq.clock_changes import clock_changes
from django_taskq.exceptions import InvalidOption
from django_taskq.schedule import LATE, MOST, Backlog, Schedule, check_name, tick_name

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NOON = 1_767_268_800_000  # 2026-01-01T12:00Z


def minutely(**options: Any) -> Schedule:
    return Schedule("* * * * *", **options)


def shown(moments: list[datetime]) -> list[str]:
    return [moment.isoformat(timespec="minutes") for moment in moments]


# -- ticks -----------------------------------------------------------------------------------------


def test_the_next_runs_are_told_in_the_schedules_own_zone() -> None:
    berlin = Schedule("30 2 * * *", tz="Europe/Berlin")
    before = int(datetime(2026, 3, 27, 12, tzinfo=UTC).timestamp() * 1000)

    assert shown(berlin.next_runs(before, 3)) == [
        "2026-03-28T02:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_start_and_end_are_moments_that_may_have_a_tick() -> None:
    start = datetime(2026, 1, 1, 12, 10, tzinfo=UTC)
    bounded = minutely(start=start, end=start + timedelta(minutes=2))

    assert shown(bounded.next_runs(NOON - DAY, 9)) == [
        "2026-01-01T12:10+00:00",
        "2026-01-01T12:11+00:00",
        "2026-01-01T12:12+00:00",
    ]
    assert bounded.next_after(NOON + 12 * MINUTE) is None


def test_naive_bounds_are_in_the_schedules_zone() -> None:
    tokyo = Schedule("@daily", tz="Asia/Tokyo", start=datetime(2026, 1, 2))

    assert tokyo.next_after(0) == int(datetime(2026, 1, 1, 15, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("expression", ["* * * * *", "0 0 29 2 *", "@every 1h"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
def test_the_latest_start_there_is_has_runs_and_clock_changes(expression: str, zone: str) -> None:
    late = Schedule(expression, tz=zone, start=datetime(8999, 12, 31))

    runs = late.next_runs(0, 5)

    assert len(runs) == 5
    assert isinstance(clock_changes(late, 0, runs), list)


def test_an_interval_is_counted_from_the_start() -> None:
    start = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
    every = Schedule(timedelta(minutes=1), start=start)

    assert every.next_after(0) == NOON + 7 * SECOND
    assert every.next_after(NOON + 7 * SECOND) == NOON + 67 * SECOND
    assert Schedule(timedelta(minutes=1)).next_after(NOON) == NOON + MINUTE


def test_jitter_is_the_same_everywhere_and_differs_from_tick_to_tick() -> None:
    spread = minutely(jitter=timedelta(seconds=30))
    ticks = [NOON + number * MINUTE for number in range(200)]
    delays = [spread.fires_at("a", tick) - tick for tick in ticks]

    assert delays == [minutely(jitter=30).fires_at("a", tick) - tick for tick in ticks]
    assert delays != [spread.fires_at("b", tick) - tick for tick in ticks]
    assert 0 <= min(delays) < 3_000
    assert 27_000 < max(delays) <= 30_000
    assert minutely().fires_at("a", NOON) == NOON


def test_a_ticks_name_depends_on_schedule_and_time_alone() -> None:
    assert tick_name("a", NOON) == tick_name("a", NOON)
    assert len({tick_name("a", NOON), tick_name("a", NOON + 1), tick_name("b", NOON)}) == 3
    assert len(tick_name("ä" * 200, NOON)) == 22
    assert tick_name("a", NOON).isalnum()


def test_the_fingerprint_is_that_of_the_ticks() -> None:
    plain = minutely()

    assert plain.fingerprint == minutely(overlap="queue", catch_up="all", jitter=3).fingerprint
    others = [
        Schedule("*/2 * * * *"),
        minutely(tz="Europe/Berlin"),
        minutely(start=datetime(2026, 1, 1, tzinfo=UTC)),
        minutely(end=datetime(2026, 1, 1, tzinfo=UTC)),
        minutely(enabled=False),
    ]
    assert plain.fingerprint not in {other.fingerprint for other in others}
    assert len({other.fingerprint for other in others}) == len(others)


# -- missed ticks ----------------------------------------------------------------------------------


def after(minutes: float, **options: Any) -> Backlog:
    """What there is to make up for so long after the last tick at noon."""
    return minutely(**options).backlog(NOON, NOON + round(minutes * MINUTE))


@pytest.mark.parametrize("catch_up", ["skip", "one", "all"])
def test_a_tick_is_missed_when_it_is_more_than_ten_seconds_late(catch_up: str) -> None:
    assert LATE == 10 * SECOND
    assert after(1.1, catch_up=catch_up) == Backlog([], 0, NOON)
    late = after(1.2, catch_up=catch_up)
    assert late.upto == NOON + MINUTE
    assert (late.fire == []) is (catch_up == "skip")


def test_what_is_made_up_for() -> None:
    three = [NOON + minute * MINUTE for minute in (1, 2, 3)]

    assert after(3.5, catch_up="skip") == Backlog([], 3, three[-1])
    assert after(3.5, catch_up="one") == Backlog([three[-1]], 2, three[-1])
    assert after(3.5, catch_up="all") == Backlog(three, 0, three[-1])


def test_one_is_not_made_up_for_when_another_is_due_anyhow() -> None:
    assert after(4.1, catch_up="one") == Backlog([], 3, NOON + 3 * MINUTE)


def test_what_waits_for_its_jitter_is_not_late() -> None:
    assert after(1.5, jitter=60) == Backlog([], 0, NOON)
    assert after(2.5, jitter=60).fire == []


def test_all_makes_up_for_a_thousand_and_counts_what_it_leaves_out() -> None:
    backlog = after(2_000.5, catch_up="all")

    assert MOST == len(backlog.fire) == 1_000
    assert backlog.fire[-1] == backlog.upto == NOON + 2_000 * MINUTE
    assert backlog.fire[0] == NOON + 1_001 * MINUTE
    assert backlog.missed == 1_000


EXPRESSIONS = ["* * * * *", "*/7 3 * * *", "* * 1 * *", "0 0 1 1 *", "@every 17m", "* 0 1 1,2 *"]


@settings(deadline=None, max_examples=60)
@given(
    expression=st.sampled_from(EXPRESSIONS),
    since=st.integers(min_value=0, max_value=40 * DAY),
    most=st.sampled_from([1, 3, 50]),
)
def test_the_newest_ticks_are_found_without_walking_through_all(
    expression: str, since: int, most: int
) -> None:
    schedule = Schedule(expression)
    ticks = []
    tick = schedule.next_after(NOON - since)
    while tick is not None and tick <= NOON:
        ticks.append(tick)
        tick = schedule.next_after(tick)

    found, passed = schedule.newest(NOON - since, NOON, most)

    assert found == ticks[-most:]
    assert passed <= len(ticks) - len(found)
    assert (passed > 0) is (len(ticks) > len(found))


def test_ticks_on_both_sides_of_where_a_walk_broke_off_are_found() -> None:
    until = 1_767_268_800_000  # noon of a first of January

    found, passed = Schedule("* * 1 * *").newest(until - 55_260_002, until, 50)

    assert found == [until - 60_000 * minutes for minutes in reversed(range(50))]
    assert passed > 0


def test_years_of_seconds_are_not_walked_through() -> None:
    calls = 0
    schedule = Schedule("* * * * * *", catch_up="one")
    plain = schedule._next

    def counting(moment: int) -> int:
        nonlocal calls
        calls += 1
        return plain(moment)

    object.__setattr__(schedule, "_next", counting)
    backlog = schedule.backlog(NOON - 3 * 365 * DAY, NOON)

    assert backlog.missed > 100
    assert backlog.upto == NOON - LATE
    assert calls < 1_000


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tz": "Europe/Atlantis"}, "tz='Europe/Atlantis': must be the name of a time zone"),
        ({"tz": "../../etc/passwd"}, "tz="),
        ({"tz": ""}, "tz=''"),
        ({"tz": 3}, "tz=3"),
        ({"overlap": "skipp"}, "overlap='skipp': must be one of 'skip', 'queue', 'replace'"),
        ({"overlap": True}, "overlap=True"),
        ({"catch_up": "none"}, "catch_up='none': must be one of 'skip', 'one', 'all'"),
        ({"jitter": -1}, "jitter=-1"),
        ({"jitter": True}, "jitter=True: must be seconds or a timedelta"),
        ({"jitter": timedelta(days=2)}, "jitter=.*of a day at most"),
        ({"enabled": "yes"}, "enabled='yes': must be True or False"),
        ({"start": "2026-01-01"}, "start='2026-01-01': must be a datetime"),
        ({"end": datetime(1960, 1, 1)}, "end=.*must not be before 1970"),
        ({"start": datetime(9000, 1, 1)}, "start=.*must be before the year 9000"),
        ({"end": datetime.max.replace(tzinfo=UTC)}, "end=.*must be before the year 9000"),
        (
            {"start": datetime(2026, 1, 2), "end": datetime(2026, 1, 1)},
            "end=.*must not be before start",
        ),
    ],
)
def test_a_bad_option_is_refused_with_its_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        minutely(**options)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201, 3, None])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidOption, match="name="):
        check_name(name)
