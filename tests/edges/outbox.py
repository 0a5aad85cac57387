"""What the tests of the outbox share: its table in two databases, and a way to Redis that breaks.

A conftest.py imports the fixtures from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_taskq.backends import RedisBackend
from django_taskq.broker.connection import get_server
from django_taskq.compat import task_backends
from django_taskq.outbox.models import OutboxJob
from django_taskq.outbox.sweep import Outbox
from tests.engine.proxy import Proxy, proxied
from tests.engine.support import configured
from tests.postgres import database

AWAY = 0.3  # seconds for which a server that is away is tried again
REPLY = 10.0  # seconds that a reply may take, on a machine that has other things to do


class Box:
    """One database's outbox."""

    def __init__(self, alias: str, backend: RedisBackend, proxy: Proxy) -> None:
        self.alias = alias
        self.backend = backend
        self.proxy = proxy

    @property
    def rows(self) -> Any:
        return OutboxJob.objects.using(self.alias).order_by("pk")

    def atomic(self) -> Any:
        return transaction.atomic(using=self.alias)

    def sweeper(self) -> Outbox:
        """Another worker's."""
        return Outbox(self.backend.broker, "default", self.alias, self.backend.announce)

    def sweep(self) -> None:
        """Two looks of a worker, as if time passed between them."""
        sweeper = self.sweeper()
        sweeper.tick()
        while sweeper.tick() == 0.0:
            pass

    def queries(self) -> CaptureQueriesContext:
        return CaptureQueriesContext(connections[self.alias])

    @contextmanager
    def away(self) -> Iterator[None]:
        """A block in which Redis cannot be reached."""
        self.proxy.go_away()
        try:
            yield
        finally:
            self.proxy.away = False


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with proxied(url) as one:
        yield one


@pytest.fixture
def boxed(proxy: Proxy, prefix: str) -> Iterator[RedisBackend]:
    """The default backend with an outbox, behind a proxy."""
    entry = configured(proxy.url, prefix, CONNECT_TIMEOUT=AWAY, SOCKET_TIMEOUT=REPLY, OUTBOX=True)
    with override_settings(TASKS={"default": entry}):
        yield task_backends["default"]
    get_server(proxy.url, AWAY, REPLY).close()


@pytest.fixture(params=["sqlite", "postgresql"])
def box(
    request: Any,
    boxed: RedisBackend,
    proxy: Proxy,
    tmp_path: Path,
    django_db_setup: None,
    django_db_blocker: Any,
) -> Iterator[Box]:
    """The outbox of a database that is not the default one."""
    if request.param == "sqlite":
        entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "box.sqlite3")}
    else:
        entry = request.getfixturevalue("postgres").create()
    with django_db_blocker.unblock(), database("box", **entry):
        call_command("migrate", "taskq_outbox", database="box", verbosity=0)
        yield Box("box", boxed, proxy)
        connections.close_all()
