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
    """The alias under which rows are read where nobody says which: of all backends."""
    return _said() or router.db_for_read(model)


def writing_database(model: type[models.Model]) -> str:
    """The alias under which rows are deleted where nobody says which: of all backends."""
    return _said() or router.db_for_write(model)


def _said() -> str:
    """The first MIRROR_DATABASE that a backend has; a check wants them alike."""
    found: Any = (options_of(alias) for alias in task_backends.settings)
    return next((str(each.mirror_database) for each in found if each and each.mirror_database), "")


def options_of(alias: str) -> Any:
    """The settings of a backend; None if it has none of ours."""
    try:
        return getattr(task_backends[alias], "conf", None)
    except InvalidTaskBackend:
        return None
