"""A function's parameters and annotations, on Pythons that evaluate annotations late too."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def signature(func: Callable[..., Any]) -> inspect.Signature:
        """As inspect's; annotations are not evaluated, because it is too early for them."""
        return inspect.signature(func, annotation_format=Format.FORWARDREF)

    def _annotations(func: Callable[..., Any]) -> dict[str, Any]:
        return get_annotations(func, format=Format.FORWARDREF)

else:
    signature = inspect.signature
    _annotations = inspect.get_annotations


def hints_of(func: Callable[..., Any]) -> dict[str, Any]:
    """All annotations by name; if one does not resolve, each for itself."""
    func = inspect.unwrap(func)
    try:
        return typing.get_type_hints(func, include_extras=True)
    except Exception:  # annotations can hold any code
        return dict(_one_by_one(func))


def _one_by_one(func: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
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
