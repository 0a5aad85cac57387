"""Keys worked out of a job's arguments: for its lock, its limits, its turn.

Layer 1: pure, no I/O.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

from .exceptions import InvalidArgument
from .retry import bad_option
from .spelling import nearest

MAX_KEY = 120  # characters of a key that is kept as it is; more become a digest

# (arguments as given, the same by name as JSON) -> the key
KeyMaker = Callable[[Sequence[Any], Mapping[str, Any], Mapping[str, Any]], str]
# What a task declares: text with {parameters}, or a function of the job's arguments.
KeyOption = str | Callable[..., Any]

# What a function may answer with: what has one text and is not mistaken for another.
PLAIN = (str, int, float, UUID, Decimal, date, Enum)


def check_key(value: Any, name: str) -> KeyOption:
    """``value`` if it is a text or a function. Raises InvalidOption."""
    if inspect.iscoroutinefunction(value):
        raise bad_option(name, value, "must not be an async function: enqueue() calls it")
    if callable(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        must = "must be text such as 'tenant:{tenant_id}', or a function of the job's arguments"
        raise bad_option(name, value, must)
    try:
        fields = list(fields_of(value))
    except ValueError as error:
        raise bad_option(name, value, f"is no format string: {error}") from None
    if not all(field.root.isidentifier() for field in fields):
        must = "must name the parameters it is made of, such as 'tenant:{tenant_id}'"
        raise bad_option(name, value, must)
    return str.__str__(value)


class Field(NamedTuple):
    """One ``{root.attribute[index]}`` of a format string; ``rest`` is all behind the root."""

    root: str
    rest: str


def fields_of(template: str) -> Iterator[Field]:
    """What a format string asks for, also in the formats of its fields."""
    for _, field, spec, _ in string.Formatter().parse(template):
        if field is not None:
            root = field.partition(".")[0].partition("[")[0]
            yield Field(root, field[len(root) :])
            yield from fields_of(spec or "")


class Parameters(NamedTuple):
    """What is known of the task's function: its parameters, those whose values must not be seen,
    and the one that takes all other keyword arguments ("" for none)."""

    function: str
    names: Collection[str]
    sensitive: Collection[str] = ()
    others: str = ""


def key_maker(option: KeyOption, name: str, parameters: Parameters) -> KeyMaker:
    """The function that makes the key of a job.

    ``name``: of the option, for errors. Raises InvalidOption for a format string that names no
    parameter of the task, or one whose value must not be seen. What it returns raises
    InvalidArgument for arguments of which no key can be made, and InvalidOption as ``key_text()``.
    """
    if callable(option):
        return asking(option, name)
    template = str(option)
    if template in parameters.names:
        must = f"is one text for all jobs; did you mean '{{{template}}}'?"
        raise bad_option(name, option, must)
    fields = list(fields_of(template))
    for field in fields:
        check_field(field, option, name, parameters)
    if not fields:
        fixed = short_key(template.format())
        return lambda args, kwargs, named: fixed

    def make(args: Sequence[Any], kwargs: Mapping[str, Any], named: Mapping[str, Any]) -> str:
        try:
            return short_key(template.format_map(named))
        except (LookupError, AttributeError, ValueError, TypeError) as error:
            raise InvalidArgument(f"{name}={template!r} cannot be filled in: {error!r}") from error

    return make


def asking(function: Callable[..., Any], name: str) -> KeyMaker:
    """The maker that asks a project's function for the key."""

    def ask(args: Sequence[Any], kwargs: Mapping[str, Any], named: Mapping[str, Any]) -> str:
        try:
            value = function(*args, **kwargs)
        except Exception as error:
            raise failure(function, name, error) from error
        return key_text(value, name)

    return ask


def failure(function: Callable[..., Any], name: str, error: Exception) -> InvalidArgument:
    """What is raised where a project's function failed, whatever the function raised.

    Without the error's text: it may quote an argument that is sensitive.
    """
    called = getattr(function, "__qualname__", type(function).__name__)
    return InvalidArgument(f"{name}: {called} raised {type(error).__name__} for these arguments")


def check_field(field: Field, option: KeyOption, name: str, parameters: Parameters) -> None:
    """Raises InvalidOption for what the task has not, or must not show."""
    if field.root not in parameters.names:
        hint = nearest(field.root, parameters.names) if parameters.names else "it takes none"
        said = f"{parameters.function}() has no parameter {field.root!r}"
        raise bad_option(name, option, f"{said}; {hint}")
    unnamed = [each for each in parameters.sensitive if each not in parameters.names]
    if field.root in parameters.sensitive or (field.root == parameters.others and unnamed):
        must = f"{field.root!r} is sensitive, and keys can be read by whoever looks at Redis"
        raise bad_option(name, option, must)


def key_text(value: Any, name: str) -> str:
    """The key that a function made. Raises InvalidOption for what is no text and no number."""
    if not isinstance(value, PLAIN):
        must = f"answered with {type(value).__name__}: a key must be text or a number"
        raise bad_option(name, value, must)
    return short_key(str(value.value) if isinstance(value, Enum) else str(value))


def short_key(text: str) -> str:
    """A key as it is kept: without control characters, and a digest where it is long."""
    if len(text) > MAX_KEY or not text.isprintable() or not text:
        return f"{printable(text[:40])}~{digest(text)}"
    return text


def printable(text: str) -> str:
    """The text without what a terminal or a script would take for a sign of its own."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def digest(text: str | bytes, secret: bytes = b"") -> str:
    """22 characters for a text of any length; ``secret`` keeps others from trying texts out."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return blake2b(raw, digest_size=11, key=secret).hexdigest()


def secret_of(text: str) -> bytes:
    """A secret for ``digest()`` from a text of any length."""
    return blake2b(text.encode(), digest_size=32).digest() if text else b""
