"""When a schedule is due, also on the days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq.cron import offset_at, parse
from django_taskq.exceptions import InvalidOption

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
# Lord Howe's clocks are moved by half an hour, Beirut's and Havana's at midnight, and Apia had no
# 30 December in 2011.
ZONES = [BERLIN, NEW_YORK, LORD_HOWE, "Asia/Beirut", "America/Havana", "Pacific/Apia", "UTC"]


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def due(expression: str, zone: str, after: str, until: str) -> list[str]:
    """The local times of the ticks in (after, until], with their offset."""
    _, following = parse(expression, ZoneInfo(zone))
    found = []
    at, end = moment(after), moment(until)
    while (at := following(at)) <= end:
        found.append(datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%d. %H:%M%z"))
    return found


# -- the days of 23 and 25 hours -------------------------------------------------------------------


def test_a_time_that_does_not_exist_fires_when_the_gap_ends() -> None:
    window = ("2026-03-28T00:00+01:00", "2026-03-31T00:00+02:00")

    assert due("30 2 * * *", BERLIN, *window) == [
        "28. 02:30+0100",
        "29. 03:00+0200",
        "30. 02:30+0200",
    ]
    window = ("2026-03-08T00:00-05:00", "2026-03-09T00:00-04:00")
    assert due("30 2 * * *", NEW_YORK, *window) == ["08. 03:00-0400"]
    window = ("2026-10-04T00:00+10:30", "2026-10-05T00:00+11:00")
    assert due("15 2 * * *", LORD_HOWE, *window) == ["04. 02:30+1100"]
    assert due("45 2 * * *", LORD_HOWE, *window) == ["04. 02:45+1100"]


def test_a_time_that_exists_twice_fires_the_first_time_only() -> None:
    window = ("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00")

    assert due("30 2 * * *", BERLIN, *window) == ["25. 02:30+0200"]
    window = ("2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00")
    assert due("30 1 * * *", NEW_YORK, *window) == ["01. 01:30-0400"]
    window = ("2026-04-05T00:00+11:00", "2026-04-06T00:00+10:30")
    assert due("45 1 * * *", LORD_HOWE, *window) == ["05. 01:45+1100"]


def test_several_times_in_the_gap_fire_once() -> None:
    window = ("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00")

    assert due("*/30 2,3 * * *", BERLIN, *window) == ["29. 03:00+0200", "29. 03:30+0200"]


def test_an_expression_for_every_hour_follows_elapsed_time() -> None:
    window = ("2026-03-29T01:00+01:00", "2026-03-29T04:00+02:00")
    assert due("*/30 * * * *", BERLIN, *window) == [
        "29. 01:30+0100",
        "29. 03:00+0200",
        "29. 03:30+0200",
        "29. 04:00+0200",
    ]
    window = ("2026-10-25T01:30+02:00", "2026-10-25T03:00+01:00")
    assert due("*/30 * * * *", BERLIN, *window) == [
        "25. 02:00+0200",
        "25. 02:30+0200",
        "25. 02:00+0100",
        "25. 02:30+0100",
        "25. 03:00+0100",
    ]
    window = ("2026-11-01T00:30-04:00", "2026-11-01T02:00-05:00")
    assert due("0 * * * *", NEW_YORK, *window) == [
        "01. 01:00-0400",
        "01. 01:00-0500",
        "01. 02:00-0500",
    ]


def test_half_an_hour_that_is_left_out_or_repeated_is_half_an_hour() -> None:
    window = ("2026-10-04T01:00+10:30", "2026-10-04T03:00+11:00")
    assert due("*/30 * * * *", LORD_HOWE, *window) == [
        "04. 01:30+1030",
        "04. 02:30+1100",
        "04. 03:00+1100",
    ]
    window = ("2026-04-05T01:00+11:00", "2026-04-05T02:30+10:30")
    assert due("*/30 * * * *", LORD_HOWE, *window) == [
        "05. 01:30+1100",
        "05. 01:30+1030",
        "05. 02:00+1030",
        "05. 02:30+1030",
    ]


def test_a_day_that_a_zone_left_out_fires_when_the_next_begins() -> None:
    window = ("2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00")

    assert due("0 9 * * *", "Pacific/Apia", *window) == ["31. 00:00+1400", "31. 09:00+1400"]


def test_an_interval_knows_no_clock_on_the_wall() -> None:
    _, following = parse("@every 1h", ZoneInfo(BERLIN))
    at = moment("2026-03-29T00:00+01:00")

    assert [following(at + hour * 3600) - at for hour in range(4)] == [3600, 7200, 10800, 14400]


# -- against a look at every moment ----------------------------------------------------------------


def is_last(day: datetime) -> bool:
    return (day + timedelta(days=1)).day == 1


def brute(cron: str, zone: ZoneInfo, after: int, until: int) -> set[int]:
    """The same by looking at every minute, of the world or of the wall."""
    fields = croniter.expand(cron)[0]

    def named(wall: int) -> bool:
        shown = datetime.fromtimestamp(wall, UTC)
        day = shown.day if "l" not in fields[2] else "l" if is_last(shown) else 0
        parts = zip(fields, (shown.minute, shown.hour, day), strict=False)
        return all(field == ["*"] or part in field for field, part in parts)

    minutes = range(after - after % 60 + 60, until + 1, 60)
    if fields[1] == ["*"]:
        return {at for at in minutes if named(at + offset_at(zone, at))}
    first_shown: dict[int, int] = {}
    found = set()
    before = None
    for at in range(minutes.start - 2 * 86_400, minutes.stop, 60):
        wall = at + offset_at(zone, at)
        if before is not None:
            for missed in range(before + 60, wall, 60):  # the gap, if there is one
                first_shown.setdefault(missed, at)
        first_shown.setdefault(wall, at)
        before = wall
    found = {at for wall, at in first_shown.items() if after < at <= until and named(wall)}
    return found


MINUTES = st.sampled_from(["*", "*/30", "*/7", "0", "15", "30", "45", "59", "10-50/20"])
HOUR_FIELDS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "23", "1,2", "1-3", "0-22"])
DAYS = st.sampled_from(["*", "29", "1-7", "L"])
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00+00:00"),
    ("Europe/Berlin", "2026-10-25T01:00+00:00"),
    ("America/New_York", "2026-03-08T07:00+00:00"),
    ("America/New_York", "2026-11-01T06:00+00:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30+00:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00+00:00"),
    ("Asia/Beirut", "2026-03-28T22:00+00:00"),
    ("Asia/Beirut", "2026-10-24T21:00+00:00"),
    ("America/Havana", "2026-11-01T05:00+00:00"),
    ("Pacific/Apia", "2011-12-30T10:00+00:00"),
    ("UTC", "2028-02-29T00:00+00:00"),
]


@settings(deadline=None, max_examples=100)
@given(
    minute=MINUTES,
    hour=HOUR_FIELDS,
    day=DAYS,
    change=st.sampled_from(CHANGES),
    before=st.integers(min_value=0, max_value=30 * 3600),
)
def test_no_tick_is_left_out_or_invented_around_a_change_of_the_clocks(
    minute: str, hour: str, day: str, change: tuple[str, str], before: int
) -> None:
    zone = ZoneInfo(change[0])
    cron = f"{minute} {hour} {day} * *"
    after = moment(change[1]) - before
    until = moment(change[1]) + 30 * 3600
    _, following = parse(cron, zone)

    found = []
    at = following(after)
    while at <= until:
        found.append(at)
        at = following(at)

    assert found == sorted(brute(cron, zone, after, until))


@settings(deadline=None, max_examples=100)
@given(
    zone=st.sampled_from(ZONES),
    cron=st.sampled_from(["15 * 25 10 *", "30 2 29 2 *", "0 0 1 1 *", "5 4 * * mon", "* * 1 7 *"]),
    at=st.integers(
        min_value=moment("2009-01-01T00:00+00:00"), max_value=moment("2040-01-01T00:00+00:00")
    ),
)
def test_the_next_tick_is_the_next_from_anywhere_before_it(zone: str, cron: str, at: int) -> None:
    _, following = parse(cron, ZoneInfo(zone))
    tick = following(at)

    assert tick > at
    assert following(tick - 1) == tick
    assert following((at + tick) // 2 if at + 1 < tick else at) == tick


# -- what can be written ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("@hourly", "00. 01:00"),
        ("@daily", "00. 00:00"),
        ("*/20 * * * *", "00:20"),
        ("30 */20 * * * *", "00:00"),
        ("0 9 * * mon-fri", "09:00"),
        ("@every 90s", "00:01"),
        ("@every 1h30m", "01:30"),
        (timedelta(minutes=2), "00:02"),
    ],
)
def test_every_form_is_understood(expression: str | timedelta, first: str) -> None:
    _, following = parse(expression, ZoneInfo("UTC"))
    at = datetime.fromtimestamp(following(moment("2024-01-01T00:00+00:00")), UTC)

    assert at.strftime("%H:%M") == first[-5:]


def test_six_fields_begin_with_the_seconds() -> None:
    _, following = parse("15,45 30 2 * * *", ZoneInfo("UTC"))
    night = moment("2026-01-01T02:30:00+00:00")

    assert following(night) == night + 15
    assert following(night + 15) == night + 45


def test_a_leap_day_is_waited_for() -> None:
    _, following = parse("0 0 29 2 *", ZoneInfo("UTC"))

    assert following(moment("2097-01-01T00:00+00:00")) == moment("2104-02-29T00:00+00:00")


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 4,6 *", "0 0 0 30 2 *"])
def test_an_expression_that_never_fires_is_refused(expression: str) -> None:
    with pytest.raises(InvalidOption, match="never fires"):
        parse(expression, ZoneInfo("UTC"))


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * * *", "61 * * * *", "a b c d e", "@reboot", "R * * * *"),
        *(
            "H H * * *",
            "@every",
            "@every 0s",
            "@every 500ms",
            "@every 1.5s",
            "@every -1s",
            "nightly",
        ),
        *(timedelta(0), timedelta(milliseconds=1500), timedelta(days=-1), 90, None, b"* * * * *"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_forms_there_are(expression: object) -> None:
    with pytest.raises(InvalidOption, match=r"expression=.*must|expression=.*at least"):
        parse(expression, ZoneInfo("UTC"))  # type: ignore[arg-type]


def test_the_same_interval_has_one_written_form() -> None:
    zone = ZoneInfo("UTC")

    assert parse("@every 1m30s", zone)[0] == parse(timedelta(seconds=90), zone)[0] == "@every 90s"
    assert parse(" 0  0 * * * ", zone)[0] == "0 0 * * *"
