"""The form of a schedule's row: what it is made from, how it is checked, and its next runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.forms.utils import ErrorDict
from django.utils.html import format_html
from django.utils.translation import gettext as _

from ..clock import now_ms
from ..codec import redact
from ..exceptions import InvalidOption
from ..periodic import Declaration, in_code, schedule_of
from ..schedule import MAX_NAME
from ..schedules.models import Schedule
from ..showing import pretty
from ..task import look_up, unknown_task
from . import clocks, saying
from .fields import MISSING
from .row_arguments import (
    ASK,
    SHOWN,
    ArgumentFields,
    SecretMissing,
    put_back,
)
from .schedules import RUNS, Run, runs_from

PREVIEW = "_preview"
JSON_FIELDS = ("args", "kwargs")
MOST_COPIES = 50  # names that a copy may get by itself


def hidden(row: Schedule) -> tuple[Any, Any]:
    """The arguments of a row without what is sensitive."""
    if not isinstance(row.args, list) or not isinstance(row.kwargs, dict):
        return row.args, row.kwargs
    return redact(look_up(row.task) or unknown_task(row.task), row.args, row.kwargs)


def row_of(name: str) -> Schedule | None:
    """The row that would stand before the schedule of that name in code; not saved."""
    made = in_code(name)
    return None if made is None else Schedule.of(made)


def copy_of(name: str) -> Schedule | None:
    """A row that says what the schedule of that name says, under a name that is free; not saved.

    None for no schedule. The name is "" where all the first ones are taken.
    """
    names = names_like(name)
    rows = {row.name: row for row in Schedule.objects.filter(name__in=[name, *names])}
    row = rows.get(name) or row_of(name)
    if row is None:
        return None
    copy = Schedule(**row_values(row))
    made = in_code(name)
    task = look_up(row.task)
    if made is not None and task is not None and made.task.module_path == task.module_path:
        # Under its own name a row has the options that are said in code.
        if not copy.queue_name and made.queue != task.queue_name:
            copy.queue_name = made.queue
        if copy.priority is None and made.task.priority != task.priority:
            copy.priority = made.task.priority
    free = (each for each in names if each not in rows and in_code(each) is None)
    copy.name = next(free, "")
    return copy


def names_like(name: str) -> list[str]:
    """The name with each of the first numbers behind it."""
    ends = [f"-{number}" for number in range(2, MOST_COPIES + 2)]
    return [f"{name[: MAX_NAME - len(end)]}{end}" for end in ends]


class RowForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row, checked as ``Schedule.clean()`` does. A preview is never saved.

    ``source``: what a new row begins with, set for each request.
    """

    source: Schedule | None = None
    runs: list[Run]
    changes: list[str]
    words = ""

    class Meta:
        model = Schedule
        fields = (
            *("name", "task", "expression", "tz", "enabled", "args", "kwargs", "queue_name"),
            *("priority", "overlap", "catch_up", "jitter", "start", "end", "notes"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        source = self.instance if self.instance.pk else self.source
        self._was = ("", [], {}) if source is None else (source.task, source.args, source.kwargs)
        if source is not None:
            seen, named = hidden(source)
            self.initial = {**row_values(source), "args": seen, "kwargs": named}
        self.runs, self.changes = [], []
        if not self.is_bound:
            values = {**row_values(self.instance), **self.initial}
            self.look_ahead(Schedule(**values).declaration())
        for name in ("task", "tz"):
            self._offer(name)
        for name in JSON_FIELDS:
            self.fields[name].show_hidden_initial = False
        self.call: tuple[list[Any], dict[str, Any]] | None = None
        self.arguments = self._argument_fields()
        if self.arguments is not None:
            self.arguments.add_to(self)

    def _offer(self, name: str) -> None:
        """What the row says is among the choices, also where it is not known here."""
        widget: Any = self.fields[name].widget
        said = self.initial.get(name) or ""
        if said not in dict(widget.choices):
            widget.choices = [*widget.choices, (said, said)]

    # -- arguments -------------------------------------------------------------------------------

    @property
    def task_name(self) -> str:
        """The task that the form is about just now."""
        return str(self.data.get("task") or self.initial.get("task") or "")

    def _argument_fields(self) -> ArgumentFields | None:
        """The fields of its task; None where its arguments are JSON, and where it has no task."""
        task = look_up(self.task_name)
        if task is None:
            return None
        _task, args, kwargs = self._was if self._is_own(self.task_name) else ("", [], {})
        kept = ArgumentFields.of(task, args, kwargs)
        if not self.is_bound:
            return kept
        made = kept or ArgumentFields.with_secrets(task, args, kwargs)
        if self._has_json():
            texts = made.texts(*self._sent_json()) if ASK in self.data else None
            self._fill(texts or {})
            return made if texts else None
        if self.data.get(SHOWN) == self.task_name:
            return made
        # The form that was sent was that of another task.
        self._fill(kept.kept_texts() if kept else self._kept_json())
        return kept

    def _has_json(self) -> bool:
        """Whether the arguments were sent as they are kept."""
        return SHOWN not in self.data and any(name in self.data for name in JSON_FIELDS)

    def _kept_json(self) -> dict[str, str]:
        """The arguments as they are kept, without what is sensitive."""
        return {name: pretty(self.initial.get(name)) for name in JSON_FIELDS}

    def _fill(self, texts: Mapping[str, str]) -> None:
        """Has fields show other texts than were sent."""
        data: Any = self.data  # that of a request cannot be changed
        self.data = data = data.copy()
        for name, text in texts.items():
            data[name] = text

    def _is_own(self, task: str) -> bool:
        """Whether the arguments that are kept are those of this task."""
        return bool(task) and task == self._was[0]

    def _sent_json(self) -> list[Any]:
        """The arguments as they were sent; None for what is no JSON."""
        found = []
        for name in JSON_FIELDS:
            try:
                found.append(self.fields[name].clean(self.data.get(name)))
            except forms.ValidationError:
                found.append(None)
        return found

    def section(self) -> dict[str, Any]:
        """The part of the form that the arguments are, as the admin takes it."""
        if self.arguments is not None:
            return {"fields": self.arguments.names, "description": self.arguments.description()}
        task = look_up(self.task_name)
        if task is None:
            said = _('Choose a task, then press "%(button)s".')
            said %= {"button": _("Show its arguments")}
            return {"fields": JSON_FIELDS if self.task_name else (), "description": said}
        said = _("These do not fit what the task takes, so they are JSON:")
        text = format_html('{} <code dir="ltr">{}</code>', said, str(task.signature))
        return {"fields": JSON_FIELDS, "description": text}

    # -- checking --------------------------------------------------------------------------------

    def full_clean(self) -> None:
        """Nothing is wrong yet where only the fields of a task are asked for."""
        super().full_clean()
        if ASK in self.data:
            self._errors = ErrorDict()

    def is_valid(self) -> bool:
        """Never for a preview, so that Django's admin shows the form again."""
        return super().is_valid() and not {PREVIEW, ASK} & set(self.data)

    def clean(self) -> dict[str, Any]:
        """Puts back what was not shown. A row is given the secret of its own task alone."""
        cleaned = super().clean() or {}
        is_other = self.data.get(SHOWN, self.task_name) != self.task_name
        if is_other and (self.arguments is None or self.arguments.names):
            self.add_error("task", _("It takes other arguments: look at them below."))
        if self.arguments is not None:
            self.call = self.arguments.call(self)
            return cleaned
        is_own = self._is_own(cleaned.get("task", ""))
        for name, kept in zip(JSON_FIELDS, self._was[1:], strict=True):
            try:
                if name in cleaned:
                    cleaned[name] = put_back(cleaned[name], kept if is_own else MISSING)
            except SecretMissing as error:
                self.add_error(name, str(error))
        return cleaned

    def _post_clean(self) -> None:
        errors = self.errors
        clean = [name for name in JSON_FIELDS if name not in errors]
        if self.call is not None:
            self.instance.args, self.instance.kwargs = self.call
            self.cleaned_data.update(zip(JSON_FIELDS, self.call, strict=True))
        super()._post_clean()  # type: ignore[misc]
        if self.arguments is not None:
            for name in clean:
                self._say_elsewhere(errors, name)
        if not {"expression", "tz", "start", "end", "jitter"} & set(errors):
            self.look_ahead(self.instance.declaration())

    def _say_elsewhere(self, errors: ErrorDict, name: str) -> None:
        """What the row as a whole finds wrong with arguments that have fields of their own."""
        for text in errors.pop(name, ()):
            if self.call is not None:  # else it is said at the field
                self.add_error(None, text)

    # -- looking ahead ---------------------------------------------------------------------------

    def look_ahead(self, given: Declaration) -> None:
        """Works its next runs out, whether it is switched on or not."""
        try:
            schedule = schedule_of(given)
        except InvalidOption:
            return
        now = now_ms()
        runs = schedule.next_runs(now, RUNS)
        self.runs = runs_from(runs)
        self.changes = clocks.notes(schedule, now, runs)
        self.words = saying.in_words(schedule.expression)


def row_values(row: Schedule) -> dict[str, Any]:
    """What a form says of a row."""
    return {name: getattr(row, name) for name in RowForm.Meta.fields}
