"""Which database has the rows."""

from __future__ import annotations

from typing import Any

from django.db import models, router

from .. import conf
from ..compat import InvalidTaskBackend, task_backends


def database_of(conf: conf.Options, model: type[models.Model]) -> str:
    """The alias under which the rows of a backend are written."""
    return conf.mirror_database or router.db_for_write(model)


def reading_database(model: type[models.Model]) -> str:
    """The alias under which rows are read where nobody says which: the first backend's."""
    for alias in task_backends.settings:
        options: Any = _options(alias)
        if options is not None and options.mirror_database:
            return str(options.mirror_database)
    return router.db_for_read(model)


def _options(alias: str) -> Any:
    try:
        return getattr(task_backends[alias], "conf", None)
    except InvalidTaskBackend:
        return None
