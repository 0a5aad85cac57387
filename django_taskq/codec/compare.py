"""Whether a value came back from its JSON as it went in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime, time, timedelta
from typing import Any

from .plain import Unfit, shown


def compare(value: Any, back: Any) -> None:
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
            compare(item, back)
        except Unfit as unfit:
            unfit.path.append(step)
            raise


def _compare_mappings(value: Mapping[Any, Any], back: Mapping[Any, Any]) -> None:
    if len(value) != len(back):  # a TypedDict drops what it does not name
        lost = next((key for key in value if key not in back), "?")
        raise Unfit(f"has the key {shown(lost)}, which its annotation does not name")
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


def _changed(value: Any, back: Any) -> Unfit:
    if type(value) is type(back):
        return Unfit(f"is {shown(value)} and would come back as {shown(back)}")
    return Unfit(f"is a {type(value).__name__} and would come back as a {type(back).__name__}")
