"""The Django app of the outbox."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OutboxConfig(AppConfig):
    """``INSTALLED_APPS += ["django_taskq.outbox"]``, for ``OPTIONS["OUTBOX"]``."""

    name = "django_taskq.outbox"
    label = "taskq_outbox"
    verbose_name = _("Outbox of background tasks")
    default_auto_field = "django.db.models.BigAutoField"
