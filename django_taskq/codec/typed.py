"""Values that come back as what their annotation names: dates, decimals, dataclasses, models."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any

import msgspec
from msgspec import inspect as shapes

from .compare import compare
from .envelope import UNREADABLE, encode
from .plain import MAX_DEPTH, Unfit, bare, plain, too_deep


class Target:
    """A type that values are brought back to.

    Goes through JSON bytes because a Decoder keeps what it learned of its type:
    ``msgspec.convert`` works it out anew at each call and takes 4 to 20 times as long.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._decoder = msgspec.json.Decoder(annotation, dec_hook=_decode_stranger)

    def load(self, value: Any) -> Any:
        """The typed value. Raises Unfit."""
        try:
            return self._decoder.decode(encode(value))
        except UNREADABLE as error:
            raise self._unfit(str(error)) from error

    def dump(self, value: Any) -> Any:
        """The JSON form of ``value``, after it came back from it unchanged. Raises Unfit."""
        try:
            built = msgspec.to_builtins(value, str_keys=True, enc_hook=_encode_stranger)
        except Unfit as unfit:
            unfit.path = _path_to(unfit.stranger, value) or []
            raise
        except RecursionError:
            raise too_deep() from None
        except (TypeError, ValueError) as error:
            raise self._unfit(str(error)) from error
        if isinstance(value, set | frozenset):  # whose order is another in each process
            built = sorted(built, key=repr)
        raw = plain(built)
        compare(value, self.load(raw))
        return raw

    def _unfit(self, message: str) -> Unfit:
        """msgspec says "Expected `date`, got `int` - at `$[0].day`"."""
        said, _, where = message.partition(" - at `$")
        return Unfit(f"does not fit {show(self.annotation)}: {said}", tail=where.rstrip("`"))


def show(annotation: Any) -> str:
    """An annotation as a person writes it."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(r"\b(\w+\.)+(?=\w)", "", str(annotation)) or repr(annotation)


# --- what msgspec does not know by itself ---------------------------------------------------------


def is_model(cls: Any) -> bool:
    """Whether ``cls`` is a pydantic model: known by its methods, so that nothing is imported."""
    return (
        isinstance(cls, type)
        and callable(getattr(cls, "model_dump", None))
        and callable(getattr(cls, "model_validate_json", None))
    )


def _encode_stranger(value: Any) -> Any:
    """msgspec's enc_hook."""
    if is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    match value:
        case str() | int() | float():
            return bare(value)
        case datetime():  # a subclass: pendulum's, freezegun's
            return datetime.combine(datetime.date(value), datetime.timetz(value))
        case date():
            return date(value.year, value.month, value.day)
        case Mapping():
            return dict(value)
        case Sequence():
            return list(value)
        case _:
            raise Unfit(stranger=value)


def _decode_stranger(cls: type, value: Any) -> Any:
    """msgspec's dec_hook: pydantic models. Their JSON mode is the one that reads dates."""
    if not is_model(cls):
        raise TypeError(f"{cls.__name__} cannot be made from JSON")
    return cls.model_validate_json(encode(value))  # type: ignore[attr-defined]


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


# --- what msgspec makes of an annotation ----------------------------------------------------------


def shape_of(annotation: Any) -> shapes.Type | None:
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
        return is_model(shape.cls) or issubclass(shape.cls, Enum)
    return all(map(_is_understood, _parts(shape)))


def is_plain(shape: shapes.Type) -> bool:
    """Whether plain JSON brings the value back as annotated, so that nothing is to be converted."""
    match shape:
        case shapes.AnyType() | shapes.NoneType() | shapes.BoolType() | shapes.LiteralType():
            return True
        case shapes.IntType() | shapes.FloatType() | shapes.StrType():
            return shape == type(shape)()  # no limits on it
        case shapes.ListType():
            return shape.min_length is shape.max_length is None and is_plain(shape.item_type)
        case shapes.DictType():
            unlimited = shape.min_length is shape.max_length is None
            key_is_text = isinstance(shape.key_type, shapes.AnyType | shapes.StrType)
            return unlimited and key_is_text and all(map(is_plain, _parts(shape)))
        case shapes.UnionType() | shapes.Metadata():
            return all(map(is_plain, _parts(shape)))
        case _:
            return False
