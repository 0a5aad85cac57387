"""Values of JSON's own types: what may travel as it is, and why the rest may not."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_DEPTH = 64

# Python reads no more than 4,300 digits of an integer; 10**4300 has 14,285 bits.
_LARGE = 1 << 14_284
_SMALL = -_LARGE


class Unfit(Exception):
    """A value cannot travel. ``path`` is filled, innermost first, on the way out.

    ``reason``: what is wrong with it; empty for a ``stranger``, a value of a type that JSON does
    not have. ``tail``: a path that somebody else has written down already.
    """

    def __init__(self, reason: str = "", *, stranger: Any = None, tail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.stranger = stranger
        self.path: list[int | str] = []
        self.tail = tail


def plain(value: Any, room: int = MAX_DEPTH) -> Any:
    """A copy of ``value`` in JSON's own types, with at most ``room`` levels of nesting.

    Raises Unfit.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind is int:
        if _SMALL < value < _LARGE:
            return value
        raise Unfit("is an integer of more than 4,300 digits")
    if value is None or kind is bool:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise Unfit(f"is {value}, which JSON does not have")
    if kind is dict:
        return _mapping(value, room)
    if kind is list or kind is tuple:
        return _sequence(value, room)
    return _unusual(value, room)


def _unusual(value: Any, room: int) -> Any:
    """Subclasses and relatives of JSON's types."""
    match value:
        case str() | int() | float():
            return plain(bare(value))
        case bytes():  # as django.utils.json.normalize_json does
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise Unfit(stranger=value) from None
        case Mapping():
            return _mapping(value, room)
        case bytearray() | memoryview():
            raise Unfit(stranger=value)
        case Sequence():
            return _sequence(value, room)
        case _:
            raise Unfit(stranger=value)


def bare(value: str | int | float) -> str | int | float:
    """The same without its subclass, whatever that makes of ``str()`` and the like."""
    match value:
        case str():
            return str.__str__(value)
        case int():
            return int.__int__(value)
        case _:
            return float.__float__(value)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("has a lone surrogate in it, which UTF-8 cannot hold") from None
    return value


def _sequence(values: Iterable[Any], room: int) -> list[Any]:
    if not room:
        raise too_deep()
    out: list[Any] = []
    try:
        for value in values:
            out.append(plain(value, room - 1))  # len(out) is the path if it fails
    except Unfit as unfit:
        unfit.path.append(len(out))
        raise
    return out


def _mapping(values: Mapping[Any, Any], room: int) -> dict[str, Any]:
    if not room:
        raise too_deep()
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = key_of(key)
        try:
            out[name] = plain(value, room - 1)
        except Unfit as unfit:
            unfit.path.append(name)
            raise
    return out


def key_of(key: Any) -> str:
    """A dict's key as JSON has it. Raises Unfit, whose reason is about the dict."""
    if not isinstance(key, str):
        raise Unfit(f"has the key {shown(key)}, and in JSON only strings can be keys")
    try:
        return _text(str.__str__(key))
    except Unfit:
        raise Unfit(
            f"has the key {shown(key)} with a lone surrogate, which UTF-8 cannot hold"
        ) from None


def too_deep() -> Unfit:
    """The error for what is nested too deep, or in itself."""
    return Unfit(f"is nested deeper than {MAX_DEPTH} levels")


def shown(value: Any) -> str:
    """A short repr for a message."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer too long to be written down
        return f"<{type(value).__name__}>"
