"""The providers of a backend at work: capture at the enqueue, restore around the attempt.

A provider that fails takes nothing along: that is logged, and the job is enqueued and run without.
One that is ``required`` fails the ``enqueue()`` or the attempt instead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, lru_cache
from importlib import import_module
from sys import exc_info
from typing import Any

from ..codec import encode
from ..exceptions import InvalidOption
from .providers import BUILT_IN, Provider

logger = logging.getLogger("django_taskq.context")

NOTHING: dict[str, Any] = {}  # what most jobs take along


class Carrier:
    """The providers of these names. They are loaded when the first job needs them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    @cached_property
    def _providers(self) -> dict[str, Provider]:
        return {name: load(name) for name in self.names}

    @cached_property
    def _captures(self) -> list[Any]:
        return [(name, provider.capture) for name, provider in self._providers.items()]

    def problem(self) -> str:
        """What is wrong with the providers; "" for nothing."""
        try:
            for name in self.names:
                load(name)
        except Exception as error:
            return str(error) or type(error).__name__
        return ""

    def capture(self) -> dict[str, Any]:
        """What a job takes along that is enqueued here and now. Raises what a required one does."""
        found = NOTHING
        for name, capture in self._captures:
            try:
                value = capture()
                if value is not None:
                    if name not in BUILT_IN:
                        encode(value)  # said here, where it can be said whose it is
                    found = {**found, name: value}
            except Exception:
                if is_required(self._providers[name]):
                    raise
                logger.exception("context %r cannot be captured: a job goes without it", name)
        return found

    @contextmanager
    def restored(self, values: Mapping[str, Any], extra: Mapping[str, Any]) -> Iterator[None]:
        """A block in which a job runs. Raises what a required one does. ``extra``: for logs."""
        entered: list[tuple[str, AbstractContextManager[Any]]] = []
        try:
            for name, provider in self._providers.items():
                if name in values:
                    self._enter(entered, name, provider, values[name], extra)
            yield
        finally:
            for name, block in reversed(entered):
                self._exit(name, block, extra)

    def _enter(
        self,
        entered: list[tuple[str, AbstractContextManager[Any]]],
        name: str,
        provider: Provider,
        value: Any,
        extra: Mapping[str, Any],
    ) -> None:
        try:
            block = provider.restore(value)
            block.__enter__()
            entered.append((name, block))
        except Exception:
            if is_required(provider):
                raise
            logger.exception("context %r cannot be restored", name, extra=extra)

    def _exit(
        self, name: str, block: AbstractContextManager[Any], extra: Mapping[str, Any]
    ) -> None:
        """Leaves a block; it learns of the job's error, and cannot swallow it."""
        error = exc_info()
        try:
            block.__exit__(*error)
        except Exception as problem:
            if problem is not error[1]:
                logger.exception("context %r cannot be left", name, extra=extra)


@lru_cache(maxsize=64)
def carrier_for(names: tuple[str, ...]) -> Carrier:
    """This process's one carrier of these names."""
    return Carrier(names)


def is_required(provider: Any) -> bool:
    """Whether a job must not run without it."""
    return bool(getattr(provider, "required", False))


def load(name: str) -> Provider:
    """A provider by its name in ``OPTIONS["CONTEXT"]``, the only place that names come from.

    Raises InvalidOption.
    """
    make = BUILT_IN.get(name) or found(name)
    provider: Provider = make() if isinstance(make, type) or name in BUILT_IN else make
    for function in ("capture", "restore"):
        if not callable(getattr(provider, function, None)):
            raise InvalidOption(f"CONTEXT: {name!r} has no function {function}()")
    return provider


def found(path: str) -> Any:
    """What a dotted path names: a class, an object or a module."""
    module, _, name = path.rpartition(".")
    try:
        holder = import_module(module)
        return getattr(holder, name) if hasattr(holder, name) else import_module(path)
    except ImportError as error:
        raise InvalidOption(f"CONTEXT: {path!r} cannot be imported: {error}") from error
