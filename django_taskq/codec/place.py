"""One parameter, or the return value: how values pass through it, and why one does not."""

from __future__ import annotations

import typing
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from inspect import Parameter
from typing import Any
from uuid import UUID

import msgspec
from django.utils.functional import Promise

from .plain import Unfit, plain
from .typed import Target, is_model, is_plain, shape_of, show

_ANNOTATABLE = (date, time, timedelta, UUID, Decimal, Enum, set, frozenset, bytes, bytearray)


class Place:
    """What is known of a parameter or the return value, and the words for it."""

    def __init__(
        self,
        words: str,
        declare: str,
        annotation: Any,
        *,
        optional: bool,
        sensitive: bool = False,
    ) -> None:
        self.sensitive = sensitive
        self.words = words  # "argument 'when'"
        self.declare = declare  # "when: {}"
        self.annotation = annotation
        self.target: Target | None = None
        shape = None if annotation is Parameter.empty else shape_of(annotation)
        self.understood = shape is not None
        if shape is not None and not is_plain(shape):
            # ``when: datetime = None`` is common, and None is what such a call means.
            self.target = Target(typing.Optional[annotation] if optional else annotation)  # noqa: UP045

    def dump(self, value: Any) -> Any:
        """The JSON form of ``value``. Raises Unfit."""
        return plain(value) if self.target is None else self.target.dump(value)

    def load(self, value: Any) -> Any:
        """The value of the JSON form. Raises Unfit."""
        return value if self.target is None else self.target.load(value)

    # -- the words of a refusal ------------------------------------------------------------------

    def refusal(self, unfit: Unfit, words: str = "") -> str:
        """What to tell the user; of a sensitive value nothing but which it is."""
        if self.sensitive:
            return f"{words or self.words} cannot travel, or no longer fits; it is sensitive"
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
        if not _has_a_way_back(value):
            return f"is a {kind}, which JSON cannot hold"
        return f"is a {kind}, and {self._what_is_missing(kind, steps)}"

    def _what_is_missing(self, kind: str, steps: list[int | str]) -> str:
        wish = kind
        for step in reversed(steps):
            wish = f"list[{wish}]" if isinstance(step, int) else f"dict[str, {wish}]"
        example = self.declare.format(wish)
        if self.annotation is Parameter.empty:
            returned = self.declare.startswith("->")
            lack = (
                "function has no return annotation" if returned else "parameter has no annotation"
            )
            return f"the {lack} that would bring it back: annotate it, e.g. {example}"
        said = show(self.annotation)
        if not self.understood:
            return f"the annotation {said} cannot bring it back: use one that can, e.g. {example}"
        return f"the annotation {said} would not bring it back: change it, e.g. {example}"


def _has_a_way_back(value: Any) -> bool:
    known = (*_ANNOTATABLE, msgspec.Struct)
    return isinstance(value, known) or is_dataclass(value) or is_model(type(value))
