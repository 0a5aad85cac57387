"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from ..periodic import add_source


class SchedulesConfig(AppConfig):
    """Has every worker look at the rows."""

    name = "django_taskq.schedules"
    label = "taskq_schedules"
    verbose_name = _("Schedules")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import receivers  # noqa: F401 - connects them
        from .source import ROWS

        add_source(ROWS)
