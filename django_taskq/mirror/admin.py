"""Rows of jobs in the admin: to be read, searched and filtered, a million of them too.

No page counts all rows, groups them, or looks for text inside them: what a page costs depends on
what it shows.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from .. import registry
from ..admin.links import query
from ..admin.words import SPANS
from ..compat import task_backends
from ..tasks import redis_aliases
from .keeping import Keeping
from .models import Attempt, JobPayload, JobRecord
from .places import reading_database

PAGE = 50
MOST_ATTEMPTS = 50  # of one job
MOST_COUNTED = 10_000  # rows that a list counts and pages through
SEE, SEE_ARGUMENTS = "django_taskq.view_taskq", "django_taskq.view_args"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts so many rows and no more."""

    @cached_property
    def count(self) -> int:
        """At most MOST_COUNTED."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_COUNTED].count())


class SpanFilter(admin.SimpleListFilter):
    """When a job was enqueued. A hierarchy of dates would group all rows on every page."""

    title = _("enqueued")
    parameter_name = "enqueued"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, text) for name, (text, _span) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in SPANS:
            return queryset.filter(enqueued_at__gte=timezone.now() - SPANS[str(self.value())][1])
        return queryset


class QueueFilter(admin.SimpleListFilter):
    """The queues of the settings; to ask the table for its queues is to read all of it."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = {
            str(name)
            for alias in task_backends.settings
            for name in getattr(task_backends[alias], "queues", ())
        }
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(queue=self.value()) if self.value() else queryset


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that only the mirror writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may see jobs may see their rows."""
        user: Any = request.user
        return user.has_perm(SEE) or super().has_view_permission(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(reading_database(self.model))


class Newest(BaseInlineFormSet):  # type: ignore[type-arg]
    """So many attempts, the newest first: a job may have failed for weeks."""

    def get_queryset(self) -> Any:
        """Read once, as Django's."""
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[:MOST_ATTEMPTS]
        return self._queryset


class AttemptInline(admin.TabularInline):  # type: ignore[type-arg]
    """The failed attempts of a job, the newest."""

    model = Attempt
    formset = Newest
    extra = 0
    can_delete = False
    fields = readonly_fields = ("number", "started_at", "ended_at", "worker", "error")
    ordering = ("-ended_at",)

    has_add_permission = has_change_permission = has_delete_permission = (
        lambda self, request, obj=None: False
    )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return user.has_perm(SEE) or super().has_view_permission(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(reading_database(Attempt))


class JobRecordAdmin(Keeping, ReadOnly):
    """``/admin/taskq_mirror/jobrecord/``."""

    list_display = (
        *("task", "state", "queue", "enqueued_at", "duration", "attempts", "error"),
        *("ended_at", "job"),
    )
    list_filter = ("state", SpanFilter, QueueFilter)
    list_per_page = PAGE
    list_max_show_all = PAGE
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("job",)
    search_help_text = _("The id of a job, the name of a task, or the class of an error.")
    inlines = (AttemptInline,)
    seen = (
        *("live_page", "task", "state", "queue", "backend", "priority", "tags"),
        *("enqueued_at", "due_at", "started_at", "ended_at", "duration", "attempts"),
        *("worker", "error", "gone_at"),
    )
    carried = ("arguments", "value", "failures")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What it carries is for those who may see that."""
        user: Any = request.user
        return self.seen + self.carried if user.has_perm(SEE_ARGUMENTS) else self.seen

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Whole words, which an index finds; a task and an error also by the last part.

        One of the three, never any of them: that would read all rows, or put all that match in
        order.
        """
        term = search_term.strip()
        if not term or "\0" in term:
            return queryset, False
        if term.rpartition(".")[2].isdecimal():  # as an id ends, and no name does
            return queryset.filter(job=term), False
        if tasks := [name for name in registry.names() if f".{name}".endswith(f".{term}")]:
            return queryset.filter(task__in=tasks), False
        if self.get_queryset(request).filter(task=term).exists():
            return queryset.filter(task=term), False
        # Said once more that there is an error: the index has only rows with one.
        failed = Q(error__in=[term, f"builtins.{term}"]) & ~Q(error="")
        return queryset.filter(failed), False

    def _payload(self, record: JobRecord) -> JobPayload:
        """Read once for the three parts of a page that show it."""
        if "shown_payload" not in vars(record):
            rows = JobPayload.objects.using(record._state.db)
            vars(record)["shown_payload"] = rows.filter(record=record).first() or JobPayload()
        found: JobPayload = vars(record)["shown_payload"]
        return found

    @admin.display(description=_("job"))
    def live_page(self, record: JobRecord) -> Any:
        """The id, with the way to what Redis has of it."""
        try:
            url = reverse(
                "admin:django_taskq_job_change",
                args=(quote(record.job),),
                current_app=self.admin_site.name,
            )
        except NoReverseMatch:
            return record.job
        if record.backend not in redis_aliases():
            return record.job
        return format_html('<a href="{}{}">{}</a>', url, query(record.backend, {}), record.job)

    @admin.display(description=_("arguments"))
    def arguments(self, record: JobRecord) -> Any:
        """A line each, as they may be shown."""
        lines = (
            (name, "=" if name else "", text, "…" if cut else "")
            for name, text, cut in self._payload(record).argument_list
        )
        return format_html("<pre>{}</pre>", format_html_join("\n", "{}{}{}{}", lines)) or "-"

    @admin.display(description=_("value"))
    def value(self, record: JobRecord) -> Any:
        """What the function returned."""
        text = self._payload(record).value
        return format_html("<pre>{}</pre>", text) if text else "-"

    @admin.display(description=_("failures"))
    def failures(self, record: JobRecord) -> Any:
        """Messages and tracebacks, the newest first."""
        said = [
            (f"{name}: {message}", trace)
            for name, message, trace in reversed(self._payload(record).failure_list)
        ]
        inside = "<details><summary>{}</summary><pre>{}</pre></details>"
        return format_html_join("", inside, said) or "-"


def register(site: Any) -> None:
    """Puts the rows on an admin site."""
    if not site.is_registered(JobRecord):
        site.register(JobRecord, JobRecordAdmin)


register(admin.site)
