"""A middleware: nothing inline, nothing from elsewhere; if asked for, nothing without a nonce."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject, empty

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


NONCE = "nonce"  # a parameter of an address: for a policy that lets a nonce in and nothing else


class LazyNonce(SimpleLazyObject):
    """A nonce as Django 6 has it: made when a page first uses it, and false until then."""

    def __init__(self) -> None:
        super().__init__(lambda: secrets.token_urlsafe(16))

    def __bool__(self) -> bool:
        return self._wrapped is not empty  # type: ignore[attr-defined]


def nonce(request: HttpRequest) -> dict[str, Any]:
    """A context processor, as that of Django 6."""
    return {"csp_nonce": getattr(request, "nonce", None)}


def policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Puts the policy on every answer."""

    def answer(request: HttpRequest) -> HttpResponse:
        if NONCE not in request.GET:
            response = get_response(request)
            response.headers["Content-Security-Policy"] = POLICY
            return response
        request.nonce = LazyNonce()  # type: ignore[attr-defined]
        response = get_response(request)
        made: Any = request.nonce  # type: ignore[attr-defined]
        allowed = f"'nonce-{made}'" if made else "'none'"
        response.headers["Content-Security-Policy"] = POLICY.replace(
            "script-src 'self'", f"script-src {allowed}"
        ).replace("style-src 'self'", f"style-src {allowed}")
        return response

    return answer
