"""Schedules in words: ``0 9 * * mon-fri`` as *at 09:00, Monday to Friday*.

What has no short way to be said is not said: the expression stands beside it anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..cron import MACROS

EVEN = {"second": 60, "minute": 60, "hour": 24}
MOST_TIMES = 6  # times of a day that are listed one by one
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTH_NAMES = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
RANGE = re.compile(r"(\w+)-(\w+)")
STEPS = re.compile(r"\*/(\d+)")


class Unsaid(Exception):
    """There are no short words for it."""


def in_words(expression: str) -> str:
    """What an expression means; "" where that takes too many words."""
    text = expression.casefold()
    fields = MACROS.get(text, text).split()
    try:
        if fields[:1] == ["@every"]:
            return every(int(fields[1].removesuffix("s")))
        if len(fields) == 5:
            fields = ["0", *fields]
        if len(fields) != 6:
            return ""
        second, minute, hour, day, month, weekday = fields
        days = day_words(day, weekday)
        parts = [time_words(second, minute, hour), days, month_words(month)]
        is_daily = not days and month == "*" and "*" not in hour
        return joined(*parts, _("every day") if is_daily else "")
    except (Unsaid, ValueError, LookupError):  # also where it is none: a row is saved unchecked
        return ""


def every(seconds: int) -> str:
    """An interval in its largest whole unit."""
    if seconds % 86_400 == 0:
        return counted("day", seconds // 86_400)
    if seconds % 3_600 == 0:
        return counted("hour", seconds // 3_600)
    if seconds % 60 == 0:
        return counted("minute", seconds // 60)
    return counted("second", seconds)


def counted(unit: str, count: int) -> str:
    """``every minute``, ``every 5 minutes``"""
    texts = {
        "second": ngettext("every second", "every %(count)d seconds", count),
        "minute": ngettext("every minute", "every %(count)d minutes", count),
        "hour": ngettext("every hour", "every %(count)d hours", count),
        "day": ngettext("every day", "every %(count)d days", count),
    }
    return texts[unit] % {"count": count}


# -- times of a day --------------------------------------------------------------------------------


def time_words(second: str, minute: str, hour: str) -> str:
    """The first three fields."""
    seconds, minutes, hours = plain(second), plain(minute), plain(hour)
    if seconds and minutes and hours and len(seconds) * len(minutes) * len(hours) <= MOST_TIMES:
        times = [clock(h, m, s) for h in hours for m in minutes for s in seconds]
        return _("at %(times)s") % {"times": joined(*times)}
    if second != "0":
        if minute != "*":
            raise Unsaid
        return joined(steps_of("second", second), hour_words(hour))
    if minute == "0" and (hour == "*" or STEPS.fullmatch(hour)):
        return steps_of("hour", hour)
    if minutes:
        said = _("at minute %(list)s of the hour") % {"list": joined(*minute.split(","))}
    else:
        said = steps_of("minute", minute)
    return joined(said, hour_words(hour))


def steps_of(unit: str, field: str) -> str:
    """``*`` and ``*/5``"""
    match = STEPS.fullmatch(field)
    step = int(match[1]) if match else 1
    if (field != "*" and match is None) or not step or EVEN[unit] % step:
        raise Unsaid  # */7 is no "every 7 minutes"
    return counted(unit, step)


def hour_words(hour: str) -> str:
    """In which hours; "" for all."""
    if hour == "*":
        return ""
    if match := STEPS.fullmatch(hour):
        return _("in every %(number)s. hour") % {"number": match[1]}
    if re.fullmatch(r"[\d,-]+", hour) is None:
        raise Unsaid
    said = joined(*hour.replace("-", "\N{EN DASH}").split(","))
    return _("in the hours %(list)s") % {"list": said}


def plain(field: str) -> list[int]:
    """The numbers of a list of numbers; [] for what is none."""
    return sorted(map(int, field.split(","))) if re.fullmatch(r"\d+(,\d+)*", field) else []


def clock(hour: int, minute: int, second: int) -> str:
    """A time of the day."""
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def joined(*parts: str) -> str:
    return _(", ").join(part for part in parts if part)


# -- days and months -------------------------------------------------------------------------------


def day_words(day: str, weekday: str) -> str:
    """On which days; "" for all. Where both are restricted, either is enough."""
    said = []
    if day not in ("*", "?"):
        said.append(
            _("on the last day of the month")
            if day == "l"
            else _("on day %(list)s of the month") % {"list": numbers(day)}
        )
    if weekday not in ("*", "?"):
        said.append(listed(weekday, weekday_name))
    return _(" or ").join(said)


def month_words(month: str) -> str:
    """In which months; "" for all."""
    return "" if month == "*" else listed(month, month_name)


def numbers(field: str) -> str:
    """A list of numbers and ranges of them."""
    if re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", field) is None:
        raise Unsaid
    return joined(*field.replace("-", "\N{EN DASH}").split(","))


def listed(field: str, name: Callable[[str], str]) -> str:
    """Names, and ranges of them."""
    return joined(*(ranged(part, name) for part in field.split(",")))


def ranged(part: str, name: Callable[[str], str]) -> str:
    if match := RANGE.fullmatch(part):
        return _("%(first)s to %(last)s") % {"first": name(match[1]), "last": name(match[2])}
    return name(part)


def weekday_name(text: str) -> str:
    """``1``, ``mon``; ``5#2`` is the second Friday, ``l5`` the last."""
    if match := re.fullmatch(r"(\w+)#(\d)", text):
        return _("the %(number)s. %(day)s of the month") % {
            "number": match[2],
            "day": weekday_name(match[1]),
        }
    if match := re.fullmatch(r"l(\d)", text):
        return _("the last %(day)s of the month") % {"day": weekday_name(match[1])}
    number = int(text) if text.isdigit() else DAYS.index(text)
    return str(WEEKDAYS[(number - 1) % 7])


def month_name(text: str) -> str:
    """``1``, ``jan``"""
    return str(MONTHS[int(text) if text.isdigit() else MONTH_NAMES.index(text) + 1])
