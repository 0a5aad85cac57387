"""The table of the outbox."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class OutboxJob(models.Model):
    """A job that was enqueued and is not known to be in Redis yet; the row goes when it is.

    What waits in ``envelope`` is what will wait in Redis, signed and encrypted if that is. Times
    are ms: they count from the enqueue, however long the row has to wait.
    """

    backend = models.CharField(_("backend"), max_length=255)  # an alias in TASKS
    queue = models.CharField(_("queue"), max_length=64)
    job = models.CharField(_("job"), max_length=64)  # its id
    envelope = models.BinaryField(_("envelope"))
    priority = models.SmallIntegerField(_("priority"), default=0)
    due = models.BigIntegerField(_("due"), default=0)  # 0: at once
    expires = models.BigIntegerField(_("expires"), default=0)  # 0: never
    ask = models.BinaryField(_("ask"), default=b"")  # what else the script is to look at
    created = models.DateTimeField(_("created"), default=timezone.now)  # for people

    class Meta:
        db_table = "taskq_outbox"
        verbose_name = _("job in the outbox")
        verbose_name_plural = _("jobs in the outbox")
        default_permissions = ("view", "delete")

    def __str__(self) -> str:
        return f"{self.job} ({self.queue})"
