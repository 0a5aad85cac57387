"""A trace that goes on in the job: W3C's traceparent, and OpenTelemetry's where it is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .values import traceparent

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Trace:
    """The active span of OpenTelemetry, else the variable ``traceparent``."""

    def __init__(self) -> None:
        self._bridge = bridge()

    def capture(self) -> str | list[str] | None:
        found: str | list[str] | None = None
        if self._bridge is not None:
            found = self._bridge.active()
        return found or traceparent.get()

    @contextmanager
    def restore(self, value: Any) -> Iterator[None]:
        parent, *state = value if isinstance(value, list) else [value]
        if not isinstance(parent, str) or not TRACEPARENT.fullmatch(parent):
            raise ValueError("this is no traceparent")
        token = traceparent.set(parent)
        attached = self._bridge.attach(parent, state) if self._bridge is not None else None
        try:
            yield
        finally:
            if self._bridge is not None:
                self._bridge.detach(attached)
            traceparent.reset(token)


def bridge() -> Any:
    """The way into OpenTelemetry; None where it is not installed."""
    try:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return None
    return Bridge(context, TraceContextTextMapPropagator())


class Bridge:
    """OpenTelemetry's context as headers, and back.

    https://opentelemetry.io/docs/specs/otel/context/api-propagators/
    """

    def __init__(self, context: Any, propagator: Any) -> None:
        self._context = context
        self._propagator = propagator

    def active(self) -> str | list[str] | None:
        """The active span: its traceparent, and its tracestate if it has one."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        parent, state = headers.get("traceparent"), headers.get("tracestate")
        return [parent, state] if parent and state else parent

    def attach(self, parent: str, state: list[str]) -> Any:
        """Makes it the parent of the spans that begin here."""
        headers = {"traceparent": parent, **({"tracestate": state[0]} if state else {})}
        return self._context.attach(self._propagator.extract(headers))

    def detach(self, token: Any) -> None:
        self._context.detach(token)
