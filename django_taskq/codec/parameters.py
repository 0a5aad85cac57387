"""Whether a call fits a function, and in words why it does not. Much faster than inspect's bind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

from .hints import signature

_EITHER = Parameter.POSITIONAL_OR_KEYWORD
_NOWHERE = 1 << 30  # the position of what has none: behind all others


class Parameters:
    """The parameters that take a job's arguments, counted once for every call.

    ``takes_context``: the first parameter is the worker's to fill and no argument. ``least``,
    ``most``: how many arguments a call may have that has positional ones only.
    """

    def __init__(self, func: Callable[..., Any], takes_context: bool) -> None:
        self.all = list(signature(func).parameters.values())
        self._positions: dict[str, int] = {}
        if takes_context and self.all and self.all[0].kind is not Parameter.VAR_POSITIONAL:
            context = self.all.pop(0)
            if context.kind is _EITHER:
                self._positions[context.name] = -1  # given already, before all others
        kinds: dict[Any, list[Parameter]] = {}
        for parameter in self.all:
            kinds.setdefault(parameter.kind, []).append(parameter)
        self.positional = kinds.get(Parameter.POSITIONAL_ONLY, []) + kinds.get(_EITHER, [])
        for position, parameter in enumerate(self.positional):
            if parameter.kind is _EITHER:
                self._positions[parameter.name] = position
        for parameter in kinds.get(Parameter.KEYWORD_ONLY, []):
            self._positions[parameter.name] = _NOWHERE
        # *args and **kwargs, None where there is none.
        self.rest: Parameter | None = kinds.get(Parameter.VAR_POSITIONAL, [None])[0]
        self.others: Parameter | None = kinds.get(Parameter.VAR_KEYWORD, [None])[0]
        self._count()

    def _count(self) -> None:
        self._unknown = -1 if self.others is None else _NOWHERE
        self._required = [p.name for p in self.all if _is_required(p)]
        self._by_name = {name for name in self._required if name in self._positions}
        self._first = sum(map(_is_required, self.positional))
        self.most = len(self.positional) if self.rest is None else _NOWHERE
        self.least = self._first if self._first == len(self._required) else _NOWHERE

    def takes(self, name: str) -> bool:
        """Whether a parameter can be given by this name; ``**kwargs`` takes the others."""
        return name in self._positions

    def misfit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Why the function cannot be called with these, in words; "" if it can."""
        given = len(args)
        if given <= self.most:
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
        most = len(self.positional)
        if given > self.most:
            plural = "" if most == 1 else "s"
            return f"takes at most {most} positional argument{plural}, and {given} were given"
        for name in kwargs:
            if name not in self._positions and self.others is None:
                return f"takes no argument {name!r}"
            if self._positions.get(name, _NOWHERE) < given:
                return f"was given the argument {name!r} twice"
        first = {parameter.name for parameter in self.positional[:given]}
        by_name = self._by_name & kwargs.keys()
        missing = [repr(name) for name in self._required if name not in first | by_name]
        return f"lacks the argument{'s' if len(missing) > 1 else ''} {', '.join(missing)}"


def _is_required(parameter: Parameter) -> bool:
    variadic = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return parameter.default is Parameter.empty and not variadic
