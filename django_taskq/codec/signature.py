"""A whole call: a task's arguments and its return value, to JSON and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import cached_property
from inspect import Parameter, formatannotation
from itertools import count, repeat
from typing import Any

from ..exceptions import ArgumentsDoNotBind, InvalidArgument, InvalidOption
from ..spelling import nearest
from .envelope import decode, encode
from .hints import hints_of
from .parameters import Parameters
from .place import Place
from .plain import Unfit, key_of, plain
from .redaction import HIDDEN, marked

STARS: dict[Any, str] = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}
MOST = 60  # characters of a default that is shown


class Signature:
    """What a task's function takes and returns, worked out once.

    ``takes_context``: the first parameter is the worker's to fill and no argument. ``sensitive``:
    names of parameters whose values are not shown; what Django's decorator marks joins them.
    Annotations are resolved at first use, when the names they mention are all defined. Raises
    InvalidOption for a sensitive name that no parameter has.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        takes_context: bool = False,
        sensitive: Iterable[str] = (),
    ) -> None:
        self.func = func
        self.name = getattr(func, "__qualname__", None) or repr(func)
        self.parameters = Parameters(func, takes_context)
        self._least, self._most = self.parameters.least, self.parameters.most
        self.sensitive = frozenset(sensitive) | marked(func)
        self._check(sensitive)

    def _check(self, sensitive: Iterable[str]) -> None:
        known = [parameter.name for parameter in self.parameters.all]
        for name in sensitive:
            if name not in known and self.parameters.others is None:
                hint = nearest(name, known) if known else "it takes none"
                said = f"{self.name}() has no parameter {name!r}"
                raise InvalidOption(f"sensitive={tuple(sensitive)!r}: {said}; {hint}")

    def __str__(self) -> str:
        """As the code has it: ``count_stock(warehouse: str, every: int = 1)``, without secrets."""
        return f"{self.name}({', '.join(map(self._written, self.parameters.all))})"

    def _written(self, parameter: Parameter) -> str:
        text: str = STARS.get(parameter.kind, "") + parameter.name
        if hint := self.written_hint(parameter):
            text += f": {hint}"
        if default := self.written_default(parameter):
            text += f" = {default}"
        return text

    def written_hint(self, parameter: Parameter) -> str:
        """An annotation as the code has it; "" for none."""
        hint = parameter.annotation
        if hint is Parameter.empty:
            return ""
        return hint if isinstance(hint, str) else formatannotation(hint)

    def written_default(self, parameter: Parameter) -> str:
        """A default as the code has it, not a secret; "" for none."""
        if parameter.default is Parameter.empty:
            return ""
        return HIDDEN if self.hides(parameter.name) else repr(parameter.default)[:MOST]

    @property
    def names(self) -> list[str]:
        """The parameters that take a job's arguments."""
        return [parameter.name for parameter in self.parameters.all]

    @property
    def rest(self) -> str:
        """The parameter that takes all other positional arguments; "" for none."""
        return "" if self.parameters.rest is None else self.parameters.rest.name

    @property
    def others(self) -> str:
        """The parameter that takes all other keyword arguments; "" for none."""
        return "" if self.parameters.others is None else self.parameters.others.name

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call that fits, as JSON, by the names of their parameters.

        Those left out have their defaults. What ``*args`` and ``**kwargs`` take stands under
        their names: of two calls that mean the same this makes the same.
        """
        positional = self._positional
        found = dict(self._defaults)
        found.update(zip(positional, args, strict=False))
        if len(args) > len(positional) and self.parameters.rest is not None:
            found[self.parameters.rest.name] = list(args[len(positional) :])
        if self.parameters.others is None:
            found.update(kwargs)
        elif kwargs:
            others = found[self.others] = {}
            for name, value in kwargs.items():
                (found if self.parameters.takes(name) else others)[name] = value
        return found

    @cached_property
    def _positional(self) -> list[str]:
        return [parameter.name for parameter in self.parameters.positional]

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """The defaults as JSON; one that cannot travel cannot be given by a caller either."""
        found: dict[str, Any] = {}
        for parameter in self.parameters.all:
            if parameter.kind is Parameter.VAR_POSITIONAL:
                found[parameter.name] = []
            elif parameter.kind is Parameter.VAR_KEYWORD:
                found[parameter.name] = {}
            elif parameter.default is not Parameter.empty:
                with suppress(Unfit):
                    found[parameter.name] = self.places[parameter.name].dump(parameter.default)
        return found

    # -- what may be shown -----------------------------------------------------------------------

    def hide(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with HIDDEN for the sensitive ones; see redact()."""
        if not self.sensitive:
            return list(args), dict(kwargs)
        shown = [
            HIDDEN if name in self.sensitive else value
            for name, value in zip(self._names(), args, strict=False)
        ]
        return shown, {
            name: HIDDEN if self.hides(name) else value for name, value in kwargs.items()
        }

    def labelled(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Each argument under the name of what takes it; those of ``*args`` are numbered."""
        pairs = []
        known = len(self.parameters.positional)
        for at, (name, value) in enumerate(zip(self._names(), args, strict=False)):
            pairs.append((name if at < known else f"{name or 'args'}[{at - known}]", value))
        return [*pairs, *kwargs.items()]

    def hints_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The annotation of each argument, in the order of ``labelled()``."""
        takers = [*(name for name, _ in zip(self._names(), args, strict=False))]
        takers += [name if self.parameters.takes(name) else self.others for name in kwargs]
        return [self.hints.get(name, Parameter.empty) for name in takers]

    def hidden(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
        """The values that ``hide()`` leaves out."""
        if self.sensitive:
            named = zip(self._names(), args, strict=False)
            yield from (value for name, value in named if name in self.sensitive)
            yield from (value for name, value in kwargs.items() if self.hides(name))

    def hides(self, name: str) -> bool:
        """Whether what is given by this name is not shown."""
        others = self.parameters.others  # **kwargs: what it takes has no parameter of its own
        if others is None or self.parameters.takes(name):
            return name in self.sensitive
        return name in self.sensitive or others.name in self.sensitive

    def _names(self) -> Iterator[str]:
        """The parameter of each positional argument, without end: a stranger has no name."""
        yield from (parameter.name for parameter in self.parameters.positional)
        yield from repeat(self.parameters.rest.name if self.parameters.rest else "")

    # -- arguments -------------------------------------------------------------------------------

    def dump(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as JSON.

        Raises InvalidArgument, which is a TypeError, if the function cannot be called with them
        or if one cannot travel.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            self._bind(args, kwargs, InvalidArgument)
            if self.parameters.others:
                kwargs = self._plain_names(kwargs)
        if not self._typed:
            try:
                positional = [plain(value) for value in args]
                if not kwargs:
                    return positional, {}
                return positional, {name: plain(value) for name, value in kwargs.items()}
            except Unfit:
                pass  # said once more below, where it is known which argument it is
        return self._each(Place.dump, InvalidArgument, args, kwargs)

    def load(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments to call the function with, as its annotations name them.

        Raises ArgumentsDoNotBind if they do not fit the function (any more).
        """
        if kwargs or not self._least <= len(args) <= self._most:
            self._bind(args, kwargs, ArgumentsDoNotBind)
        if not self._typed:
            return args, kwargs
        return self._each(Place.load, ArgumentsDoNotBind, args, kwargs)

    def _bind(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], failure: type[Exception]
    ) -> None:
        misfit = self.parameters.misfit(args, kwargs)
        if misfit:
            raise failure(f"{self.name}() {misfit}")

    def _plain_names(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What ``**kwargs`` lets in can be a subclass of str, or text that is none in UTF-8."""
        try:
            return {key_of(name): value for name, value in kwargs.items()}
        except Unfit as unfit:
            raise InvalidArgument(f"{self.name}(): the call {unfit.reason}") from None

    # -- return values ---------------------------------------------------------------------------

    def dump_value(self, value: Any) -> bytes:
        """The JSON of a return value. Raises InvalidArgument if it cannot travel.

        A plain value that breaks the return annotation is kept as it is: the job has done its
        work, and running it again would not mend an annotation.
        """
        if value is None:
            return b"null"
        place = self._return
        try:
            return encode(place.dump(value))
        except Unfit as unfit:
            if place.target is not None:
                try:
                    return encode(plain(value))
                except Unfit:
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
        except Unfit:
            return value

    # -- each argument by itself -----------------------------------------------------------------

    def _each(
        self,
        convert: Callable[[Place, Any], Any],
        failure: type[Exception],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, Any]]:
        def converted(place: Place, words: str, value: Any) -> Any:
            try:
                return convert(place, value)
            except Unfit as unfit:
                # Of a sensitive value no part may be shown, and the cause has it whole.
                cause = None if place.sensitive else unfit
                raise failure(f"{self.name}(): {place.refusal(unfit, words)}") from cause

        positional = [
            converted(place, words, value)
            for (place, words), value in zip(self._in_order(), args, strict=False)
        ]
        keywords = {name: converted(*self._named(name), value) for name, value in kwargs.items()}
        return positional, keywords

    def _in_order(self) -> Iterator[tuple[Place, str]]:
        """The place of each positional argument, with its words if they are not the place's."""
        for parameter in self.parameters.positional:
            yield self.places[parameter.name], ""
        if self.parameters.rest is not None:
            place = self.places[self.parameters.rest.name]
            for position in count():
                yield place, f"{place.words}[{position}]"

    def _named(self, name: str) -> tuple[Place, str]:
        if self.parameters.takes(name):
            return self.places[name], ""
        assert self.parameters.others is not None
        place = self.places[self.parameters.others.name]
        if name in self.sensitive and not place.sensitive:
            place = copy(place)
            place.sensitive = True
        return place, f"argument {name!r}"

    # -- annotations, resolved at first use ------------------------------------------------------

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The annotations by their parameters; see hints_of()."""
        return hints_of(self.func)

    @cached_property
    def places(self) -> dict[str, Place]:
        """A place for each parameter by its name, ``*args`` and ``**kwargs`` among them."""
        return {
            parameter.name: Place(
                f"argument {parameter.name!r}",
                f"{parameter.name}: {{}}",
                self.hints.get(parameter.name, Parameter.empty),
                optional=parameter.default is None,
                sensitive=parameter.name in self.sensitive,
            )
            for parameter in self.parameters.all
        }

    @cached_property
    def _return(self) -> Place:
        annotation = self.hints.get("return", Parameter.empty)
        return Place("return value", "-> {}", annotation, optional=False)

    @cached_property
    def _typed(self) -> bool:
        return any(place.target is not None for place in self.places.values())
