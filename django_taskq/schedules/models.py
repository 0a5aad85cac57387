"""A schedule as a row."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..clock import now_ms
from ..exceptions import InvalidOption
from ..periodic import Declaration, Periodic, call_of, in_code, resolve, schedule_of, task_of
from ..schedule import CATCH_UPS, MAX_NAME, OVERLAPS, check_name, in_zone

FIELDS = {
    *("name", "task", "expression", "tz", "overlap", "catch_up", "jitter", "start", "end"),
    *("enabled", "args", "kwargs", "queue_name", "priority"),
}


def new_version() -> int:
    """Another number after every change."""
    return random.getrandbits(31)


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    """Rows. What is changed here is noticed by workers too."""

    def update(self, **values: Any) -> int:
        """As Django's; workers see the change within seconds."""
        return super().update(**({"version": new_version()} | values))

    def override(self, name: str, **changes: Any) -> Schedule:
        """A row that stands before the schedule of that name in code, with changes; saved.

        Raises LookupError when code has no such schedule, ValidationError for what cannot work.
        """
        made = in_code(name)
        if made is None:
            raise LookupError(f"code has no schedule {name!r}")
        row = self.filter(name=name).first() or Schedule.of(made)
        for field, value in changes.items():
            setattr(row, field, value)
        row.full_clean()
        row.save()
        return row


class Schedule(models.Model):
    """A task that runs by the clock. Under the name of a schedule in code it stands before that."""

    name = models.CharField(_("name"), max_length=MAX_NAME, unique=True)
    task = models.CharField(
        _("task"), max_length=255, help_text=_("Its dotted name: shop.tasks.clean_up.")
    )
    expression = models.CharField(
        _("expression"),
        max_length=200,
        help_text=_("Cron (*/30 * * * *), @daily and the like, or @every 90s."),
    )
    tz = models.CharField(
        _("time zone"), max_length=64, blank=True, help_text=_("Empty: that of the settings.")
    )
    overlap = models.CharField(
        _("overlap"),
        max_length=8,
        default="skip",
        choices=[(word, word) for word in OVERLAPS],
        help_text=_("What a tick does while the job of the last one has not ended."),
    )
    catch_up = models.CharField(
        _("catch up"),
        max_length=8,
        default="one",
        choices=[(word, word) for word in CATCH_UPS],
        help_text=_("How many ticks are made up for that nobody could fire."),
    )
    jitter = models.FloatField(_("jitter"), default=0.0, help_text=_("Seconds."))
    start = models.DateTimeField(_("start"), null=True, blank=True)
    end = models.DateTimeField(_("end"), null=True, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    args = models.JSONField(_("arguments"), default=list, blank=True)
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True)
    queue_name = models.CharField(
        _("queue"), max_length=64, blank=True, help_text=_("Empty: that of the task.")
    )
    priority = models.SmallIntegerField(
        _("priority"), null=True, blank=True, help_text=_("Empty: that of the task.")
    )
    notes = models.TextField(_("notes"), blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)
    version = models.BigIntegerField(editable=False, default=new_version)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As Django's; workers see the change at the commit."""
        self.version = new_version()
        if kwargs.get("update_fields") is not None:
            kwargs["update_fields"] = {*kwargs["update_fields"], "version"}
        super().save(*args, **kwargs)

    @classmethod
    def of(cls, made: Periodic) -> Schedule:
        """The row that says what a schedule in code says; not saved."""
        when = made.schedule
        args, kwargs = made.task.signature.dump(made.args, made.kwargs)
        return cls(
            name=made.name,
            task=made.task.module_path,
            expression=when.expression,
            tz=when.tz,
            overlap=when.overlap,
            catch_up=when.catch_up,
            jitter=when.jitter,
            start=kept(when.start, when.zone),
            end=kept(when.end, when.zone),
            enabled=when.enabled,
            args=args,
            kwargs=kwargs,
        )

    def clean(self) -> None:
        """Raises ValidationError with a message for each field that cannot work."""
        super().clean()
        given = self.declaration()
        errors: dict[str, list[str]] = {}

        def tried(step: Callable[[], Any]) -> Any:
            try:
                return step()
            except InvalidOption as error:
                errors.setdefault(field_of(error), []).append(str(error))
                return None

        tried(lambda: check_name(given.name))
        tried(lambda: schedule_of(given))
        task = tried(lambda: task_of(given))
        if task is not None and tried(lambda: call_of(given, task)):
            tried(lambda: check_texts(given))
        if errors:
            raise ValidationError(errors)

    def declaration(self) -> Declaration:
        """What workers are told."""
        options: dict[str, Any] = {}
        if self.queue_name:
            options["queue_name"] = self.queue_name
        if self.priority is not None:
            options["priority"] = self.priority
        return Declaration(
            name=self.name,
            task=self.task,
            expression=self.expression,
            tz=self.tz or None,
            overlap=self.overlap,
            catch_up=self.catch_up,
            jitter=self.jitter,
            start=aware(self.start),
            end=aware(self.end),
            enabled=self.enabled,
            args=self.args,
            kwargs=self.kwargs,
            options=options,
            source="database",
        )

    def resolve(self) -> Periodic:
        """The schedule that the row describes. Raises InvalidOption."""
        return resolve(self.declaration())

    def next_runs(self, count: int = 5) -> list[datetime]:
        """The next ticks from now on, in the schedule's zone; none for one that cannot be run."""
        try:
            schedule = schedule_of(self.declaration())
        except InvalidOption:
            return []
        return schedule.next_runs(now_ms(), count) if schedule.enabled else []


def check_texts(given: Declaration) -> None:
    """Raises InvalidOption for arguments that PostgreSQL does not keep, whatever JSON allows."""
    if has_nul(given.args) or has_nul(given.kwargs):
        raise InvalidOption("args, kwargs: the character U+0000 cannot be kept in a row")


def has_nul(value: Any) -> bool:
    """Whether a text in a value of JSON's types has the character U+0000."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(has_nul, (*value, *value.values())))
    return isinstance(value, list | tuple) and any(map(has_nul, value))


def kept(moment: datetime | None, zone: tzinfo) -> datetime | None:
    """A time of a schedule as the database takes it; a naive one is in the schedule's zone."""
    if moment is None:
        return None
    there = in_zone(moment, zone)
    if settings.USE_TZ:
        return there
    return in_zone(there, timezone.get_default_timezone()).replace(tzinfo=None)


def aware(moment: datetime | None) -> datetime | None:
    """A time of the database; without USE_TZ it is in Django's time zone."""
    if moment is None or timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())


def field_of(error: InvalidOption) -> str:
    """The field that an error speaks of."""
    word = re.match(r"\w+", str(error))
    return word[0] if word and word[0] in FIELDS else NON_FIELD_ERRORS
