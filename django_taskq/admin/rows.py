"""Schedules as rows: the pages that make, change and delete them.

Only where the app ``django_taskq.schedules`` is installed. The list is that of all schedules.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import models, registry
from ..compat import task_backends
from ..schedules.models import Schedule
from ..task import discover_once, look_up
from ..tasks import redis_aliases
from . import log, rights
from .console import Console
from .fields import JsonField, area
from .links import query
from .ordering import may_edit
from .row_form import JSON_FIELDS, RowForm, copy_of, row_of

ARGUMENTS = gettext_lazy("Arguments")


class RowAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """``/admin/taskq_schedules/schedule/``: the form alone."""

    form = RowForm
    view_on_site = False
    actions = None
    fieldsets = (
        (None, {"fields": ("name", "task", "enabled")}),
        (gettext_lazy("When"), {"fields": ("expression", "tz")}),
        (ARGUMENTS, {"fields": JSON_FIELDS}),
        (
            gettext_lazy("Further options"),
            {
                "fields": (
                    *("queue_name", "priority", "overlap", "catch_up", "jitter"),
                    *("start", "end", "notes"),
                )
            },
        ),
    )

    @property
    def media(self) -> forms.Media:
        """None of the admin's scripts: the form works without, and under any policy."""
        return forms.Media()

    # -- who may ---------------------------------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False  # the index has the list of all schedules

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_edit(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_edit(request, "change")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)  # who only looks has a page for that

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return rights.may(request, rights.VIEW) and super().has_delete_permission(request, obj)

    # -- the form --------------------------------------------------------------------------------

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name in ("task", "tz"):
            kwargs["widget"] = forms.Select(choices=CHOICES[db_field.name]())
        elif db_field.name in ("start", "end"):
            widget = forms.DateTimeInput(
                format="%Y-%m-%dT%H:%M:%S", attrs={"type": "datetime-local", "step": "1"}
            )
            zone = timezone.get_current_timezone_name()
            return forms.DateTimeField(
                label=capfirst(db_field.verbose_name),
                required=False,
                widget=widget,
                help_text=_("In the time zone %(zone)s.") % {"zone": zone},
            )
        elif db_field.name in JSON_FIELDS:
            kwargs |= {"form_class": JsonField, "widget": area(3)}
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "expression":
            field.widget.attrs["dir"] = "ltr"  # also on a page that is read from the right
        return field

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """The form of this request, which knows what a new row begins with."""
        made: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj is None:
            made.source = source_of(request)
        return made

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {}  # nothing else in an address is taken for a value

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The arguments have the fields that the form gave them, and buttons room in one line."""
        context["show_save_and_add_another"] = False
        shown: Any = context["adminform"]
        shown.fieldsets = [
            (title, shown.form.section() if title == ARGUMENTS else options)
            for title, options in shown.fieldsets
        ]
        return super().render_change_form(request, context, *args, **kwargs)

    # -- where it leads --------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return redirect(self._page("changelist"))

    def history_view(self, request: Any, object_id: str, extra_context: Any = None) -> HttpResponse:
        row = self.get_object(request, object_id)
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        of = "" if row is None else f"?{urlencode({'of': row.name})}"
        return redirect(
            reverse("admin:django_taskq_audit_changelist", current_app=self.admin_site.name) + of
        )

    def response_post_save_add(self, request: HttpRequest, obj: Schedule) -> HttpResponseRedirect:
        return redirect(self._page("change", quote(obj.name)) + backend_of(obj))

    def response_post_save_change(
        self, request: HttpRequest, obj: Schedule
    ) -> HttpResponseRedirect:
        return self.response_post_save_add(request, obj)

    def _page(self, name: str, *args: str) -> str:
        page = f"admin:django_taskq_schedule_{name}"
        return reverse(page, args=args, current_app=self.admin_site.name)

    # -- the log ---------------------------------------------------------------------------------

    def log_addition(self, request: HttpRequest, obj: Schedule, message: Any) -> Any:
        return noted(request, [obj], "add")

    def log_change(self, request: HttpRequest, obj: Schedule, message: Any) -> Any:
        return noted(request, [obj], "change", changed_in(message))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return noted(request, queryset, "delete")


def source_of(request: HttpRequest) -> Schedule | None:
    """What a new row begins with: ``of``, the schedule in code that it is to stand before, or
    ``copy``, any schedule that it is to be like."""
    of, copy = request.GET.get("of", ""), request.GET.get("copy", "")
    if "\0" in of + copy:  # PostgreSQL takes none
        return None
    if of:
        return row_of(of)
    return copy_of(copy) if copy else None


def noted(request: HttpRequest, rows: Any, verb: str, fields: str = "") -> None:
    """An entry under the schedule's name, as for those in code."""
    by_alias: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        by_alias.setdefault(alias_of(row), []).append((row.name, row.name))
    for alias, things in by_alias.items():
        console = Console(alias) if alias else None
        log.note(request, console, models.Schedule, things, verb, {"fields": fields})


def changed_in(message: Any) -> str:
    """The names of the fields in the admin's message; never a value."""
    found = [each.get("changed", {}).get("fields", []) for each in message] if message else []
    return ", ".join(name for names in found for name in names)


def alias_of(row: Schedule) -> str:
    """The backend of a row's task, else the first; "" where none keeps its jobs in Redis."""
    task = look_up(row.task)
    aliases = redis_aliases()
    if task is not None and task.backend in aliases:
        return task.backend
    return aliases[0] if aliases else ""


def backend_of(row: Schedule) -> str:
    """The parameter of an address that names the backend of a row's task, if it is needed."""
    alias = alias_of(row)
    return query(alias, {}) if alias else ""


def tasks() -> list[tuple[str, str]]:
    """Every task that a worker can run by the clock."""
    discover_once()
    aliases = set(redis_aliases()) & set(task_backends.settings)
    found = [name for name in registry.names() if on_one_of(name, aliases)]
    return [("", "---------"), *((name, name) for name in sorted(found))]


def on_one_of(name: str, aliases: set[str]) -> bool:
    task = look_up(name)
    is_ours = registry.is_own(name)
    return task is not None and task.backend in aliases and not is_ours


@cache  # it looks through files
def known_zones() -> list[str]:
    return sorted(available_timezones())


def zones() -> list[tuple[str, str]]:
    """Every time zone."""
    own = _("that of the settings: %(zone)s") % {"zone": timezone.get_default_timezone_name()}
    return [("", own), *((zone, zone) for zone in known_zones())]


CHOICES = {"task": tasks, "tz": zones}
