"""What a request is, for the jobs that are enqueued in it and for its log lines."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from .context import request_id, traceparent, values
from .context.trace import TRACEPARENT
from .job import new_id

ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")  # it comes from outside and lands in logs


class RequestContext:
    """``MIDDLEWARE += ["django_taskq.middleware.RequestContext"]``, behind the authentication's.

    Sets ``django_taskq.context``'s variables. The id is that of the header, or a new one, and is
    sent back with the response.
    """

    sync_capable = True
    async_capable = True
    header = "X-Request-ID"

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._async(request)
        with self._set(request) as id:
            response: HttpResponseBase = self.get_response(request)
        response.headers.setdefault(self.header, id)
        return response

    async def _async(self, request: HttpRequest) -> HttpResponseBase:
        with self._set(request) as id:
            response: HttpResponseBase = await self.get_response(request)
        response.headers.setdefault(self.header, id)
        return response

    @contextmanager
    def _set(self, request: HttpRequest) -> Iterator[str]:
        given = request.headers.get(self.header, "")
        id = given if ID.fullmatch(given) else new_id()
        parent = request.headers.get("traceparent", "")
        tokens: list[tuple[Any, Any]] = [
            (values.request, values.request.set(request)),
            (request_id, request_id.set(id)),
        ]
        if TRACEPARENT.fullmatch(parent):
            tokens.append((traceparent, traceparent.set(parent)))
        try:
            yield id
        finally:
            for variable, token in reversed(tokens):
                variable.reset(token)
