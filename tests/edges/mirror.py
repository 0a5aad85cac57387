"""What the tests of the mirror share: its tables in two databases.

A conftest.py imports the fixtures from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from django_taskq.backends import RedisBackend
from django_taskq.broker.listening import Listener
from django_taskq.mirror import store
from django_taskq.mirror.models import Attempt, JobPayload, JobRecord
from django_taskq.mirror.reader import NAME, Mirror
from django_taskq.mirror.store import Store
from tests.postgres import database


class Glass:
    """One database with the tables, and mirrors that write into it."""

    def __init__(self, alias: str, backend: RedisBackend) -> None:
        self.alias = alias
        self.backend = backend
        self.mirror = self.another()
        self.store = Store(alias)

    def another(self) -> Mirror:
        """Another worker's."""
        return Mirror(self.backend.broker, "default", self.alias)

    def sync(self, mirror: Mirror | None = None) -> None:
        """Until there is nothing more to tell."""
        (mirror or self.mirror).finish()

    def tick(self) -> None:
        """One round, as the worker runs it, with nothing left to rest."""
        for one in self.mirror.following.values():
            one.due = 0.0
        self.mirror.run(float("inf"))

    def leave(self, mirror: Mirror | None = None) -> None:
        """A reader's place is free at once, as if its lease were over."""
        for queue in self.backend.broker.queues():
            key = self.backend.broker.key(queue, "listeners")
            raw = self.backend.broker.server.command("HGET", key, NAME)
            if raw:
                at, _, _, knows = raw.split()
                self.backend.broker.server.command("HSET", key, NAME, b"%b - 0 %b" % (at, knows))

    def cut(self, queue: str = "default") -> None:
        """The stream is gone, as where memory was short."""
        self.backend.broker.server.command("DEL", self.backend.broker.key(queue, "events"))

    def row(self, id: str) -> JobRecord:
        return JobRecord.objects.using(self.alias).get(job=id)

    def states(self) -> dict[str, str]:
        return dict(JobRecord.objects.using(self.alias).values_list("job", "state"))

    def payload(self, id: str) -> JobPayload:
        return JobPayload.objects.using(self.alias).get(record__job=id)

    def attempts(self, id: str) -> Sequence[Attempt]:
        return list(Attempt.objects.using(self.alias).filter(record__job=id).order_by("ended_at"))

    def listener(self, name: str = NAME) -> Listener:
        return Listener(self.backend.broker, name, "test")


@pytest.fixture(params=["sqlite", "portable", "postgresql"])
def glass(
    request: Any,
    backend: RedisBackend,
    tmp_path: Path,
    django_db_setup: None,
    django_db_blocker: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Glass]:
    """The mirror's tables in a database that is not the default one.

    "portable": SQLite, treated as a database that knows no ``ON CONFLICT … WHERE``.
    """
    if request.param == "postgresql":
        entry = request.getfixturevalue("postgres").create()
    else:
        entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "m.sqlite3")}
    if request.param == "portable":
        monkeypatch.delitem(store.SOURCES, "sqlite")
    with django_db_blocker.unblock(), database("glass", **entry):
        call_command("migrate", "taskq_mirror", database="glass", verbosity=0)
        yield Glass("glass", backend)
        connections.close_all()
