"""Who did what to which job or queue: Django's log, as far as it is about ours."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse

from .. import models
from ..broker.audit import Line
from ..clock import to_datetime
from ..tasks import redis_aliases
from . import log
from .console import Console
from .screen import Screen

PAGE = 50
WITH_PAGE = (models.Job, models.Queue, models.Schedule, models.Worker)
OURS = (*WITH_PAGE, models.Failure)
PAGES = {str(model._meta.model_name): f"{model._meta.model_name}_change" for model in WITH_PAGE}
NUMBER = re.compile(r"[0-9]{1,18}")
PLACE = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")  # of a line in Redis, in 64 bits


class AuditAdmin(Screen):
    """``/admin/django_taskq/audit/``, which works while Redis is away."""

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """One page, the newest first.

        ``before``: the id of the last entry of the page above; ``of``: the id of what is meant;
        ``where``: "redis" for what commands and other sites did as well, as Redis has it.
        """
        if request.GET.get("where") == "redis":
            return self.redis_page(request, console)
        before = request.GET.get("before", "")
        of = request.GET.get("of", "").replace("\0", "")  # PostgreSQL takes none
        rows = entries(of)
        if NUMBER.fullmatch(before):
            rows = rows.filter(pk__lt=int(before))
        found = list(rows[: PAGE + 1])
        context = {
            "entries": [shown(entry) for entry in found[:PAGE]],
            "before": found[PAGE - 1].pk if len(found) > PAGE else None,
            "of": of,
        }
        return self.page(request, console, "audit", context)

    def redis_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """The same of what is kept beside the queues; one round trip."""
        before = request.GET.get("before", "")
        lines = console.audit.read(PAGE + 1, before if PLACE.fullmatch(before) else "")
        context = {
            "entries": [of_redis(line, console.alias) for line in lines[:PAGE]],
            "before": lines[PAGE - 1].place if len(lines) > PAGE else None,
            "where": "redis",
        }
        return self.page(request, console, "audit", context)


def of_redis(line: Line, alias: str) -> dict[str, Any]:
    """A line of Redis as a page has it."""
    deed = line.deed
    first = deed.things[0] if deed.things else ""
    more = deed.count - 1
    return {
        "at": to_datetime(line.at),
        "user": deed.by,
        "id": first,
        "name": f"{first} + {more:,}" if more > 0 else first,
        "page": PAGES.get(deed.kind, "") if first else "",
        "backend": alias,
        "verb": deed.verb,
        "told": deed.told,
        "outcome": deed.outcome,
    }


def entries(object_id: str = "") -> Any:
    """The log's entries about what is ours, or about one thing of it; the newest first."""
    kinds = ContentType.objects.get_for_models(*OURS).values()
    rows = LogEntry.objects.filter(content_type__in=[kind.pk for kind in kinds])
    if object_id:
        rows = rows.filter(object_id=object_id)
    return rows.select_related("user").order_by("-pk")


def shown(entry: LogEntry) -> dict[str, Any]:
    """An entry as a page has it. ``backend``: "" for one that names none, or none of now."""
    kind = ContentType.objects.get_for_id(entry.content_type_id) if entry.content_type_id else None
    said = log.read(entry.change_message)
    backend = said["told"].get("backend", "")
    return {
        "at": entry.action_time,
        "user": entry.user.get_username(),
        "id": entry.object_id,
        "name": entry.object_repr,
        "page": PAGES.get(kind.model, "") if kind else "",
        "backend": backend if backend in redis_aliases() else "",
        **said,
    }
