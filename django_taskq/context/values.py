"""The values that have no other place: variables of the thread or coroutine; None for none."""

from __future__ import annotations

from contextvars import ContextVar

from django.http import HttpRequest

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)
user_id: ContextVar[str | None] = ContextVar("user_id", default=None)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)  # W3C's header

# Set by middleware.RequestContext: its user is only looked up when a job is enqueued.
request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)
