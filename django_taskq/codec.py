"""Between Python values and the JSON that waits in Redis: arguments, return values, envelopes.

Everything is checked at ``enqueue()``, where somebody can still do something about it: a value
that JSON cannot hold, or that would come back as something else, is refused with its path.

Layer 1: pure, no I/O.
"""

from __future__ import annotations

import inspect
import math
import re
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec
from django.utils.functional import Promise
from msgspec import inspect as shapes

from .exceptions import (
    ArgumentsDoNotBind,
    InvalidArgument,
    MalformedJob,
    PayloadTooLarge,
)
from .job import Envelope, Failure

MAX_DEPTH = 64
LATEST = 253_402_300_800_000  # ms, the year 10000: what datetime can no longer show

# Python reads no more than 4,300 digits of an integer; 10**4300 has 14,285 bits.
_LARGE = 1 << 14_284
_SMALL = -_LARGE

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_envelopes = msgspec.json.Decoder(Envelope)
_failures = msgspec.json.Decoder(Failure)

# What msgspec raises on input that is not what it should be. DecodeError is a ValueError, and so
# are UnicodeDecodeError and the limit on digits; absurd nesting is a RecursionError.
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


# --- JSON in general ------------------------------------------------------------------------------


def encode(obj: Any) -> bytes:
    """The JSON of ``obj``, which is made of JSON's own types or msgspec structs."""
    return _encoder.encode(obj)


def decode(raw: bytes) -> Any:
    """What ``raw`` says. Raises MalformedJob for anything that is not JSON."""
    try:
        return _decoder.decode(raw)
    except _UNREADABLE as error:
        raise MalformedJob(f"not JSON: {error}") from error


def encode_envelope(envelope: Envelope, limit: int) -> bytes:
    """The bytes that wait in Redis. Raises PayloadTooLarge for more than ``limit`` bytes."""
    raw = _encoder.encode(envelope)
    if len(raw) > limit:
        raise PayloadTooLarge(
            f"{envelope.t}: the job takes {len(raw):,} bytes once encoded, and MAX_PAYLOAD allows "
            f"{limit:,}. Store the data and pass its key, or raise OPTIONS['MAX_PAYLOAD']."
        )
    return raw


def decode_envelope(raw: bytes) -> Envelope:
    """The envelope in ``raw``. Raises MalformedJob, with a short reason, for any garbage."""
    try:
        envelope = _envelopes.decode(raw)
    except _UNREADABLE as error:
        raise MalformedJob(f"the envelope cannot be read: {error}") from error
    if not (0 <= envelope.e < LATEST and 0 <= envelope.r < LATEST):
        raise MalformedJob("the envelope cannot be read: a time is out of range")
    if not envelope.t:
        raise MalformedJob("the envelope cannot be read: it names no task")
    return envelope


def encode_failure(failure: Failure) -> bytes:
    """The JSON line for ``errors``. Text that UTF-8 cannot hold is escaped, never refused."""
    try:
        return _encoder.encode(failure)
    except (UnicodeEncodeError, TypeError):
        return _encoder.encode(_readable(failure))


def encode_failures(failures: Iterable[Failure]) -> bytes:
    """One JSON line per failure, as the scripts append them."""
    return b"\n".join(map(encode_failure, failures))


def decode_failures(raw: bytes | None) -> list[Failure]:
    """The failures in ``raw``, oldest first.

    A line that cannot be read is left out: the page that shows the others must not fail for it.
    """
    failures = []
    for line in (raw or b"").split(b"\n"):
        with suppress(*_UNREADABLE):
            failures.append(_failures.decode(line))
    return failures


def _readable(failure: Failure) -> Failure:
    """A copy with plain text: messages carry undecodable file names and subclasses of str."""
    texts = {
        name: str.__str__(getattr(failure, name)).encode("utf-8", "backslashreplace").decode()
        for name in ("c", "m", "b", "w")
    }
    return msgspec.structs.replace(failure, **texts)


