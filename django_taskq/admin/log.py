"""Who did what: an entry in Django's own log for each job or queue that something was done to.

A line about it goes into Redis too, where commands and other sites write theirs.

The message is JSON, so that it is read in the reader's language: verb, what it was told, what
became of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

from ..exceptions import BrokerError
from ..tasks import redis_aliases
from .console import Console

logger = logging.getLogger("django_taskq.admin")
FLAGS = {"delete": DELETION, "purge": DELETION, "add": ADDITION}
MOST_TEXT = 200  # characters of LogEntry.object_repr


def note(
    request: HttpRequest,
    console: Console | None,
    model: type[Model],
    things: Sequence[tuple[str, str]],
    verb: str,
    told: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
) -> None:
    """Writes an entry per (id, name), in one query, and one line for them all into Redis.

    ``told`` must hold nothing that is secret. What was done stays done where Redis is away now.
    Where there are several backends, the entry names its own; the line lies beside its queues.
    """
    if not things:
        return
    kind = ContentType.objects.get_for_model(model)
    where = {"backend": console.alias} if console and len(redis_aliases()) > 1 else {}
    said = {"verb": verb, "told": {**(told or {}), **where}, "outcome": dict(outcome or {})}
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
    if console is None:
        return
    by, kind_name = request.user.get_username(), str(model._meta.model_name)
    try:
        console.audit.write(by, verb, kind_name, [id for id, _ in things], told, outcome)
    except BrokerError as error:
        logger.warning("%s by %s is in Django's log alone: %s", verb, by, error)


@contextmanager
def unsure(
    request: HttpRequest,
    console: Console,
    model: type[Model],
    things: Sequence[tuple[str, str]],
    verb: str,
    told: Mapping[str, Any] | None = None,
    *,
    parts: bool = False,
) -> Iterator[None]:
    """For what changes something: where Redis did not answer, it may be done, and is noted so.

    ``things``: as of ``note()``; none: the jobs that were to be made. ``parts``: it is several
    calls, of which the first may be done whatever became of a later one.
    """
    try:
        yield
    except BrokerError as error:
        error.maybe_sent |= parts
        if error.maybe_sent:
            meant = things or [(result.id, result.id) for result in error.results]
            note(request, console, model, meant, verb, told, {"unsure": len(meant)})
        raise


def read(message: str) -> dict[str, Any]:
    """What an entry says; one that is not ours says only its own text."""
    try:
        said = json.loads(message)
    except ValueError:
        said = None
    if isinstance(said, dict) and isinstance(said.get("verb"), str):
        parts = {name: said.get(name) for name in ("told", "outcome")}
        known = {name: part if isinstance(part, dict) else {} for name, part in parts.items()}
        return {"verb": said["verb"], **known}
    return {"verb": message, "told": {}, "outcome": {}}
