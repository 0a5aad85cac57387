"""Tags of the admin's pages: addresses that keep the backend, times, states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..admin import words
from ..admin.links import query
from ..clock import to_datetime

register = template.Library()
UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


@register.simple_tag(takes_context=True)
def taskq_url(context: Mapping[str, Any], page: str, *args: str, **params: Any) -> str:
    """The address of one of our pages; named values become parameters, ``fields`` several."""
    fields = params.pop("fields", {})
    path = reverse(
        f"admin:django_taskq_{page}",
        args=[quote(str(arg)) for arg in args],
        current_app=context["request"].current_app,
    )
    said = {**fields, **{name: str(value) for name, value in params.items() if value is not None}}
    return path + query(context["alias"], said)


@register.simple_tag
def taskq_time(ms: int, now: int = 0) -> SafeString | str:
    """A moment: how long ago, or in how long, with the time itself for who hovers or listens."""
    moment = to_datetime(int(ms or 0))
    if moment is None:
        return "–"
    exact = template.defaultfilters.date(moment, "Y-m-d H:i:s")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="milliseconds"),
        exact,
        relative(ms - now) if now else exact,
    )


@register.simple_tag
def taskq_moment(moment: datetime) -> SafeString:
    """A moment as clocks of its own time zone show it, with the zone's abbreviation."""
    shown = template.defaultfilters.date(moment, "D, Y-m-d H:i:s")
    zone = template.defaultfilters.date(moment, "T")
    html = '<time datetime="{}">{} <span class="tq-quiet">{}</span></time>'
    return format_html(html, moment.isoformat(), shown, zone)


def relative(distance: int) -> str:
    """ms from now as people say it."""
    if abs(distance) < 1000:
        return _("just now")
    length = duration(abs(distance) // 1000 * 1000)  # whole seconds: nobody counts tenths of an age
    return (_("in %(time)s") if distance > 0 else _("%(time)s ago")) % {"time": length}


@register.filter("taskq_duration")
def duration(ms: float) -> str:
    """A length of time in its two largest units."""
    ms = max(float(ms or 0), 0)
    if ms < 1000:
        return _("%(number)d ms") % {"number": ms}
    if ms < 10_000 and ms % 1000:
        return _("%(number).1f s") % {"number": ms / 1000}
    names = {"d": _("d"), "h": _("h"), "min": _("min"), "s": _("s")}
    parts = []
    rest = int(ms)
    for size, unit in UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {names[unit]}")
        if len(parts) == 2 or (parts and size == 60_000 and number >= 10):
            break
    return " ".join(parts)


@register.simple_tag
def taskq_state(state: str) -> SafeString:
    """A state as a badge."""
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
def taskq_bytes(value: int) -> str:
    """Bytes in the unit that suits them."""
    return str(template.defaultfilters.filesizeformat(value))


@register.filter
def taskq_get(mapping: Mapping[str, Any], key: str) -> Any:
    """An entry of a mapping by a name that is in a variable."""
    return mapping.get(key, 0)


@register.filter
def taskq_verb(verb: str) -> str:
    """A verb's name."""
    return str(words.VERBS.get(verb, verb))


@register.filter
def taskq_outcome(counts: Mapping[str, Any] | None) -> str:
    """What became of jobs."""
    if counts and counts.get("unsure"):
        return _("Redis did not answer: it may have been done")
    return words.outcome(counts) if counts else ""
