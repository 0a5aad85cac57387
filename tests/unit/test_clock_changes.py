"""What clocks that are set do to a schedule, said as the engine then does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_taskq.clock_changes import MOST, NEAR, ClockChange, clock_changes
from django_taskq.schedule import Schedule

HOUR = 3_600
SHOWN = "%Y-%m-%d %H:%M"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def wall(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):{SHOWN}}"


def seen(schedule: Schedule, now: str) -> list[ClockChange]:
    return clock_changes(schedule, ms(now), schedule.next_runs(ms(now), 5))


def runs_on(schedule: Schedule, change: ClockChange) -> list[str]:
    """What clocks show at each run of the two days around a change."""
    low, high = change.at * 1000 - 86_400_000, change.at * 1000 + 86_400_000
    runs = schedule.next_runs(low, 5_000)
    return [f"{run:{SHOWN}}" for run in runs if run.timestamp() * 1000 <= high]


CHANGES = [
    # expression, zone, some days before, clocks before and after, its times, way
    ("30 2 * * *", "Europe/Berlin", "2027-03-25", ("02:00", "03:00"), ["02:30"]),
    ("30 2 * * *", "Europe/Berlin", "2027-10-28", ("03:00", "02:00"), ["02:30"]),
    ("0,30 2 * * *", "Europe/Berlin", "2027-03-25", ("02:00", "03:00"), ["02:00", "02:30"]),
    ("30 1 * * *", "America/New_York", "2027-11-05", ("02:00", "01:00"), ["01:30"]),
    ("30 2 * * *", "America/New_York", "2027-03-12", ("02:00", "03:00"), ["02:30"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2027-10-01", ("02:00", "02:30"), ["02:15"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2027-04-02", ("02:00", "01:30"), ["01:45"]),
    ("0 0 * * *", "America/Santiago", "2027-09-03", ("00:00", "01:00"), ["00:00"]),
    ("30 1 * * *", "Europe/Berlin", "2027-03-25", ("02:00", "03:00"), []),
    ("0 9 * * mon", "America/New_York", "2027-11-05", ("02:00", "01:00"), []),
]


@pytest.mark.parametrize(("expression", "zone", "now", "clocks", "times"), CHANGES)
def test_a_wall_time_that_is_left_out_or_comes_twice_runs_once(
    expression: str, zone: str, now: str, clocks: tuple[str, str], times: list[str]
) -> None:
    schedule = Schedule(expression, tz=zone)

    change = seen(schedule, now)[0]

    assert (wall(change.before)[-5:], wall(change.after)[-5:]) == clocks
    assert change.way == "wall"
    assert [wall(each)[-5:] for each in change.times] == times
    runs = runs_on(schedule, change)
    for each in map(wall, change.times):
        assert runs.count(each) == (0 if change.is_forward else 1)
    if change.is_forward and times:
        assert runs.count(wall(change.after)) == 1
    if not change.is_forward and times:  # the first time they show it
        first = change.times[0] - change.before + change.at
        assert schedule.next_after(first * 1000 - 1) == first * 1000


@pytest.mark.parametrize(
    ("zone", "now", "expression", "times"),
    [
        ("Europe/Berlin", "2027-03-25", "*/30 * * * *", ["02:00", "02:30"]),
        ("Europe/Berlin", "2027-10-28", "*/30 * * * *", ["02:00", "02:30"]),
        ("Australia/Lord_Howe", "2027-04-02", "45 * * * *", ["01:45"]),
        ("Australia/Lord_Howe", "2027-04-02", "15 * * * *", []),
    ],
)
def test_one_for_every_hour_runs_as_often_as_clocks_show_its_times(
    zone: str, now: str, expression: str, times: list[str]
) -> None:
    schedule = Schedule(expression, tz=zone)

    (change,) = seen(schedule, now)

    assert change.way == "elapsed"
    assert [wall(each)[-5:] for each in change.times] == times
    runs = runs_on(schedule, change)
    for each in map(wall, change.times):
        assert runs.count(each) == (0 if change.is_forward else 2)


def test_an_interval_knows_no_clocks() -> None:
    schedule = Schedule("@every 1h", tz="Europe/Berlin")

    (change,) = seen(schedule, "2027-03-25")

    assert (change.way, change.times) == ("interval", ())


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC", "Asia/Kolkata"])
def test_where_clocks_are_never_set_there_is_nothing_to_say(zone: str) -> None:
    assert seen(Schedule("30 2 * * *", tz=zone), "2027-03-25") == []


def test_what_is_far_from_every_run_is_not_said() -> None:
    yearly = Schedule("0 9 1 6 *", tz="Europe/Berlin")
    monthly = Schedule("0 9 1 * *", tz="Europe/Berlin")

    assert seen(yearly, "2027-01-01") == []
    (change,) = seen(monthly, "2027-01-01")  # four days before the first of April
    assert wall(change.before) == "2027-03-28 02:00"


def test_a_change_is_near_for_a_week_before_the_first_run_and_none_once_it_is_over() -> None:
    schedule = Schedule("* * * * *", tz="Europe/Berlin")
    at = ms("2027-03-28T01:00") // 1000

    def said(moment: int) -> list[int]:
        runs = schedule.next_runs(moment * 1000, 5)
        return [change.at for change in clock_changes(schedule, moment * 1000, runs)]

    assert said(at - NEAR - HOUR) == []
    assert said(at - NEAR) == [at]
    assert said(at - 1) == [at]
    assert said(at) == []


def test_two_changes_among_the_next_runs_are_said_in_order() -> None:
    weekly = Schedule("30 2 * * 0", tz="Africa/Casablanca")  # back for the month of fasting

    changes = seen(weekly, "2027-02-01")

    assert [change.is_forward for change in changes] == [False, True]
    assert changes[1].at - changes[0].at == timedelta(days=35).total_seconds()


def test_times_outside_of_its_start_and_end_are_not_its_own() -> None:
    change = datetime(2027, 3, 28, 1, tzinfo=UTC)
    short = Schedule("30 2 * * *", tz="Europe/Berlin", end=change - timedelta(seconds=1))
    longer = Schedule("30 2 * * *", tz="Europe/Berlin", end=change)

    assert seen(short, "2027-03-25")[0].times == ()
    assert [wall(each)[-5:] for each in seen(longer, "2027-03-25")[0].times] == ["02:30"]
    assert longer.next_after(ms("2027-03-28")) == int(change.timestamp() * 1000)


def test_of_many_times_the_first_are_enough() -> None:
    (change,) = seen(Schedule("* * * * * *", tz="Europe/Berlin"), "2027-03-25")

    assert len(change.times) == MOST + 1
