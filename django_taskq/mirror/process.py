"""The mirror in a process of its own, beside a worker's.

What names models is imported when Django is set up: a process that was spawned imports this first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..clock import monotonic
from ..compat import task_backends

if TYPE_CHECKING:
    from ..isolation import Make
    from ..services.beside import Line
    from .pruning import Pruning
    from .reader import Mirror

APP = "django_taskq.mirror"
NICENESS = 5  # rows come after jobs
LAST = 3.0  # seconds in which the last rows are written before a worker ends


def write_rows(alias: str, make: Make, line: Line) -> None:
    """What the process does."""
    make(alias)  # a process that was spawned has to set Django up
    with suppress(OSError):
        os.nice(NICENESS)
    mirror, pruning = parts_of(alias)
    while line.is_open:
        now = monotonic()
        mirror.run(now)
        pruning.run(now)
        line.wait(max(min(mirror.due, pruning.due) - monotonic(), 0.0))
    finish(mirror)


def parts_of(alias: str) -> tuple[Mirror, Pruning]:
    """The mirror of a backend, and what keeps its tables short."""
    from .models import JobRecord
    from .places import database_of
    from .pruning import Pruning
    from .reader import Mirror

    backend: Any = task_backends[alias]
    using = database_of(backend.conf, JobRecord)
    mirror = Mirror(backend.broker, alias, using)
    bounds = (backend.conf.mirror_retention, backend.conf.mirror_keep)
    return mirror, Pruning(alias, using, *bounds, is_ours=lambda: mirror.has_place)


def finish(mirror: Mirror) -> None:
    """Writes what there is to tell, as far as time allows; the next reader has the rest."""
    end = monotonic() + LAST
    mirror.gives_way = False
    for one in mirror.following.values():
        one.due = 0.0
    while monotonic() < end:
        mirror.due = 0.0
        mirror.run(monotonic())
        if mirror.due > monotonic():
            return
