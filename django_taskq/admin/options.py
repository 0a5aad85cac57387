"""What a job runs by, and who said so: its own enqueue, its task, the settings, or nobody.

What it asks for beside being run (its lock, limits and turn) is not in here: that was settled at
the enqueue, and Redis has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..compat import DEFAULT_TASK_PRIORITY, DEFAULT_TASK_QUEUE_NAME
from ..exceptions import InvalidOption
from ..job import Envelope
from ..options import TaskOptions, portable, restore
from ..task import look_up, own_options, variation

SHOWN = (
    *("max_attempts", "backoff", "retry_on", "give_up_on", "timeout", "expires_in"),
    *("retention", "isolate", "tags"),
)
SECONDS = ("timeout", "expires_in", "retention")
SOURCES = {
    "job": gettext_lazy("this job"),
    "task": gettext_lazy("the task"),
    "settings": "TASK_DEFAULTS",
    "default": gettext_lazy("default"),
}


class Option(NamedTuple):
    """An option as it is in force. ``ms``: the same where it is a length of time, else None."""

    name: str
    text: str
    ms: int | None
    source: str  # of SOURCES

    @property
    def said_by(self) -> str:
        return str(SOURCES[self.source])


def options_of(envelope: Envelope, alias: str, queue: str, priority: int) -> list[Option]:
    """The options of a job of a backend; of a task that is unknown here, its own alone."""
    declared, overrides = look_up(envelope.t), restore(envelope.o)
    if declared is None:
        return [option(name, value, "job") for name, value in sorted(overrides.items())]
    effective = variation(declared, envelope.o, backend=alias).options
    own = own_options(declared)
    place = place_of(declared.queue_name, queue, DEFAULT_TASK_QUEUE_NAME)
    rank = place_of(declared.priority, priority, DEFAULT_TASK_PRIORITY)
    found = [option("queue_name", queue, place), option("priority", priority, rank)]
    for name in SHOWN:
        value = getattr(effective, name)
        found.append(option(name, value, source_of(name, value, overrides, own)))
    return found


def place_of(declared: Any, value: Any, default: Any) -> str:
    """Who said where a job stands: of what Django's own options say nobody knows whether they
    were given or left out."""
    if value != declared:
        return "job"
    return "default" if value == default else "task"


def source_of(name: str, value: Any, overrides: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Who said it. A setting that says what is so without it is no different from none."""
    if name in overrides:
        return "job"
    if name in own:
        return "task"
    return "settings" if value != getattr(TaskOptions(), name) else "default"


def option(name: str, value: Any, source: str) -> Option:
    """An option in a person's words."""
    is_time = name in SECONDS and isinstance(value, int | float) and not isinstance(value, bool)
    return Option(name, said(name, value), round(value * 1000) if is_time else None, source)


def said(name: str, value: Any) -> str:
    """A value as it would be written, in short."""
    if value is None and name == "backoff":
        return _("grows with each attempt")
    if value is None or value == ():
        return _("none")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    try:
        plain = portable({name: value}).get(name, value)
    except InvalidOption:  # a function
        return called(value)
    if isinstance(plain, list):
        return ", ".join(str(each).removeprefix("builtins.") for each in plain)
    return str(plain)


def called(function: Callable[..., Any]) -> str:
    """What a function is called."""
    return f"{getattr(function, '__qualname__', type(function).__qualname__)}()"