# --- plain values ---------------------------------------------------------------------------------


class _Unfit(Exception):
    """A value cannot travel. ``path`` is filled, innermost first, on the way out.

    ``reason``: what is wrong with it; empty for a ``stranger``, a value of a type that JSON does
    not have.
    """

    def __init__(self, reason: str = "", *, stranger: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stranger = stranger
        self.path: list[int | str] = []
        self.tail = ""


def plain(value: Any, room: int = MAX_DEPTH) -> Any:
    """A copy of ``value`` in JSON's own types, with at most ``room`` levels of nesting."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind is int:
        return value if _SMALL < value < _LARGE else _integer(value)
    if value is None or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else _number(value)
    if kind is dict:
        return _mapping(value, room)
    if kind is list or kind is tuple:
        return _sequence(value, room)
    return _unusual(value, room)


def _unusual(value: Any, room: int) -> Any:
    """Subclasses and relatives of JSON's types."""
    match value:
        case str():
            return _text(str.__str__(value))
        case int():
            return _integer(int.__int__(value))
        case float():
            return _number(float.__float__(value))
        case bytes():  # as django.utils.json.normalize_json does
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise _Unfit(stranger=value) from None
        case Mapping():
            return _mapping(value, room)
        case bytearray() | memoryview():
            raise _Unfit(stranger=value)
        case Sequence():
            return _sequence(value, room)
        case _:
            raise _Unfit(stranger=value)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Unfit("has a lone surrogate in it, which UTF-8 cannot hold") from None
    return value


def _integer(value: int) -> int:
    if _SMALL < value < _LARGE:
        return value
    raise _Unfit("is an integer of more than 4,300 digits")


def _number(value: float) -> float:
    if math.isfinite(value):
        return value
    raise _Unfit(f"is {value}, which JSON does not have")


def _sequence(values: Iterable[Any], room: int) -> list[Any]:
    if not room:
        raise _Unfit(f"is nested deeper than {MAX_DEPTH} levels")
    out: list[Any] = []
    try:
        for value in values:
            out.append(plain(value, room - 1))  # len(out) is the path if it fails
    except _Unfit as unfit:
        unfit.path.append(len(out))
        raise
    return out


def _mapping(values: Mapping[Any, Any], room: int) -> dict[str, Any]:
    if not room:
        raise _Unfit(f"is nested deeper than {MAX_DEPTH} levels")
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = _key(key)
        try:
            out[name] = plain(value, room - 1)
        except _Unfit as unfit:
            unfit.path.append(name)
            raise
    return out


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise _Unfit(f"has the key {_shown(key)}, and in JSON only strings can be keys")
    try:
        return _text(str.__str__(key))
    except _Unfit:
        raise _Unfit(
            f"has the key {_shown(key)} with a lone surrogate, which UTF-8 cannot hold"
        ) from None


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer too long to be written down
        return f"<{type(value).__name__}>"


# --- typed values ---------------------------------------------------------------------------------


def _is_model(cls: Any) -> bool:
    """Whether ``cls`` is a pydantic model: known by its methods, so that nothing is imported."""
    return (
        isinstance(cls, type)
        and callable(getattr(cls, "model_dump", None))
        and callable(getattr(cls, "model_validate_json", None))
    )


def _encode_stranger(value: Any) -> Any:
    """msgspec's enc_hook: what it does not know by itself."""
    if _is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    match value:
        case str():
            return str.__str__(value)
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case datetime():  # a subclass: pendulum's, freezegun's
            return datetime.combine(datetime.date(value), datetime.timetz(value))
        case date():
            return date(value.year, value.month, value.day)
        case Mapping():
            return dict(value)
        case Sequence():
            return list(value)
        case _:
            raise _Unfit(stranger=value)


def _decode_stranger(cls: type, value: Any) -> Any:
    """msgspec's dec_hook: pydantic models. Their JSON mode is the one that reads dates."""
    if not _is_model(cls):
        raise TypeError(f"{cls.__name__} cannot be made from JSON")
    return cls.model_validate_json(_encoder.encode(value))  # type: ignore[attr-defined]


def _shape(annotation: Any) -> shapes.Type | None:
    """What msgspec makes of ``annotation``; None if it cannot bring values of it back."""
    try:
        msgspec.json.Decoder(annotation, dec_hook=_decode_stranger)
        shape = shapes.type_info(annotation)
    except Exception:  # of msgspec or of the annotated class
        return None
    return shape if _is_understood(shape) else None


def _parts(shape: shapes.Type) -> list[shapes.Type]:
    """The shapes inside a container or a union."""
    match shape:
        case shapes.Metadata():
            return [shape.type]
        case shapes.UnionType():
            return list(shape.types)
        case shapes.DictType():
            return [shape.key_type, shape.value_type]
        case shapes.TupleType():
            return list(shape.item_types)
        case shapes.CollectionType():
            return [shape.item_type]
        case _:
            return []


def _is_understood(shape: shapes.Type) -> bool:
    if isinstance(shape, shapes.CustomType):
        # Enums with a metaclass, as Django's choices have, are decoded but not called enums.
        return _is_model(shape.cls) or issubclass(shape.cls, Enum)
    return all(map(_is_understood, _parts(shape)))


def _is_plain(shape: shapes.Type) -> bool:
    """Whether plain JSON brings the value back as annotated, so that nothing is to be converted."""
    match shape:
        case shapes.AnyType() | shapes.NoneType() | shapes.BoolType() | shapes.LiteralType():
            return True
        case shapes.IntType() | shapes.FloatType() | shapes.StrType():
            return shape == type(shape)()  # no limits on it
        case shapes.ListType():
            return shape.min_length is shape.max_length is None and _is_plain(shape.item_type)
        case shapes.DictType():
            unlimited = shape.min_length is shape.max_length is None
            key_is_text = isinstance(shape.key_type, shapes.AnyType | shapes.StrType)
            return unlimited and key_is_text and all(map(_is_plain, _parts(shape)))
        case shapes.UnionType() | shapes.Metadata():
            return all(map(_is_plain, _parts(shape)))
        case _:
            return False


class _Target:
    """A type that values are brought back to.

    Goes through JSON bytes because a Decoder keeps what it learned of its type:
    ``msgspec.convert`` works it out anew at each call and takes 4 to 20 times as long.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._decoder = msgspec.json.Decoder(annotation, dec_hook=_decode_stranger)

    def load(self, value: Any) -> Any:
        """The typed value. Raises _Unfit."""
        try:
            return self._decoder.decode(_encoder.encode(value))
        except _UNREADABLE as error:
            raise self._unfit(str(error)) from error

    def dump(self, value: Any) -> Any:
        """The JSON form of ``value``, after it came back from it unchanged. Raises _Unfit."""
        try:
            built = msgspec.to_builtins(value, str_keys=True, enc_hook=_encode_stranger)
        except _Unfit as unfit:
            unfit.path = _path_to(unfit.stranger, value) or []
            raise
        except RecursionError:
            raise _Unfit(f"is nested deeper than {MAX_DEPTH} levels") from None
        except (TypeError, ValueError) as error:
            raise self._unfit(str(error)) from error
        raw = plain(built)
        _compare(value, self.load(raw))
        return raw

    def _unfit(self, message: str) -> _Unfit:
        """msgspec says "Expected `date`, got `int` - at `$[0].day`"."""
        said, _, where = message.partition(" - at `$")
        unfit = _Unfit(f"does not fit {show(self.annotation)}: {said}")
        unfit.tail = where.rstrip("`")
        return unfit


def _path_to(stranger: Any, value: Any, room: int = MAX_DEPTH) -> list[int | str] | None:
    """Where in ``value`` the stranger is, innermost step first; None if it is not found."""
    if value is stranger:
        return []
    steps: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list | tuple):
        steps = enumerate(value)
    for step, item in steps if room else ():
        path = _path_to(stranger, item, room - 1)
        if path is not None:
            return [*path, step if isinstance(step, int) else str(step)]
    return None


def _compare(value: Any, back: Any) -> None:
    """Refuse a value that JSON changed: a date where the annotation says str comes back as one.

    What was given in its JSON form already, as text or a list or a dict, may be converted.
    """
    if type(value) is type(back) and value == back:
        return
    match value:
        case None | str() | int() | float():
            return
        case list() | tuple() if isinstance(back, list | tuple):
            _compare_steps(enumerate(value), back)
        case Mapping() if isinstance(back, Mapping):
            _compare_mappings(value, back)
        case Mapping():  # the JSON form of a dataclass
            known = {key: item for key, item in value.items() if hasattr(back, str(key))}
            _compare_steps(known.items(), [getattr(back, str(key)) for key in known])
        case list() | tuple() if isinstance(back, AbstractSet):
            if not all(_is_among(item, back) for item in value):
                raise _changed(value, back)
        case _ if type(value) is type(back) and (names := _field_names(back)):
            _compare_steps(
                [(name, getattr(value, name)) for name in names],
                [getattr(back, name) for name in names],
            )
        case datetime() | time() if isinstance(back, datetime | time):
            if _on_the_clock(value) != _on_the_clock(back):
                raise _changed(value, back)
        case _ if back != value and value == value:  # Decimal("NaN") is not equal
            raise _changed(value, back)


def _on_the_clock(moment: datetime | time) -> tuple[Any, timedelta | None]:
    """What equality should go by: between zones it is never true of an hour that clocks repeat."""
    return moment.replace(tzinfo=None), moment.utcoffset()


def _compare_steps(steps: Iterable[tuple[int | str, Any]], backs: Iterable[Any]) -> None:
    for (step, item), back in zip(steps, backs, strict=False):
        try:
            _compare(item, back)
        except _Unfit as unfit:
            unfit.path.append(step)
            raise


def _compare_mappings(value: Mapping[Any, Any], back: Mapping[Any, Any]) -> None:
    if len(value) != len(back):  # a TypedDict drops what it does not name
        lost = next((key for key in value if key not in back), "?")
        raise _Unfit(f"has the key {_shown(lost)}, which its annotation does not name")
    _compare_steps([(str(key), key) for key in value], back)
    _compare_steps([(str(key), item) for key, item in value.items()], back.values())


def _is_among(item: Any, back: AbstractSet[Any]) -> bool:
    try:
        return isinstance(item, str | int | float | None) or item in back
    except TypeError:  # a list, which comes back as a tuple
        return True


def _field_names(value: Any) -> tuple[str, ...]:
    if is_dataclass(value):
        return tuple(field.name for field in fields(value))
    return getattr(value, "__struct_fields__", ())


def _changed(value: Any, back: Any) -> _Unfit:
    if type(value) is type(back):
        return _Unfit(f"is {_shown(value)} and would come back as {_shown(back)}")
    return _Unfit(f"is a {type(value).__name__} and would come back as a {type(back).__name__}")


# --- the words of a refusal -----------------------------------------------------------------------

_ANNOTATABLE = (date, time, timedelta, UUID, Decimal, Enum, set, frozenset, bytes, bytearray)


def show(annotation: Any) -> str:
    """An annotation as a person writes it."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(r"\b(\w+\.)+(?=\w)", "", str(annotation)) or repr(annotation)


class _Place:
    """A parameter or the return value: what is known of it, and the words for it."""

    def __init__(self, words: str, declare: str, annotation: Any, *, optional: bool) -> None:
        self.words = words  # "argument 'when'"
        self.declare = declare  # "when: {}"
        self.annotation = annotation
        self.target: _Target | None = None
        shape = None if annotation is inspect.Parameter.empty else _shape(annotation)
        self.understood = shape is not None
        if shape is not None and not _is_plain(shape):
            # ``when: datetime = None`` is common, and None is what such a call means.
            self.target = _Target(typing.Optional[annotation] if optional else annotation)  # noqa: UP045

    def dump(self, value: Any) -> Any:
        """The JSON form of ``value``. Raises _Unfit."""
        return plain(value) if self.target is None else self.target.dump(value)

    def load(self, value: Any) -> Any:
        """The value of the JSON form. Raises _Unfit."""
        return value if self.target is None else self.target.load(value)

    def refusal(self, unfit: _Unfit, words: str = "") -> str:
        """What to tell the user."""
        steps = list(reversed(unfit.path))
        where = "".join(f"[{step!r}]" for step in steps[:10]) + ("…" if len(steps) > 10 else "")
        reason = unfit.reason or self._stranger(unfit.stranger, steps)
        return f"{words or self.words}{where}{unfit.tail} {reason}"

    def _stranger(self, value: Any, steps: list[int | str]) -> str:
        kind = type(value).__name__
        if isinstance(value, Promise):
            return "is a lazy string: turn it into text with str(), in the language it is meant in"
        if hasattr(type(value), "_meta") and hasattr(value, "pk"):
            return f"is a model instance ({kind}): pass its primary key, and fetch it in the task"
        if not self._has_a_way_back(value):
            return f"is a {kind}, which JSON cannot hold"
        return f"is a {kind}, and {self._what_is_missing(kind, steps)}"

    def _has_a_way_back(self, value: Any) -> bool:
        cls = type(value)
        known = isinstance(value, _ANNOTATABLE) or is_dataclass(value) or _is_model(cls)
        return known or isinstance(value, msgspec.Struct)

    def _what_is_missing(self, kind: str, steps: list[int | str]) -> str:
        wish = kind
        for step in reversed(steps):
            wish = f"list[{wish}]" if isinstance(step, int) else f"dict[str, {wish}]"
        example = self.declare.format(wish)
        if self.annotation is inspect.Parameter.empty:
            whose = "the function" if self.declare.startswith("->") else "the parameter"
            kind_of = "return annotation" if whose == "the function" else "annotation"
            return f"{whose} has no {kind_of} that would bring it back: annotate it, e.g. {example}"
        said = show(self.annotation)
        if not self.understood:
            return f"the annotation {said} cannot bring it back: use one that can, e.g. {example}"
        return f"the annotation {said} would not bring it back: change it, e.g. {example}"


# --- signatures -----------------------------------------------------------------------------------

_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
_VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
_VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD
_NOWHERE = 1 << 30  # the position of what has none: behind all others


class Signature:
    """What a task's function takes and returns, worked out once.

    ``takes_context``: the first parameter is the worker's to fill and no argument. Annotations
    are resolved at first use, when the names they mention are all defined.
    """

    def __init__(self, func: Callable[..., Any], takes_context: bool = False) -> None:
        self.func = func
        self.name = getattr(func, "__qualname__", None) or repr(func)
        parameters = list(_signature(func).parameters.values())
        self._positions: dict[str, int] = {}
        if takes_context and parameters and parameters[0].kind is not _VAR_POSITIONAL:
            context = parameters.pop(0)
            if context.kind is _EITHER:
                self._positions[context.name] = -1  # given already, before all others
        self._parameters = parameters
        self._sort()

    def _sort(self) -> None:
        """Count once what every call needs."""
        kinds: dict[Any, list[inspect.Parameter]] = {}
        for parameter in self._parameters:
            kinds.setdefault(parameter.kind, []).append(parameter)
        self._positional = kinds.get(_POSITIONAL_ONLY, []) + kinds.get(_EITHER, [])
        for position, parameter in enumerate(self._positional):
            if parameter.kind is _EITHER:
                self._positions[parameter.name] = position
        for parameter in kinds.get(_KEYWORD_ONLY, []):
            self._positions[parameter.name] = _NOWHERE
        self._unknown = _NOWHERE if _VAR_KEYWORD in kinds else -1
        self._required = [p.name for p in self._parameters if _is_required(p)]
        self._by_name = {name for name in self._required if name in self._positions}
        self._first = sum(map(_is_required, self._positional))
        # A call with positional arguments only fits if their number is from least to most.
        self._most = _NOWHERE if _VAR_POSITIONAL in kinds else len(self._positional)
        self._least = self._first if self._first == len(self._required) else _NOWHERE

    # Arguments

    def dump(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as JSON.

        Raises InvalidArgument, which is a TypeError, if the function cannot be called with them
        or if one cannot travel.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            misfit = self._misfit(args, kwargs)
            if misfit:
                raise InvalidArgument(f"{self.name}() {misfit}")
        if kwargs and self._unknown > 0:
            kwargs = self._plain_names(kwargs)
        if not self._typed:
            try:
                positional = [plain(value) for value in args]
                if not kwargs:
                    return positional, {}
                return positional, {name: plain(value) for name, value in kwargs.items()}
            except _Unfit:
                pass  # said once more below, where it is known which argument it is
        return self._each(_Place.dump, InvalidArgument, args, kwargs)

    def load(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments to call the function with, as its annotations name them.

        Raises ArgumentsDoNotBind if they do not fit the function (any more).
        """
        if kwargs or not self._least <= len(args) <= self._most:
            misfit = self._misfit(args, kwargs)
            if misfit:
                raise ArgumentsDoNotBind(f"{self.name}() {misfit}")
        if not self._typed:
            return args, kwargs
        return self._each(_Place.load, ArgumentsDoNotBind, args, kwargs)

    # Return values

    def dump_value(self, value: Any) -> bytes:
        """The JSON of a return value. Raises InvalidArgument if it cannot travel.

        A plain value that breaks the return annotation is kept as it is: the job has done its
        work, and running it again would not mend an annotation.
        """
        if value is None:
            return b"null"
        place = self._return
        try:
            return _encoder.encode(place.dump(value))
        except _Unfit as unfit:
            if place.target is not None:
                try:
                    return _encoder.encode(plain(value))
                except _Unfit:
                    pass
            raise InvalidArgument(f"{self.name}(): {place.refusal(unfit)}") from unfit

    def load_value(self, raw: bytes) -> Any:
        """The return value in ``raw``, as the return annotation names it where it fits.

        Raises MalformedJob if ``raw`` is not JSON.
        """
        value = decode(raw)
        if value is None:
            return None
        try:
            return self._return.load(value)
        except _Unfit:
            return value

    # Each argument by itself

    def _each(
        self,
        convert: Callable[[_Place, Any], Any],
        failure: type[Exception],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, Any]]:
        def converted(place: _Place, words: str, value: Any) -> Any:
            try:
                return convert(place, value)
            except _Unfit as unfit:
                raise failure(f"{self.name}(): {place.refusal(unfit, words)}") from unfit

        positional = [
            converted(place, words, value)
            for (place, words), value in zip(self._places(), args, strict=False)
        ]
        keywords = {name: converted(*self._named(name), value) for name, value in kwargs.items()}
        return positional, keywords

    def _plain_names(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What ``**kwargs`` lets in can be a subclass of str, or text that is none in UTF-8."""
        try:
            return {_key(name): value for name, value in kwargs.items()}
        except _Unfit as unfit:
            raise InvalidArgument(f"{self.name}(): the call {unfit.reason}") from None

    def _places(self) -> Iterator[tuple[_Place, str]]:
        """The place of each positional argument, with its words if they are not the place's."""
        for parameter in self._positional:
            yield self._known[parameter.name], ""
        extra = self._extra_positional
        position = 0
        while extra is not None:
            yield extra, f"{extra.words}[{position}]"
            position += 1

    def _named(self, name: str) -> tuple[_Place, str]:
        if name in self._positions:
            return self._known[name], ""
        assert self._extra_keyword is not None
        return self._extra_keyword, f"argument {name!r}"

    def _misfit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Why the function cannot be called with these, in words; "" if it can."""
        given = len(args)
        if given <= self._most:
            lacking = len(self._required) - min(given, self._first)
            for name in kwargs:
                if self._positions.get(name, self._unknown) < given:
                    break  # given twice, or unknown
                if name in self._by_name:
                    lacking -= 1
            else:
                if not lacking:
                    return ""
        return self._explanation(given, kwargs)

    def _explanation(self, given: int, kwargs: Mapping[str, Any]) -> str:
        most = len(self._positional)
        if given > self._most:
            plural = "" if most == 1 else "s"
            return f"takes at most {most} positional argument{plural}, and {given} were given"
        for name in kwargs:
            if name not in self._positions and self._unknown < 0:
                return f"takes no argument {name!r}"
            if self._positions.get(name, _NOWHERE) < given:
                return f"was given the argument {name!r} twice"
        first = {parameter.name for parameter in self._positional[:given]}
        by_name = self._by_name & kwargs.keys()
        missing = [repr(name) for name in self._required if name not in first | by_name]
        return f"lacks the argument{'s' if len(missing) > 1 else ''} {', '.join(missing)}"

    # Annotations, resolved at first use

    @cached_property
    def _known(self) -> dict[str, _Place]:
        """The places of the parameters by name, and of the variadic ones too."""
        return {parameter.name: self._place(parameter) for parameter in self._parameters}

    @cached_property
    def _typed(self) -> bool:
        return any(place.target is not None for place in self._known.values())

    @cached_property
    def _extra_positional(self) -> _Place | None:
        return self._variadic(_VAR_POSITIONAL)

    @cached_property
    def _extra_keyword(self) -> _Place | None:
        return self._variadic(_VAR_KEYWORD)

    @cached_property
    def _return(self) -> _Place:
        return _Place("return value", "-> {}", self._hint("return"), optional=False)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        """All annotations; if one does not resolve, each for itself."""
        func = inspect.unwrap(self.func)
        try:
            return typing.get_type_hints(func, include_extras=True)
        except Exception:  # annotations can hold any code
            return dict(_hints_one_by_one(func))

    def _hint(self, name: str) -> Any:
        return self._hints.get(name, inspect.Parameter.empty)

    def _place(self, parameter: inspect.Parameter) -> _Place:
        words = f"argument {parameter.name!r}"
        optional = parameter.default is None
        return _Place(
            words, f"{parameter.name}: {{}}", self._hint(parameter.name), optional=optional
        )

    def _variadic(self, kind: Any) -> _Place | None:
        names = (parameter.name for parameter in self._parameters if parameter.kind is kind)
        name = next(names, None)
        return None if name is None else self._known[name]


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind is _VAR_POSITIONAL or parameter.kind is _VAR_KEYWORD
    return parameter.default is inspect.Parameter.empty and not variadic


def _signature(func: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # would evaluate annotations, too early
        from annotationlib import Format

        return inspect.signature(func, annotation_format=Format.FORWARDREF)
    return inspect.signature(func)


def _annotations(func: Callable[..., Any]) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(func, format=Format.FORWARDREF)
    return inspect.get_annotations(func)


def _hints_one_by_one(func: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The annotations that resolve, and those that do not as they are written."""
    names = getattr(func, "__globals__", {})
    for name, annotation in _annotations(func).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints = typing.get_type_hints(alone, globalns=names, include_extras=True)
        except Exception:  # a name that only the type checker imports
            yield name, annotation
        else:
            yield name, hints[name]
