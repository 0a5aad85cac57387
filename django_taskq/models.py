"""What the admin lists and what its permissions hang on. None of these is a table.

Jobs are in Redis. These classes give Django's admin and its groups something to name: a place in
the index, a type for log entries, permissions to be given.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

# codename -> what a person is allowed who has it
PERMISSIONS = {
    "view_taskq": _("Can see background jobs, queues and workers"),
    "view_args": _("Can see what jobs carry: arguments, values, messages of errors"),
    "retry_job": _("Can retry jobs"),
    "cancel_job": _("Can cancel jobs"),
    "kill_job": _("Can kill running jobs"),
    "delete_job": _("Can delete jobs"),
    "run_job": _("Can run jobs before their time, and copies of jobs"),
    "enqueue_task": _("Can enqueue tasks, with arguments of their own choice"),
    "move_job": _("Can move jobs to another queue"),
    "prioritize_job": _("Can change the priority of jobs"),
    "unlock_job": _("Can release the locks of jobs"),
    "edit_args": _("Can change the arguments of jobs"),
    "pause_queue": _("Can pause queues and let them go on"),
    "purge_queue": _("Can purge queues"),
    "edit_limits": _("Can change limits"),
    "quiet_worker": _("Can have workers take no more jobs"),
    "stop_worker": _("Can stop and restart workers"),
    "view_stack": _("Can see where the code of workers is"),
    "run_schedule": _("Can run schedules now"),
    "pause_schedule": _("Can pause schedules and let them go on"),
    "skip_schedule": _("Can skip the next run of schedules"),
    "triage_failure": _("Can mark failures as resolved or ignored"),
}


class Screen(models.Model):
    """Base of what is no table."""

    class Meta:
        abstract = True
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return str(self._meta.verbose_name)


class Dashboard(Screen):
    """Everything at one glance. All permissions are its own."""

    class Meta(Screen.Meta):
        verbose_name = _("dashboard")
        verbose_name_plural = _("Dashboard")
        permissions = tuple(PERMISSIONS.items())


class Queue(Screen):
    """A queue, by its name."""

    class Meta(Screen.Meta):
        verbose_name = _("queue")
        verbose_name_plural = _("Queues")


class Job(Screen):
    """A job, by its id."""

    class Meta(Screen.Meta):
        verbose_name = _("job")
        verbose_name_plural = _("Jobs")


class Failure(Screen):
    """Failures that are the same."""

    class Meta(Screen.Meta):
        verbose_name = _("failure")
        verbose_name_plural = _("Failures")


class TaskType(Screen):
    """A task of the project, by its name."""

    class Meta(Screen.Meta):
        verbose_name = _("task type")
        verbose_name_plural = _("Task types")


class Worker(Screen):
    """A process that runs jobs, by its holder's id."""

    class Meta(Screen.Meta):
        verbose_name = _("worker")
        verbose_name_plural = _("Workers")


class Schedule(Screen):
    """A task that runs by the clock, by its name; its row, if it has one, is a model of its own."""

    class Meta(Screen.Meta):
        verbose_name = _("schedule")
        verbose_name_plural = _("Schedules")


class Audit(Screen):
    """Who did what."""

    class Meta(Screen.Meta):
        verbose_name = _("audit entry")
        verbose_name_plural = _("Audit")
