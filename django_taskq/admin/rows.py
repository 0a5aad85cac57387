"""Schedules as rows: the form that makes, changes and deletes them, with a look at their next runs.

Only where the app ``django_taskq.schedules`` is installed. The list is that of all schedules.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import models, registry
from ..clock import now_ms
from ..codec import HIDDEN, redact
from ..compat import task_backends
from ..exceptions import InvalidOption
from ..periodic import Declaration, declared, schedule_of
from ..schedules.models import Schedule
from ..task import discover_once, look_up, unknown_task
from ..tasks import redis_aliases
from . import log, rights, saying
from .schedules import RUNS, Run, may_edit, runs_from

PREVIEW = "_preview"
AREA = {"rows": 3, "spellcheck": "false", "class": "vLargeTextField"}
MISSING = object()


def put_back(value: Any, kept: Any) -> Any:
    """A value of the form, with what it did not show put back from what was kept."""
    if value == HIDDEN and kept is not MISSING:
        return kept
    if isinstance(value, list) and isinstance(kept, list):
        behind = [MISSING] * max(len(value) - len(kept), 0)
        return [put_back(*pair) for pair in zip(value, [*kept, *behind], strict=False)]
    if isinstance(value, dict) and isinstance(kept, dict):
        return {name: put_back(each, kept.get(name, MISSING)) for name, each in value.items()}
    return value


def hidden(row: Schedule) -> tuple[Any, Any]:
    """The arguments of a row without what is sensitive."""
    if not isinstance(row.args, list) or not isinstance(row.kwargs, dict):
        return row.args, row.kwargs
    return redact(look_up(row.task) or unknown_task(row.task), row.args, row.kwargs)


def row_of(name: str) -> Schedule | None:
    """The row that would stand before the schedule of that name in code; not saved."""
    made = next((made for made in declared() if made.name == name), None)
    return None if made is None else Schedule.of(made)


class RowForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row, checked as ``Schedule.clean()`` does. A preview is never saved."""

    runs: list[Run]
    words = ""

    class Meta:
        model = Schedule
        fields = (
            *("name", "task", "expression", "tz", "enabled", "args", "kwargs", "queue_name"),
            *("priority", "overlap", "catch_up", "jitter", "start", "end", "notes"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept: Schedule | None = self.instance if self.instance.pk else None
        self._was = (self.instance.task, self.instance.args, self.instance.kwargs)
        if self.kept is not None:
            self.initial["args"], self.initial["kwargs"] = hidden(self.instance)
        self.runs = []
        if not self.is_bound:
            values = {**row_values(self.instance), **self.initial}
            self.look_ahead(Schedule(**values).declaration())
        for name in CHOICES:
            self._offer(name)
        for name in ("args", "kwargs"):
            self.fields[name].show_hidden_initial = False

    def _offer(self, name: str) -> None:
        """What the row says is among the choices, also where it is not known here."""
        widget: Any = self.fields[name].widget
        said = self.initial.get(name) or ""
        if said not in dict(widget.choices):
            widget.choices = [*widget.choices, (said, said)]

    def is_valid(self) -> bool:
        """Never for a preview, so that Django's admin shows the form again."""
        return super().is_valid() and PREVIEW not in self.data

    def clean(self) -> dict[str, Any]:
        """Puts back what was not shown. A row is given the secret of its own task alone."""
        cleaned = super().clean() or {}
        task, args, kwargs = self._was
        if self.kept is None and (code := row_of(cleaned.get("name", ""))) is not None:
            task, args, kwargs = code.task, code.args, code.kwargs
        is_own = cleaned.get("task") == task
        for name, kept in (("args", args), ("kwargs", kwargs)):
            if name in cleaned:
                cleaned[name] = put_back(cleaned[name], kept if is_own else MISSING)
                if HIDDEN in top_values(cleaned[name]):
                    self.add_error(name, _("Give the sensitive value: it is not shown here."))
        return cleaned

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not {"expression", "tz", "start", "end", "jitter"} & set(self.errors):
            self.look_ahead(self.instance.declaration())

    def look_ahead(self, given: Declaration) -> None:
        """Works its next runs out, whether it is switched on or not."""
        try:
            schedule = schedule_of(given)
        except InvalidOption:
            return
        self.runs = runs_from(schedule.next_runs(now_ms(), RUNS))
        self.words = saying.in_words(schedule.expression)


def top_values(value: Any) -> list[Any]:
    """What stands in a list, or under the names of a mapping."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def row_values(row: Schedule) -> dict[str, Any]:
    return {name: getattr(row, name) for name in RowForm.Meta.fields}


class RowAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """``/admin/taskq_schedules/schedule/``: the form alone."""

    form = RowForm
    save_as = True
    view_on_site = False
    actions = None
    fieldsets = (
        (None, {"fields": ("name", "task", "enabled")}),
        (gettext_lazy("When"), {"fields": ("expression", "tz")}),
        (gettext_lazy("Arguments"), {"fields": ("args", "kwargs")}),
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
                label=db_field.verbose_name,
                required=False,
                widget=widget,
                help_text=_("In the time zone %(zone)s.") % {"zone": zone},
            )
        elif db_field.name in ("args", "kwargs"):
            kwargs["widget"] = forms.Textarea(attrs=AREA)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """``of``: the schedule in code that the row is to stand before."""
        row = row_of(request.GET.get("of", ""))
        if row is None:
            return {}  # nothing else in an address is taken for a value
        args, kwargs = hidden(row)
        return {**row_values(row), "args": args, "kwargs": kwargs}

    # -- where it leads --------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return redirect(self._page("changelist"))

    def history_view(self, request: Any, object_id: str, extra_context: Any = None) -> HttpResponse:
        row = self.get_object(request, object_id)
        of = "" if row is None else f"?of={quote(row.name)}"
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


def noted(request: HttpRequest, rows: Any, verb: str, fields: str = "") -> None:
    """An entry under the schedule's name, as for those in code."""
    things = [(row.name, row.name) for row in rows]
    log.note(request, models.Schedule, things, verb, {"fields": fields})


def changed_in(message: Any) -> str:
    """The names of the fields in the admin's message; never a value."""
    found = [each.get("changed", {}).get("fields", []) for each in message] if message else []
    return ", ".join(name for names in found for name in names)


def backend_of(row: Schedule) -> str:
    """The parameter of an address that names the backend of a row's task, if it is needed."""
    task = look_up(row.task)
    aliases = redis_aliases()
    if task is None or task.backend not in aliases or task.backend == aliases[0]:
        return ""
    return f"?backend={task.backend}"


def tasks() -> list[tuple[str, str]]:
    """Every task that a worker can run by the clock."""
    discover_once()
    aliases = set(redis_aliases()) & set(task_backends.settings)
    found = [name for name in registry.names() if on_one_of(name, aliases)]
    return [("", "---------"), *((name, name) for name in sorted(found))]


def on_one_of(name: str, aliases: set[str]) -> bool:
    task = look_up(name)
    return task is not None and task.backend in aliases


@cache  # it looks through files
def known_zones() -> list[str]:
    return sorted(available_timezones())


def zones() -> list[tuple[str, str]]:
    """Every time zone."""
    own = _("that of the settings: %(zone)s") % {"zone": timezone.get_default_timezone_name()}
    return [("", own), *((zone, zone) for zone in known_zones())]


CHOICES = {"task": tasks, "tz": zones}
