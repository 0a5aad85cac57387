"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TaskqConfig(AppConfig):
    """``INSTALLED_APPS += ["django_taskq"]``"""

    name = "django_taskq"
    label = "django_taskq"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401 - registers them
