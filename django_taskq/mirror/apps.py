"""The Django app of the mirror."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MirrorConfig(AppConfig):
    """``INSTALLED_APPS += ["django_taskq.mirror"]``: every worker writes rows of jobs."""

    name = "django_taskq.mirror"
    label = "taskq_mirror"
    verbose_name = _("Background jobs (history)")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401 - registers them
