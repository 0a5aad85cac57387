"""Who did what: an entry in Django's own log for each job or queue that something was done to.

The message is JSON, so that it is read in the reader's language: verb, what it was told, what
became of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

FLAGS = {"delete": DELETION, "purge": DELETION, "add": ADDITION}
MOST_TEXT = 200  # characters of LogEntry.object_repr


def note(
    request: HttpRequest,
    model: type[Model],
    things: Iterable[tuple[str, str]],
    verb: str,
    told: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
) -> None:
    """Writes an entry per (id, name), in one query. ``told`` must hold nothing that is secret."""
    kind = ContentType.objects.get_for_model(model)
    said = {"verb": verb, "told": dict(told or {}), "outcome": dict(outcome or {})}
    message = json.dumps(said, ensure_ascii=False)
    flag = FLAGS.get(verb, CHANGE)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=request.user.pk,  # type: ignore[misc]
            content_type=kind,
            object_id=id,
            object_repr=name[:MOST_TEXT],
            action_flag=flag,
            change_message=message,
        )
        for id, name in things
    )


def read(message: str) -> dict[str, Any]:
    """What an entry says; one that is not ours says only its own text."""
    try:
        said = json.loads(message)
    except ValueError:
        said = None
    if isinstance(said, dict) and isinstance(said.get("verb"), str):
        return {"verb": said["verb"], "told": said.get("told"), "outcome": said.get("outcome")}
    return {"verb": message, "told": {}, "outcome": {}}
