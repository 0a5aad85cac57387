"""Tags of the admin's pages: addresses that keep the backend, times, states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from django import template
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from ..admin import charts, words
from ..admin.links import query
from ..clock import to_datetime

register = template.Library()
register.filter("taskq_duration", words.duration)


@register.simple_tag(takes_context=True)
def taskq_url(context: Mapping[str, Any], page: str, *args: str, **params: Any) -> str:
    """The address of one of our pages; named values become parameters, ``fields`` several.

    ``backend``: another one than that of the page.
    """
    fields = params.pop("fields", {})
    alias = params.pop("backend", context["alias"])
    request = context["request"]
    known: dict[Any, str] = vars(request).setdefault("taskq_paths", {})  # rows repeat theirs
    path = known.get((page, args))
    if path is None:
        path = known[page, args] = reverse(
            f"admin:django_taskq_{page}",
            args=[quote(str(arg)) for arg in args],
            current_app=request.current_app,
        )
    said = {**fields, **{name: str(value) for name, value in params.items() if value is not None}}
    return path + query(alias, said, context["aliases"][0])


@register.simple_tag
def taskq_time(ms: int, now: int = 0) -> SafeString | str:
    """A moment: how long ago, or in how long, with the time itself for who hovers or listens."""
    moment = to_datetime(int(ms or 0))
    if moment is None:
        return "–"
    exact = f"{moment:%Y-%m-%d %H:%M:%S}"  # as the filter ``date`` has it, in a tenth of the time
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="milliseconds"),
        exact,
        relative(ms - now) if now else apart(exact),
    )


@register.simple_tag
def taskq_moment(moment: datetime) -> SafeString:
    """A moment as clocks of its own time zone show it, with the zone's abbreviation."""
    day, clock, zone = (
        template.defaultfilters.date(moment, form) for form in ("D", "Y-m-d H:i:s", "T")
    )
    shown = apart(format_html('{} <span class="tq-quiet">{}</span>', clock, zone))
    return format_html('<time datetime="{}">{} {}</time>', moment.isoformat(), day, shown)


def apart(text: str) -> SafeString:
    """Something with an order of its own, which it keeps in a line that is read from the right."""
    return format_html("<bdi>{}</bdi>", text)


def relative(distance: int) -> str:
    """ms from now as people say it."""
    if abs(distance) < 1000:
        return _("just now")
    whole = abs(distance) // 1000 * 1000  # seconds: nobody counts tenths of an age
    length = words.duration(whole)
    return (_("in %(time)s") if distance > 0 else _("%(time)s ago")) % {"time": length}


@register.filter("taskq_short")
def short(number: float) -> str:
    """A number in few characters."""
    return charts.short(number)


@register.filter("taskq_ran")
def ran(ms: int) -> str:
    """How long something ran, in words."""
    return _("ran %(time)s") % {"time": words.duration(ms)}


@register.simple_tag
def taskq_state(state: str) -> SafeString:
    """A state as a badge."""
    return badge(state, get_language())


@lru_cache(maxsize=1024)  # a list has hundreds of a few
def badge(state: str, language: str | None) -> SafeString:
    """The same, once per language."""
    known = words.state_named(state)
    name = words.STATES[known] if known else state
    return format_html('<span class="tq-badge tq-badge-{}">{}</span>', state, name)


@register.filter
def taskq_count(value: int) -> str:
    """A number with its thousands apart."""
    return f"{int(value or 0):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


@register.filter
def taskq_dotted(name: str) -> SafeString:
    """A dotted name that a line may be broken in, behind its dots."""
    return format_html_join("", "{}<wbr>", ((part,) for part in re.findall(r"[^.]+\.?|\.", name)))


@register.filter
def taskq_bytes(value: int) -> SafeString:
    """Bytes in the unit that suits them."""
    return apart(template.defaultfilters.filesizeformat(value))


@register.filter
def taskq_verb(verb: str) -> str:
    """A verb's name."""
    return str(words.VERBS.get(verb, verb))


@register.filter
def taskq_told(value: Any, name: str) -> Any:
    """What an entry says of what was done, in words."""
    if name == "for" and isinstance(value, str) and value in words.IGNORED_FOR:
        return words.IGNORED_FOR[value][0]
    return value


@register.filter
def taskq_outcome(counts: Mapping[str, Any] | None) -> str:
    """What became of jobs."""
    if counts and counts.get("unsure"):
        return _("Redis did not answer: it may have been done")
    return words.outcome(counts) if counts else ""
