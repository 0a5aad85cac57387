"""Rows of jobs. Only the mirror writes them, and never takes one back: see ``version``."""

from __future__ import annotations

from typing import Any

import msgspec
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ..job import State
from .places import reading_database

STATES = [
    (State.WAITING.value, _("waiting")),
    (State.SCHEDULED.value, _("scheduled")),
    (State.READY.value, _("ready")),
    (State.RUNNING.value, _("running")),
    (State.RETRYING.value, _("retrying")),
    (State.SUCCEEDED.value, _("succeeded")),
    (State.DEAD.value, _("dead")),
    (State.CANCELLED.value, _("cancelled")),
]


class MirrorManager(models.Manager[Any]):
    """Reads where the mirror writes, unless ``using()`` says otherwise."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """As Django's, in the mirror's database."""
        return super().get_queryset().using(self._db or reading_database(self.model))


class JobRecord(models.Model):
    """A job as the mirror saw it last."""

    backend = models.CharField(_("backend"), max_length=64)  # an alias in TASKS
    job = models.CharField(_("job"), max_length=64)  # its id
    queue = models.CharField(_("queue"), max_length=64)
    task = models.CharField(_("task"), max_length=255)
    state = models.CharField(_("state"), max_length=10, choices=STATES)
    priority = models.SmallIntegerField(_("priority"), default=0)
    enqueued_at = models.DateTimeField(_("enqueued at"), null=True, db_index=True)
    due_at = models.DateTimeField(_("due at"), null=True)
    started_at = models.DateTimeField(_("started at"), null=True)  # of the last attempt
    ended_at = models.DateTimeField(_("ended at"), null=True)
    duration = models.FloatField(_("duration"), null=True)  # seconds of the last attempt
    attempts = models.IntegerField(_("attempts"), default=0)  # that counted
    worker = models.CharField(_("worker"), max_length=32, blank=True)
    error = models.CharField(_("error"), max_length=255, blank=True)  # class of the last failure
    tags = models.CharField(_("tags"), max_length=500, blank=True)  # " a b "
    gone_at = models.DateTimeField(_("gone at"), null=True)  # when Redis was found without it
    version = models.BigIntegerField(editable=False)  # a higher one is a later look

    objects = MirrorManager()

    class Meta:
        db_table = "taskq_job"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        default_permissions = ("view", "delete")
        constraints = (
            models.UniqueConstraint(fields=("job", "backend"), name="taskq_job_of_backend"),
        )
        indexes = (
            models.Index(fields=("state", "id"), name="taskq_job_by_state"),
            models.Index(fields=("task", "id"), name="taskq_job_by_task"),
            models.Index(fields=("queue", "id"), name="taskq_job_by_queue"),
            models.Index(fields=("error", "id"), name="taskq_job_by_error", condition=~Q(error="")),
        )

    def __str__(self) -> str:
        return self.job


class JobPayload(models.Model):
    """What a job carries and what became of it, as the admin may show it: nothing sensitive.

    No constraint in the database: both rows are written in one transaction and pruned together,
    and looking the other one up is a third of an insert's cost.
    """

    record = models.OneToOneField(
        JobRecord,
        on_delete=models.CASCADE,
        primary_key=True,
        db_constraint=False,
        related_name="payload",
        verbose_name=_("job"),
    )
    arguments = models.TextField(_("arguments"), default="[]")  # JSON: [name, text, cut]
    value = models.TextField(_("value"), blank=True)  # JSON, cut
    failures = models.TextField(_("failures"), default="[]")  # JSON: [class, message, traceback]

    objects = MirrorManager()

    class Meta:
        db_table = "taskq_job_payload"
        verbose_name = _("contents of a job")
        verbose_name_plural = _("contents of jobs")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def argument_list(self) -> list[list[Any]]:
        """The arguments: name, text, and how many characters of it are left out."""
        return msgspec.json.decode(self.arguments)  # type: ignore[no-any-return]

    @property
    def failure_list(self) -> list[list[str]]:
        """The failures, oldest first: class, message, traceback."""
        return msgspec.json.decode(self.failures)  # type: ignore[no-any-return]


class Attempt(models.Model):
    """An attempt that failed. The one that succeeded, or is under way, is in the job's row."""

    record = models.ForeignKey(
        JobRecord,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,  # the constraint begins with it
        related_name="failed_attempts",
        verbose_name=_("job"),
    )
    number = models.IntegerField(_("number"))  # 0: it did not count
    started_at = models.DateTimeField(_("started at"), null=True)
    ended_at = models.DateTimeField(_("ended at"))
    worker = models.CharField(_("worker"), max_length=32, blank=True)
    error = models.CharField(_("error"), max_length=255)

    objects = MirrorManager()

    class Meta:
        db_table = "taskq_attempt"
        verbose_name = _("failed attempt")
        verbose_name_plural = _("failed attempts")
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=("record", "ended_at", "number"), name="taskq_attempt_of_job"
            ),
        )

    def __str__(self) -> str:
        return f"attempt {self.number}"
