"""A task's parameters one by one, for a form that has a field for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any, NamedTuple

from ..exceptions import ArgumentsDoNotBind
from .plain import Unfit
from .signature import Signature

STARS = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class Slot(NamedTuple):
    """A parameter that has a name of its own.

    ``hint``: its annotation, Parameter.empty for none. ``declared``, ``default``: annotation and
    default as the code has them, "" for none; no secret is in it.
    """

    name: str
    hint: Any
    declared: str
    default: str
    is_required: bool
    is_hidden: bool


class Split(NamedTuple):
    """A call's arguments, as JSON, by what takes them.

    ``rest``: what ``*args`` takes, ``others``: what ``**kwargs`` takes. ``lead``: how many of the
    named ones were given by their position.
    """

    named: Mapping[str, Any] = {}
    rest: Sequence[Any] = ()
    others: Mapping[str, Any] = {}
    lead: int = 0


def slots_of(signature: Signature) -> list[Slot]:
    """The parameters of a task, in order, without ``*args`` and ``**kwargs``."""
    return [
        Slot(
            each.name,
            signature.hints.get(each.name, Parameter.empty),
            signature.written_hint(each),
            signature.written_default(each),
            each.default is Parameter.empty,
            signature.hides(each.name),
        )
        for each in signature.parameters.all
        if each.kind not in STARS
    ]


def split(signature: Signature, args: Any, kwargs: Any) -> Split | None:
    """The arguments by what takes them, whatever is lacking; None where one has no place."""
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return None
    parts = fitting(signature, args, kwargs)
    placed = len(parts.named) + len(parts.rest) + len(parts.others)
    return parts if placed == len(args) + len(kwargs) else None


def fitting(signature: Signature, args: Any, kwargs: Any) -> Split:
    """The same without those that have no place: unknown, given twice, or the worker's to give."""
    parameters = signature.parameters
    args = args if isinstance(args, list) else []
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    named = {each.name: value for each, value in zip(parameters.positional, args, strict=False)}
    lead = len(named)
    free = {each.name for each in parameters.all} - named.keys()
    others = {}
    for name, value in kwargs.items():
        if not parameters.takes(name):
            others[name] = value
        elif name in free:
            named[name] = value
    return Split(
        named,
        [] if parameters.rest is None else args[lead:],
        {} if parameters.others is None else others,
        lead,
    )


def joined(signature: Signature, parts: Split) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call: by position as many as ``lead``, and those that have to be.

    Raises ArgumentsDoNotBind where one by position lacks one in front of it.
    """
    named, args = dict(parts.named), []
    for at, each in enumerate(signature.parameters.positional):
        if each.name not in named:
            break
        if at >= parts.lead and not parts.rest and each.kind is not Parameter.POSITIONAL_ONLY:
            break
        args.append(named.pop(each.name))
    if parts.rest and len(args) < len(signature.parameters.positional):
        lacking = signature.parameters.positional[len(args)].name
        raise ArgumentsDoNotBind(f"{signature.name}(): *{signature.rest} needs {lacking!r} too")
    return [*args, *parts.rest], {**named, **parts.others}


def check(signature: Signature, name: str, value: Any) -> None:
    """Raises ArgumentsDoNotBind where a parameter cannot take a value; no secret is quoted."""
    place = signature.places[name]
    try:
        place.load(value)
    except Unfit as unfit:
        raise ArgumentsDoNotBind(place.refusal(unfit)) from None
