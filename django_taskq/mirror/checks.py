"""Whether the rows of all backends are where they are read."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from ..tasks import redis_aliases
from .places import database_of, options_of


@register
def check_databases(**kwargs: Any) -> list[CheckMessage]:
    """The models are read in one database, whichever backend a row is of."""
    from .models import JobRecord

    found = {alias: options_of(alias) for alias in redis_aliases()}
    places = {alias: database_of(conf, JobRecord) for alias, conf in found.items() if conf}
    if len(set(places.values())) < 2:
        return []
    said = ", ".join(f"{alias!r}: {place!r}" for alias, place in places.items())
    return [
        Error(
            f"The backends have their rows of jobs in different databases ({said}).",
            hint="Name one MIRROR_DATABASE in the OPTIONS of all: rows say whose they are.",
            id="taskq.E003",
        )
    ]
