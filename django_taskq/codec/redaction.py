"""Hides what must not be shown: the values of parameters that are declared as sensitive.

``redact()`` is for arguments, ``Mask`` for text that may quote them, ``printable()`` for text from
Redis that lands in a log.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from inspect import unwrap
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, quote_plus
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from .signature import Signature

HIDDEN = "********"  # stands where a value was
SHORTEST = 4  # characters of a value that is hidden wherever it stands; "no" would blot out much
MOST_TEXTS = 2_000  # of one failure; beyond that nothing of the text is shown
LONGEST = 100_000  # characters of a value that is looked for

_DJANGO = "django.views.decorators.debug"
_WRAPPER = "sensitive_variables_wrapper"
_ALL = "__ALL__"  # as Django writes it


class Everything(frozenset[str]):
    """The names of a function of which all is sensitive."""

    def __contains__(self, name: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True

    def __or__(self, other: object) -> Everything:
        return self

    __ror__ = __or__


EVERYTHING = Everything()


class HasSignature(Protocol):
    """A task, as far as this file goes."""

    @property
    def signature(self) -> Signature: ...


def redact(
    task: HasSignature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """A job's arguments as they may be shown: HIDDEN in the place of what is sensitive.

    The one function for all who show arguments. Of a task that this process does not know all is
    hidden: nobody here can say what is sensitive.
    """
    return task.signature.hide(args, kwargs)


def printable(text: object, most: int = 500) -> str:
    """Text that somebody else wrote, for one line of a log: no line breaks, no terminal codes."""
    text = text if isinstance(text, str) else repr(text)
    if len(text) > most:
        text = text[:most] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# -- Django's own marks ----------------------------------------------------------------------------


def marked(func: Callable[..., Any]) -> frozenset[str]:
    """The names that Django's ``@sensitive_variables`` gives a function, known before it runs."""
    names: frozenset[str] = frozenset()
    module = sys.modules.get(_DJANGO)
    if module is None:  # then nobody can have used it
        return names
    layer: Any = func
    while layer is not None:
        if isinstance(layer, FunctionType) and layer.__code__.co_name == _WRAPPER:
            names = names | _as_names(_variables_in(layer))
        layer = getattr(layer, "__wrapped__", None)
    inner = unwrap(func)
    if isinstance(inner, FunctionType):
        names = names | _as_names(_of_coroutine(module, inner.__code__))
    return names


def _variables_in(wrapper: FunctionType) -> Any:
    """What a wrapper of Django's will note of itself when it is called first."""
    cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=False))
    return cells["variables"].cell_contents or _ALL if "variables" in cells else _ALL


def _of_coroutine(module: Any, code: Any) -> Any:
    """What Django noted of an async function, which it does not wrap."""
    known = getattr(module, "coroutine_functions_to_sensitive_variables", {})
    return known.get(hash(f"{code.co_filename}:{code.co_firstlineno}"), ())


def _as_names(variables: Any) -> frozenset[str]:
    return EVERYTHING if variables == _ALL else frozenset(variables)


def marked_values(error: BaseException) -> Iterator[Any]:
    """The values, in the frames of a traceback, of variables that Django's mark names."""
    module = sys.modules.get(_DJANGO)
    if module is None:
        return
    for each in _chain(error):
        names: frozenset[str] = frozenset()
        trace = each.__traceback__
        while trace is not None:
            frame: FrameType = trace.tb_frame
            if frame.f_code.co_name == _WRAPPER:
                names = _as_names(_variables_of(frame))
            else:
                own = _as_names(_of_coroutine(module, frame.f_code)) or names
                if own:
                    yield from (value for name, value in frame.f_locals.items() if name in own)
            trace = trace.tb_next


def _variables_of(frame: FrameType) -> Any:
    return getattr(frame.f_locals.get(_WRAPPER), "sensitive_variables", _ALL)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came from, and what it holds together."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting and len(seen) < 100:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


# -- text that quotes values -----------------------------------------------------------------------


class Mask:
    """Replaces values in text, in the forms in which messages quote them.

    A text shorter than SHORTEST is replaced in quotes only, and a number of so few digits not.
    Where the values are too many, or one cannot be looked into, nothing of a text is shown.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._texts: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._too_many = False
        try:
            for value in values:
                self._add(value, 8)
        except Exception:  # a value that cannot be looked into: a lazy one, an odd property
            self._too_many = True

    def __bool__(self) -> bool:
        return bool(self._texts) or self._too_many

    def __call__(self, text: str) -> str:
        """The text without the values."""
        if self._too_many:
            return HIDDEN
        if not self._texts:
            return text
        if self._pattern is None:  # the longest first: one may stand within another
            longest_first = sorted(self._texts, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        return self._pattern.sub(HIDDEN, text)

    def _add(self, value: Any, room: int) -> None:
        if len(self._texts) > MOST_TEXTS or room < 0:
            self._too_many = True
            return
        match value:
            case None | bool():
                return
            case str():
                self._add_text(str.__str__(value))
            case bytes() | bytearray():
                self._add_text(bytes(value).decode("utf-8", "replace"))
                self._add_form(repr(bytes(value))[2:-1])
            case Enum():
                self._add(value.value, room - 1)
            case int() | float() | Decimal() | UUID() | date() | time() | timedelta():
                self._add_shown(value)
            case Mapping():
                self._add_all(value.values(), room)
            case list() | tuple() | set() | frozenset():
                self._add_all(value, room)
            case _:
                self._add_all(_inside(value), room)

    def _add_all(self, values: Iterable[Any], room: int) -> None:
        for value in values:
            self._add(value, room - 1)
            if self._too_many:
                return

    def _add_text(self, text: str) -> None:
        if len(text) > LONGEST:
            self._too_many = True
        elif len(text) >= SHORTEST:
            for form in (text, repr(text)[1:-1], ascii(text)[1:-1], json.dumps(text)[1:-1]):
                self._add_form(form)
            self._add_form(quote(text, safe="", errors="replace"))
            self._add_form(quote_plus(text, errors="replace"))
            for line in text.splitlines():  # of a key in PEM a traceback may quote one
                self._add_form(line.strip())
        elif text:
            self._texts |= {f"'{text}'", f'"{text}"'}

    def _add_shown(self, value: Any) -> None:
        try:
            self._add_form(str(value))
            self._add_form(repr(value))
        except ValueError:  # an integer too long to be written down
            return

    def _add_form(self, form: str) -> None:
        if len(form) >= SHORTEST:
            self._texts.add(form)


def _inside(value: Any) -> Iterable[Any]:
    """What a dataclass, struct or model holds; nothing of what is none."""
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name, None) for name in value.__struct_fields__]
    if hasattr(type(value), "model_fields"):  # pydantic
        return list(vars(value).values())
    return ()
