"""Rows of jobs as a file, and old ones deleted by a job."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_taskq.admin import rights
from django_taskq.backends import RedisBackend
from django_taskq.broker.inspector import Inspector
from django_taskq.exceptions import BrokerError, BrokerUnavailable, NotReplicated
from django_taskq.job import State
from django_taskq.mirror import keeping
from django_taskq.mirror.models import Attempt, JobPayload, JobRecord
from django_taskq.operations import Operations, Params
from tests.admin.conftest import Staff
from tests.admin.test_history import LIST, page, rows, shaky
from tests.engine.support import Hand
from tests.engine.tasks import add

__all__ = ["rows"]

FORMULA = '=HYPERLINK("http://example.com")'


def body(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return b"".join(answer.streaming_content).decode()


def exported(who: Staff, kind: str = "json", **params: str) -> Any:
    text = body(who.client.get(f"{LIST}export/{kind}/", params))
    return json.loads(text) if kind == "json" else list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def eve(ada: Staff) -> Staff:
    """One who may also delete old rows."""
    ada.user.user_permissions.add(Permission.objects.get(codename="delete_jobrecord"))
    return ada


# -- a file ----------------------------------------------------------------------------------------


def test_a_file_has_the_rows_of_the_filtered_list(
    rows: Callable[[], None], ada: Staff, hand: Hand
) -> None:
    good, bad = add.enqueue(1), shaky.enqueue(FORMULA)
    hand.run()
    rows()

    (job,) = exported(ada, state__exact="dead")
    assert (job["job"], job["state"], job["error"]) == (bad.id, "dead", "builtins.LookupError")
    assert job["enqueued_at"].startswith("20")
    assert [each["job"] for each in exported(ada, "csv")] == [bad.id, good.id]
    assert exported(ada, q="no such thing") == []
    link = re.search(r'href="([^"]*export/csv/[^"]*)"', page(ada, state__exact="dead"))
    assert link
    assert body(ada.client.get(link[1].replace("&amp;", "&"))).count(bad.id) == 1


def test_no_cell_is_a_formula(rows: Callable[[], None], ada: Staff) -> None:
    JobRecord.objects.create(backend="default", job="=1+1", queue="q", task="a.b", version=1)

    assert [each["job"] for each in exported(ada, "csv")] == ["'=1+1"]


def test_a_file_has_no_more_than_the_page(
    rows: Callable[[], None], staff: Callable[..., Staff], hand: Hand
) -> None:
    shaky.enqueue("ada-4711", password="hunter2")
    hand.run()
    rows()
    for name, permissions in (("eve", [rights.VIEW]), ("ada", [rights.VIEW, rights.VIEW_ARGS])):
        who = staff(name, *permissions)
        for kind in ("json", "csv"):
            text = str(exported(who, kind))
            assert "hunter2" not in text
            assert ("ada-4711" in text) is (name == "ada")
    assert staff("nobody").client.get(f"{LIST}export/csv/").status_code == 403
    assert staff("ben", rights.VIEW).client.get(f"{LIST}export/xml/").status_code == 404


def test_a_file_is_read_in_chunks_up_to_a_bound(
    rows: Callable[[], None], ada: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [result.id for result in add.enqueue_many([(n,) for n in range(30)])]
    rows()
    monkeypatch.setattr(keeping, "CHUNK", 10)
    monkeypatch.setattr(keeping, "MOST_EXPORTED", 25)
    newest = list(JobRecord.objects.order_by("-pk").values_list("job", flat=True))[:25]

    with CaptureQueriesContext(connection) as queries:
        found = [each["job"] for each in exported(ada)]

    assert found == newest
    assert set(found) < set(made)
    read = [q["sql"] for q in queries if 'FROM "taskq_job"' in q["sql"] and "SELECT" in q["sql"]]
    assert all("LIMIT" in sql for sql in read)


# -- for good --------------------------------------------------------------------------------------


def old(days: float, **more: Any) -> JobRecord:
    """A row of a job that ended some days ago."""
    at = timezone.now() - timedelta(days=days)
    values = {"backend": "gone", "queue": "q", "task": "a.b", "state": "succeeded", "version": 1}
    values |= {"job": f"job-{days}-{len(more)}", "enqueued_at": at, "ended_at": at, **more}
    record: JobRecord = JobRecord.objects.create(**values)
    JobPayload.objects.create(record=record)
    Attempt.objects.create(record=record, number=1, ended_at=at, error="e")
    return record


def test_old_rows_are_deleted_by_a_job(
    rows: Callable[[], None], eve: Staff, hand: Hand, backend: RedisBackend
) -> None:
    """Whatever backend they are of; rows of jobs that have not ended stay."""
    old(40)
    stays = [old(20), old(40, state="ready", ended_at=None)]
    assert "Delete old rows" in page(eve)

    answer = eve.client.post(f"{LIST}prune/", {"days": "30"}, follow=True)

    assert "deletes the old rows" in answer.content.decode()
    assert JobRecord.objects.count() == 3, "nothing is deleted in the request"
    (outcome,) = hand.run(1, "critical")
    assert (outcome.kind, outcome.blob) == ("S", b"1")
    assert set(JobRecord.objects.values_list("pk", flat=True)) == {each.pk for each in stays}
    assert JobPayload.objects.count() == Attempt.objects.count() == 2
    (entry,) = LogEntry.objects.all()
    assert json.loads(entry.change_message)["verb"] == "prune"
    assert "Delete old rows" in eve.sees("audit/")


def test_to_delete_rows_needs_its_own_permission(rows: Callable[[], None], ada: Staff) -> None:
    """ada has all the others."""
    old(40)

    assert "prune/" not in page(ada)
    assert ada.client.get(f"{LIST}prune/").status_code == 403
    assert ada.client.post(f"{LIST}prune/", {"days": "30"}).status_code == 403
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("days", ["", "0", "-1", "x", "99999999"])
def test_days_that_make_no_sense_delete_nothing(
    rows: Callable[[], None], eve: Staff, backend: RedisBackend, days: str
) -> None:
    answer = eve.client.post(f"{LIST}prune/", {"days": days})

    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert not LogEntry.objects.exists()


def test_who_may_retry_jobs_has_no_rows_deleted_by_that(
    rows: Callable[[], None], eve: Staff, hand: Hand, backend: RedisBackend
) -> None:
    """Our own job is never run again by hand, nor copied, nor given other arguments."""
    eve.client.post(f"{LIST}prune/", {"days": "30"})
    hand.run(1, "critical")
    (row,) = Inspector(backend.broker).page(["critical"], State.SUCCEEDED).rows

    done = Operations(backend.broker).apply("retry", [row], Params(by="ada"))

    assert done == {"refused": 1}
    shown = eve.sees(f"job/{row.id}/change/")
    assert "Enqueue a copy" not in shown
    assert "Edit arguments" not in shown


@pytest.mark.parametrize(
    ("error", "is_noted"),
    [
        (BrokerUnavailable("it is away"), False),
        (BrokerUnavailable("it is away", maybe_sent=True), True),
        (NotReplicated("it is away"), True),
    ],
)
def test_where_redis_is_away_it_says_so(
    rows: Callable[[], None],
    eve: Staff,
    monkeypatch: pytest.MonkeyPatch,
    error: BrokerError,
    is_noted: bool,
) -> None:
    """And the log says what may have become a job nevertheless."""

    def away(*args: Any) -> None:
        error.results = [SimpleNamespace(id="x.1")]
        raise error

    monkeypatch.setattr(keeping, "enqueue_prune", away)

    answer = eve.client.post(f"{LIST}prune/", {"days": "30"}, follow=True)

    assert "Redis does not answer: it is away" in answer.content.decode()
    said = [(each.object_id, json.loads(each.change_message)) for each in LogEntry.objects.all()]
    found = [(id, each["verb"], each["outcome"]) for id, each in said]
    assert found == ([("x.1", "prune", {"unsure": 1})] if is_noted else [])
