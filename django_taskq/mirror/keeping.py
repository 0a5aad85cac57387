"""The rows of jobs taken out of the table: as a file, or for good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import models as taskq
from ..admin import exporting, log, rights
from ..admin.console import Console
from ..admin.screen import TROUBLES
from ..clock import to_ms
from ..tasks import redis_aliases
from .models import JobPayload
from .rows import RECORD
from .tasks import enqueue_prune

MOST_EXPORTED = 10_000  # rows of a file
CHUNK = 500
COLUMNS = tuple(name for name in RECORD if name != "version")
CARRIED = ("arguments", "value", "failures")
LONGEST = 36_500  # days
DELETE = "taskq_mirror.delete_jobrecord"


class PruneForm(forms.Form):
    """How old rows may be."""

    days = forms.IntegerField(
        label=gettext_lazy("Ended more than so many days ago"),
        min_value=1,
        max_value=LONGEST,
        initial=90,
    )


class Keeping(admin.ModelAdmin):  # type: ignore[type-arg]
    """The part of the rows' screen that exports and deletes them."""

    def get_urls(self) -> list[URLPattern]:
        """Before Django's, of which the last takes anything for a key."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        return [
            path("export/<str:kind>/", view(self.export_page), name=f"{name}_export"),
            path("prune/", view(self.prune_page), name=f"{name}_prune"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Django's, with the ways to what is here."""
        more = {"kinds": [*exporting.KINDS], "can_prune": self.may_prune(request)}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    # -- a file ----------------------------------------------------------------------------------

    def export_page(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """The list as it is filtered, as a file of at most MOST_EXPORTED rows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if kind not in exporting.KINDS:
            raise Http404
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return redirect(reverse(self._page("changelist"), current_app=self.admin_site.name))
        with_args = rights.may(request, rights.VIEW_ARGS)
        names = COLUMNS + CARRIED if with_args else COLUMNS
        pieces = exporting.lines(names, exported(rows, with_args=with_args), kind)
        return exporting.named(StreamingHttpResponse(pieces), "history", kind)

    # -- for good --------------------------------------------------------------------------------

    def may_prune(self, request: HttpRequest) -> bool:
        """Whether the user may delete rows; single ones nobody can."""
        user: Any = request.user
        return self.has_view_permission(request) and user.has_perm(DELETE)

    def prune_page(self, request: HttpRequest) -> HttpResponseBase:
        """Asks how old rows may be, and has a job delete the older ones."""
        if not self.may_prune(request):
            raise PermissionDenied
        form = PruneForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return self._prune(request, form.cleaned_data["days"])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Delete old rows"),
            "form": form,
        }
        template = "admin/taskq_mirror/jobrecord/prune.html"
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, context)

    def _prune(self, request: HttpRequest, days: int) -> HttpResponseBase:
        before = timezone.now() - timedelta(days=days)
        here = redirect(reverse(self._page("changelist"), current_app=self.admin_site.name))
        if not (aliases := redis_aliases()):
            messages.error(request, _("No backend in TASKS keeps its jobs in Redis."))
            return here
        console = Console(aliases[0])
        told = {"before": before.date().isoformat()}
        try:
            with log.unsure(request, console, taskq.Job, [], "prune", told):
                job = enqueue_prune(console.alias, to_ms(before), console.open_queues())
        except TROUBLES as error:
            messages.error(request, _("Redis does not answer: %(error)s") % {"error": error})
            return here
        log.note(request, console, taskq.Job, [(job.id, job.id)], "prune", told)
        messages.info(request, _("Job %(id)s deletes the old rows.") % {"id": job.id})
        return here

    def _page(self, name: str) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"


def exported(rows: QuerySet[Any], *, with_args: bool) -> Iterator[dict[str, Any]]:
    """The newest rows as a file has them, read a chunk at a time: none is ever large."""
    last, left = None, MOST_EXPORTED
    while left > 0:
        some = rows.order_by("-pk") if last is None else rows.order_by("-pk").filter(pk__lt=last)
        chunk = list(some.values("pk", *COLUMNS)[: min(CHUNK, left)])
        if not chunk:
            return
        last, left = chunk[-1]["pk"], left - len(chunk)
        carried = payloads(rows.db, [row["pk"] for row in chunk]) if with_args else {}
        for row in chunk:
            own = carried.get(row.pop("pk"), dict.fromkeys(CARRIED, "") if with_args else {})
            yield {name: plain(value) for name, value in {**row, **own}.items()}


def payloads(using: str, keys: list[int]) -> dict[int, dict[str, Any]]:
    """What the jobs of these rows carried."""
    rows = JobPayload.objects.using(using).filter(record_id__in=keys)
    return {row.pop("record_id"): row for row in rows.values("record_id", *CARRIED)}


def plain(value: Any) -> Any:
    """A value that JSON takes; times are in UTC."""
    return value.isoformat() if hasattr(value, "isoformat") else value
