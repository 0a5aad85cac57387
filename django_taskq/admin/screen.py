"""What all screens share: permission, then the backend, and a page where Redis is away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from ..broker.faults import REFUSALS, describe
from ..broker.triage import MOST_REASON
from ..exceptions import BrokerError, BrokerUnavailable
from ..models import PERMISSIONS
from . import rights
from .console import Console
from .links import query

logger = logging.getLogger("django_taskq.admin")
TROUBLES: tuple[type[Exception], ...] = (BrokerError, *REFUSALS)
TEMPLATES = "admin/django_taskq"
View = Callable[..., HttpResponse]


class Screen(admin.ModelAdmin):  # type: ignore[type-arg]
    """One of the pseudo-models in the admin: its own pages in the place of Django's."""

    actions = None

    # -- Django's questions ----------------------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        return rights.may(request, rights.VIEW)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return rights.may(request, rights.VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # -- addresses -------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        return [self.address("", self.list_page, "changelist")]

    def address(self, route: str, view: View, name: str) -> URLPattern:
        """A page behind the site's own door and ours."""
        full = f"django_taskq_{self.opts.model_name}_{name}"
        return path(route, self.admin_site.admin_view(self.guarded(view)), name=full)

    def guarded(self, view: View) -> View:
        """The view for who may see it; a page that says so where Redis is away."""

        @wraps(view)
        def answer(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            request.current_app = self.admin_site.name
            if not rights.may(request, rights.VIEW):
                raise PermissionDenied
            if any("\0" in value for value in kwargs.values()):  # PostgreSQL takes none
                raise Http404
            console = Console.of(request)
            try:
                return view(request, console, **kwargs)
            except TROUBLES as error:
                return self.unreachable(request, console, error)

        return answer

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        raise NotImplementedError

    # -- answers ---------------------------------------------------------------------------------

    def page(
        self,
        request: HttpRequest,
        console: Console,
        template: str,
        context: dict[str, Any],
        title: Any = "",
        status: int = HTTPStatus.OK,
    ) -> HttpResponse:
        """A page of ours within the site's."""
        everything = {
            **self.admin_site.each_context(request),
            **console.context(),
            "opts": self.opts,
            "title": title or self.opts.verbose_name_plural,
            "screen": self.opts.model_name,
            "may": {name: rights.may(request, name) for name in PERMISSIONS},
            **context,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}.html", everything, status=status)

    def unreachable(self, request: HttpRequest, console: Console, error: Exception) -> HttpResponse:
        """Says that the broker could not do it. ``error`` names the server without its password.

        What is no BrokerError nobody expected: with one key of another type all reads of its queue
        fail, and the command that finds it is named.
        """
        logger.warning("the admin could not ask %s: %s", console.alias, error)
        context = {
            "trouble": describe(error),
            "is_odd": not isinstance(error, BrokerError),
            "is_away": isinstance(error, BrokerUnavailable),
            "maybe_sent": request.method == "POST" and getattr(error, "maybe_sent", False),
        }
        return self.page(
            request, console, "unreachable", context, status=HTTPStatus.SERVICE_UNAVAILABLE
        )

    def go(
        self, console: Console, name: str, *args: str, **params: str | Sequence[str]
    ) -> HttpResponse:
        """A redirect to another of our pages. Names and ids are quoted, as pages unquote them."""
        page, quoted = f"admin:django_taskq_{name}", [*map(quote, args)]
        url = reverse(page, args=quoted, current_app=self.admin_site.name)
        return redirect(url + query(console.alias, params))


def post_only(view: View) -> View:
    """A view that changes something: anything but POST is refused."""

    @wraps(view)
    def answer(self: Screen, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return view(self, request, *args, **kwargs)

    return answer


def reason(request: HttpRequest) -> str:
    """Why a form says it is done, in one line."""
    return " ".join(request.POST.get("why", "").split())[:MOST_REASON]
