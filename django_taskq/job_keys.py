"""Keys worked out of a job's arguments: for its lock, its limits, its turn.

Layer 1: pure, no I/O.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from .exceptions import InvalidArgument, InvalidOption
from .retry import bad_option

MAX_KEY = 120  # characters of a key that is kept as it is; more become a digest

# (arguments as given, the same by name as JSON) -> the key
KeyMaker = Callable[[Sequence[Any], Mapping[str, Any], Mapping[str, Any]], str]
# What a task declares: text with {parameters}, or a function of the job's arguments.
KeyOption = str | Callable[..., Any]


def check_key(value: Any, name: str) -> KeyOption:
    """``value`` if it is a text or a function. Raises InvalidOption."""
    if callable(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        must = "must be text such as 'tenant:{tenant_id}', or a function of the job's arguments"
        raise bad_option(name, value, must)
    try:
        list(string.Formatter().parse(value))
    except ValueError as error:
        raise bad_option(name, value, f"is no format string: {error}") from None
    return str.__str__(value)


def fields_of(template: str) -> list[str]:
    """The parameters that a format string names."""
    fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    return [field.partition(".")[0].partition("[")[0] for field in fields]


def key_maker(
    option: KeyOption, name: str, parameters: Iterable[str], sensitive: Iterable[str]
) -> KeyMaker:
    """The function that makes the key of a job.

    ``name``: of the option, for errors. Raises InvalidOption for a format string that names no
    parameter of the task, or one whose value must not be seen.
    """
    if callable(option):
        function = option
        return lambda args, kwargs, named: key_text(function(*args, **kwargs), name)
    template = str(option)
    known = list(parameters)
    for field in fields_of(template):
        if field not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise bad_option(name, option, f"the task has no parameter {field!r}; {takes}")
        if field in sensitive:
            must = f"{field!r} is sensitive, and keys can be read by whoever looks at Redis"
            raise bad_option(name, option, must)
    if not fields_of(template):
        fixed = key_text(template.format(), name)
        return lambda args, kwargs, named: fixed

    def make(args: Sequence[Any], kwargs: Mapping[str, Any], named: Mapping[str, Any]) -> str:
        try:
            return key_text(template.format(**named), name)
        except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
            raise InvalidArgument(f"{name}={template!r} cannot be filled in: {error!r}") from error

    return make


def key_text(value: Any, name: str) -> str:
    """A key as it is kept: without control characters, and a digest where it is long."""
    if value is None:
        raise InvalidOption(f"{name} gave None: a key must be text or a number")
    text = str(value)
    if len(text) > MAX_KEY or not text.isprintable() or not text:
        return f"{printable(text[:40])}~{digest(text)}"
    return text


def printable(text: str) -> str:
    """The text without what a terminal or a script would take for a sign of its own."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def digest(text: str | bytes, secret: str = "") -> str:
    """22 characters for a text of any length; ``secret`` keeps others from trying texts out."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    key = blake2b(secret.encode(), digest_size=32).digest() if secret else b""
    return blake2b(raw, digest_size=11, key=key).hexdigest()
