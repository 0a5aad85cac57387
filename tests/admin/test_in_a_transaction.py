"""Requests in a transaction (ATOMIC_REQUESTS): what is ordered is done when the page says so."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection

from django_taskq import client, producer
from django_taskq.backends import RedisBackend
from django_taskq.mirror.tasks import enqueue_prune
from tests.admin.conftest import Staff
from tests.engine import tasks

CALL = f"tasktype/{tasks.once.module_path}/call/"
FIELDS = {"arg-a": "1", "queue_name": "default", "priority": "0"}


@pytest.fixture(autouse=True)
def _in_a_transaction(_at_once: None, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one around a test, which an enqueue waits for: it is never committed."""
    monkeypatch.setattr(client, "commit_alias", producer.commit_alias)
    assert connection.in_atomic_block


def ready(backend: RedisBackend) -> int:
    """How many jobs are in line."""
    queues = backend.broker.queues()
    return sum(backend.server.command("ZCARD", backend.broker.key(q, "ready")) for q in queues)


def waiting_for_the_commit() -> list[Any]:
    return [entry for entry in connection.run_on_commit if isinstance(entry[1], producer.Push)]


def test_the_code_of_a_project_waits_for_the_commit(backend: RedisBackend) -> None:
    tasks.once.enqueue(1)

    assert (ready(backend), len(waiting_for_the_commit())) == (0, 1)


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("job/{first}/copy/", {}),
        (CALL, {**FIELDS, "arg-a": "2"}),
        ("job/do/", {"verb": "cancel", "everything": "1", "confirmed": "1"}),
        ("queue/default/purge/", {"state": "dead", "name": "default"}),
    ],
    ids=["copy", "call", "bulk", "purge"],
)
def test_a_job_that_is_announced_is_there(
    ada: Staff, backend: RedisBackend, page: str, fields: dict[str, str]
) -> None:
    first = tasks.nothing.using(on_commit=False).enqueue()

    ada.post(page.format(first=first.id), **fields)

    assert (ready(backend), waiting_for_the_commit()) == (2, [])
    assert LogEntry.objects.exists()


def test_the_work_on_the_mirror_is_there(backend: RedisBackend) -> None:
    enqueue_prune("default", 1)

    assert (ready(backend), waiting_for_the_commit()) == (1, [])


@pytest.mark.parametrize("page", ["job/{first}/copy/", CALL], ids=["copy", "call"])
def test_a_job_that_its_lock_keeps_out_is_not_announced(
    ada: Staff, backend: RedisBackend, page: str
) -> None:
    first = tasks.once.using(on_commit=False).enqueue(1)

    answer = ada.client.post(
        f"/admin/django_taskq/{page.format(first=first.id)}", FIELDS, follow=True
    )

    assert f"Nothing was enqueued: job {first.id} has the lock." in answer.content.decode()
    assert not LogEntry.objects.exists()
