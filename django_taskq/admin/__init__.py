"""Jobs, queues and workers in Django's admin, with nothing but Redis behind it.

On the default site they are registered by themselves. A site of one's own takes them with
``django_taskq.admin.register(site)``.
"""

from __future__ import annotations

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.sites import AdminSite

from .. import models
from .audit import AuditAdmin
from .dashboard import DashboardAdmin
from .failures import FailureAdmin
from .jobs import JobAdmin
from .queues import QueueAdmin
from .schedules import ScheduleAdmin
from .tasktypes import TaskTypeAdmin
from .workers import WorkerAdmin

SCREENS = {
    models.Dashboard: DashboardAdmin,
    models.Queue: QueueAdmin,
    models.Job: JobAdmin,
    models.Failure: FailureAdmin,
    models.Schedule: ScheduleAdmin,
    models.TaskType: TaskTypeAdmin,
    models.Worker: WorkerAdmin,
    models.Audit: AuditAdmin,
}


def register(site: AdminSite) -> None:
    """Puts the screens on an admin site."""
    for model, screen in SCREENS.items():
        if not site.is_registered(model):
            site.register(model, screen)
    if apps.is_installed("django_taskq.schedules"):
        from ..schedules.models import Schedule
        from .rows import RowAdmin

        if not site.is_registered(Schedule):
            site.register(Schedule, RowAdmin)


register(admin.site)
