"""Schedules that other sources than code describe, read by a process that may wait for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
from django.db import close_old_connections, reset_queries

from ..codec import printable
from ..exceptions import TaskqError
from ..hygiene import close_all
from ..isolation import Make
from ..periodic import Declaration, Source, sources
from .beside import Beside, Line

logger = logging.getLogger("django_taskq.worker")

INTERVAL = 5.0  # seconds between two looks at the sources


class Rows(Beside):
    """Keeps the process that reads, where there is something to read.

    ``follow``: takes all rows whenever one has changed, or None if they cannot be read.
    """

    def __init__(
        self,
        alias: str,
        make: Make,
        method: str,
        before: Callable[[], None],
        follow: Callable[[list[Declaration] | None], None],
    ) -> None:
        super().__init__(alias, make, method, before, read_rows, "reader of schedules")
        self._follow = follow
        self._heard = b""

    @property
    def is_wanted(self) -> bool:
        return bool(sources())

    def ask(self) -> None:
        """Has the sources looked at now."""
        self.tell(b"?")

    def heard(self, part: bytes) -> None:
        """What came; a line has all rows."""
        self._heard += part
        *lines, self._heard = self._heard.split(b"\n")
        if lines:
            try:
                rows = msgspec.json.decode(lines[-1], type=list[Declaration] | None)
            except msgspec.MsgspecError as error:
                logger.error("schedules cannot be understood: %s", error)
            else:
                self._follow(rows)

    def close(self, patience: float = 0.0) -> None:
        super().close(patience)
        self._heard = b""


class Reader:
    """Looks at the sources and tells what changed; the whole duty of its process."""

    def __init__(self, found: list[Source]) -> None:
        self._sources = found
        self._versions: list[Any] = []
        self._failing = False

    def look(self) -> bytes | None:
        """All rows as a line, if any changed since; ``null`` when they could never be read."""
        try:
            close_old_connections()
            reset_queries()
            versions = [source.version() for source in self._sources]
            rows = None if versions == self._versions else self._load()
            self._versions = versions
        except Exception as error:
            close_all()
            if self._failing:
                return None
            self._failing = True
            logger.error("schedules cannot be read (%s); what is known goes on", said(error))
            return None if self._versions else b"null\n"
        if self._failing:
            logger.warning("schedules can be read again")
            self._failing = False
        return rows

    def _load(self) -> bytes:
        """All rows as a line. One that no line can hold is left out."""
        lines = []
        for row in [row for source in self._sources for row in source.load()]:
            try:
                lines.append(msgspec.json.encode(row))
            except (ValueError, TypeError, RecursionError) as error:
                logger.error("schedule %s is not run: %s", printable(row.name), said(error))
        return b"[" + b",".join(lines) + b"]\n"


def said(error: Exception) -> str:
    """An error's class alone: what a driver says can quote the connection's settings."""
    return str(error) if isinstance(error, TaskqError) else type(error).__name__


def read_rows(alias: str, make: Make, line: Line) -> None:
    """What the process does."""
    make(alias)  # a process that was spawned has to set Django up
    reader = Reader(sources())
    while line.is_open:
        rows = reader.look()
        if rows is not None:
            line.send(rows)
        line.wait(INTERVAL)
