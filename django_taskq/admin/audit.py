"""Who did what to which job or queue: Django's log, as far as it is about ours."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse

from .. import models
from . import log
from .console import Console
from .screen import Screen

PAGE = 50
OURS = (models.Job, models.Queue, models.Schedule, models.Worker)


class AuditAdmin(Screen):
    """``/admin/django_taskq/audit/``; asks the database only, so it works while Redis is away."""

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """One page, the newest first.

        ``before``: the id of the last entry of the page above; ``of``: the id of what is meant.
        """
        before = request.GET.get("before", "")
        of = request.GET.get("of", "")
        rows = entries(of)
        if before.isdigit() and len(before) < 19:
            rows = rows.filter(pk__lt=int(before))
        found = list(rows[: PAGE + 1])
        context = {
            "entries": [shown(entry) for entry in found[:PAGE]],
            "before": found[PAGE - 1].pk if len(found) > PAGE else None,
            "of": of,
        }
        return self.page(request, console, "audit", context)


def entries(object_id: str = "") -> Any:
    """The log's entries about what is ours, or about one thing of it; the newest first."""
    kinds = ContentType.objects.get_for_models(*OURS).values()
    rows = LogEntry.objects.filter(content_type__in=[kind.pk for kind in kinds])
    if object_id:
        rows = rows.filter(object_id=object_id)
    return rows.select_related("user").order_by("-pk")


def shown(entry: LogEntry) -> dict[str, Any]:
    """An entry as a page has it."""
    kind = ContentType.objects.get_for_id(entry.content_type_id) if entry.content_type_id else None
    return {
        "at": entry.action_time,
        "user": entry.user.get_username(),
        "id": entry.object_id,
        "name": entry.object_repr,
        "page": f"{kind.model}_change" if kind else "",
        **log.read(entry.change_message),
    }
