"""The providers there are. Each has two functions.

``capture()`` returns a JSON value, or None for nothing to take along. ``restore(value)`` returns a
context manager around the attempt. What it gets has been in Redis: it refuses what it cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone, translation
from django.utils.translation import trans_real

from . import values
from .trace import Trace

LANGUAGE = re.compile(r"[A-Za-z]{1,8}([-_@][A-Za-z0-9]{1,8})*")  # it becomes part of a path


class Provider(Protocol):
    """What a provider has to have; ``required`` (False) may be there too."""

    def capture(self) -> Any:
        """The value of now; None: nothing."""

    def restore(self, value: Any) -> AbstractContextManager[Any]:
        """A block in which the value holds."""


class Language:
    """The active language, if it is not the settings'."""

    def __init__(self) -> None:
        self._variable = variable_of(getattr(trans_real, "_active", None))

    def capture(self) -> str | None:
        if self._variable is not None and self._variable.get(None) is None:
            return None
        language = translation.get_language()
        return None if language == settings.LANGUAGE_CODE else language or ""

    def restore(self, value: Any) -> AbstractContextManager[Any]:
        if value and not LANGUAGE.fullmatch(value):
            raise ValueError("this is no language")
        return translation.override(value or None)  # "": translation is off


class Timezone:
    """The active time zone, if it is not the settings'."""

    def __init__(self) -> None:
        self._variable = variable_of(getattr(timezone, "_active", None))

    def capture(self) -> str | int | None:
        if self._variable is not None and self._variable.get(None) is None:
            return None
        zone = timezone.get_current_timezone()
        if zone == timezone.get_default_timezone():
            return None
        if name := getattr(zone, "key", None) or getattr(zone, "zone", None):
            return str(name)
        offset = zone.utcoffset(datetime.now(zone))
        return None if offset is None else round(offset.total_seconds() / 60)

    def restore(self, value: Any) -> AbstractContextManager[Any]:
        if isinstance(value, int):
            return timezone.override(timezone.get_fixed_timezone(value))
        return timezone.override(ZoneInfo(value))


class Variable:
    """A variable whose value is text."""

    def __init__(self, variable: ContextVar[str | None], *, required: bool = False) -> None:
        self.variable = variable
        self.required = required

    def capture(self) -> str | None:
        return self.variable.get()

    @contextmanager
    def restore(self, value: Any) -> Iterator[None]:
        if not isinstance(value, str):
            raise TypeError("this is no text")
        token = self.variable.set(value)
        try:
            yield
        finally:
            self.variable.reset(token)


class User(Variable):
    """The primary key of the request's user, or of the user whose request led to this job."""

    def __init__(self) -> None:
        super().__init__(values.user_id)

    def capture(self) -> str | None:
        known = self.variable.get()
        request = values.request.get()
        if known is not None or request is None:
            return known
        # What async code has loaded with auser(); `user` would ask the database.
        user = getattr(request, "_acached_user", None) or getattr(request, "user", None)
        return str(user.pk) if user is not None and user.is_authenticated else None


BUILT_IN: dict[str, Any] = {
    "language": Language,
    "timezone": Timezone,
    "tenant": lambda: Variable(values.tenant, required=True),
    "user": User,
    "request": lambda: Variable(values.request_id),
    "trace": Trace,
}


def variable_of(local: Any) -> ContextVar[Any] | None:
    """Where asgiref's Local keeps its values, if it is as we know it.

    Two looks into a Local cost 5 µs, twenty times one into its variable; mostly nothing is there.
    """
    try:
        variable = object.__getattribute__(local, "_storage")._data
    except AttributeError:
        return None
    return variable if isinstance(variable, ContextVar) else None
