"""Rows of jobs in the admin: seen by who may, in pages that cost what they show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_taskq import task
from django_taskq.backends import RedisBackend
from django_taskq.mirror.admin import PAGE, BoundedPaginator
from django_taskq.mirror.models import Attempt, JobRecord
from django_taskq.mirror.reader import Mirror
from tests.admin.conftest import Staff
from tests.engine.support import Hand, configured
from tests.engine.tasks import add

LIST = "/admin/taskq_mirror/jobrecord/"


@task(max_attempts=1, sensitive=("password",))
def shaky(name: str, password: str = "") -> None:
    raise LookupError(f"<script>{name}</script>")


@pytest.fixture
def rows(db: None, backend: RedisBackend, hand: Hand) -> Callable[[], None]:
    """Writes what there is."""
    return Mirror(backend.broker, "default", "default").finish


def page(staff: Staff, url: str = LIST, **params: str) -> str:
    answer = staff.client.get(url, params)
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def detail(result: object) -> str:
    return f"{LIST}{JobRecord.objects.get(job=result.id).pk}/change/"  # type: ignore[attr-defined]


def test_a_list_shows_jobs_and_is_filtered_and_searched(
    rows: Callable[[], None], ada: Staff, hand: Hand
) -> None:
    good, bad = add.enqueue(1), shaky.enqueue("ada")
    hand.run()
    rows()
    assert good.id in page(ada)
    assert good.id not in page(ada, state__exact="dead")
    assert bad.id in page(ada, state__exact="dead")
    for term in (bad.id, shaky.module_path, "shaky", "LookupError", "builtins.LookupError"):
        found = page(ada, q=term)
        assert bad.id in found
        assert good.id not in found
    assert bad.id in page(ada, enqueued="day", queue="default")
    assert bad.id not in page(ada, queue="low")
    assert bad.id not in page(ada, q="no such thing")


def test_a_job_is_shown_safely_with_what_it_carried(
    rows: Callable[[], None], ada: Staff, hand: Hand
) -> None:
    result = shaky.enqueue("ada", password="canary-4711")
    hand.run()
    rows()
    shown = page(ada, detail(result))
    assert f"/admin/django_taskq/job/{result.id}/change/" in shown
    assert "&lt;script&gt;ada" in shown
    assert "<script>ada" not in shown
    assert "canary-4711" not in shown
    assert "LookupError" in shown


def test_who_may_not_see_arguments_sees_none(
    rows: Callable[[], None], staff: Callable[..., Staff], hand: Hand
) -> None:
    result = shaky.enqueue("ada-4711")
    hand.run()
    rows()
    shown = page(staff("eve", "view_taskq"), detail(result))
    assert "builtins.LookupError" in shown
    assert "ada-4711" not in shown


def test_staff_without_permission_sees_nothing(
    rows: Callable[[], None], staff: Callable[..., Staff]
) -> None:
    result = add.enqueue(1)
    rows()
    nobody = staff("nobody")
    assert nobody.client.get(LIST).status_code == 403
    assert nobody.client.get(detail(result)).status_code == 403


def test_nothing_can_be_changed(rows: Callable[[], None], ada: Staff) -> None:
    result = add.enqueue(1)
    rows()
    assert ada.client.get(f"{LIST}add/").status_code == 403
    assert ada.client.post(detail(result), {"state": "dead"}).status_code == 403
    assert ada.client.post(detail(result).replace("change", "delete")).status_code == 403
    assert JobRecord.objects.get().state == "ready"


def test_a_page_of_a_job_reads_each_table_once_and_of_attempts_the_newest(
    rows: Callable[[], None], ada: Staff, hand: Hand
) -> None:
    result = shaky.enqueue("ada")
    hand.run()
    rows()
    record = JobRecord.objects.get(job=result.id)
    began = timezone.now() - timedelta(days=1)
    Attempt.objects.bulk_create(
        Attempt(record=record, number=n, ended_at=began + timedelta(minutes=n), error=f"of.E{n:03}")
        for n in range(100)
    )
    with CaptureQueriesContext(connection) as queries:
        shown = page(ada, detail(result))
    tables = [re.search(r'FROM "(taskq_\w+)"', query["sql"]) for query in queries]
    counted = Counter(found[1] for found in tables if found)
    assert counted["taskq_job_payload"] == counted["taskq_attempt"] == 1
    errors = re.findall(r"of\.E\d{3}", shown)
    assert list(dict.fromkeys(errors)) == [f"of.E{n:03}" for n in range(99, 50, -1)]


def test_the_way_to_a_job_names_its_backend_and_any_id(
    rows: Callable[[], None], ada: Staff, url: str, prefix: str
) -> None:
    odd, other, gone = (
        JobRecord.objects.create(backend=backend, job=id, queue="default", task="a.b", version=1)
        for backend, id in (("default", "a/b_c?d"), ("second", "x"), ("none", "y"))
    )
    entry = configured(url, prefix)
    with override_settings(TASKS={"default": entry, "second": entry}):
        assert 'job/a_2Fb_5Fc_3Fd/change/"' in page(ada, f"{LIST}{odd.pk}/change/")
        assert 'job/x/change/?backend=second"' in page(ada, f"{LIST}{other.pk}/change/")
        assert "job/y/change/" not in page(ada, f"{LIST}{gone.pk}/change/")


def test_a_page_never_counts_or_groups_all_rows(rows: Callable[[], None], ada: Staff) -> None:
    results = add.enqueue_many([(n,) for n in range(60)])
    rows()
    page(ada)
    for url, params in ((LIST, {}), (LIST, {"q": results[0].id}), (detail(results[0]), {})):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(ada, url, **params)
        ours = [q["sql"] for q in queries if "taskq_job" in q["sql"] or "taskq_attempt" in q["sql"]]
        assert 0 < len(ours) <= 7
        for sql in ours:
            assert "DISTINCT" not in sql
            assert "LIMIT" in sql or re.search(r'"(id|record_id|job)" (=|IN)', sql), sql


@pytest.mark.parametrize("term", ["x.1", "shaky", "old.tasks.gone", "LookupError", "nothing"])
def test_a_search_asks_for_one_thing_at_a_time(
    rows: Callable[[], None], ada: Staff, hand: Hand, term: str
) -> None:
    """With any of several, a database reads all rows, or puts all that match in order."""
    shaky.enqueue("ada")
    hand.run()
    rows()
    JobRecord.objects.create(
        backend="default", job="x.1", queue="default", task="old.tasks.gone", version=1
    )
    with CaptureQueriesContext(connection) as queries:
        found = page(ada, q=term)
    ours = [query["sql"] for query in queries if "taskq_job" in query["sql"]]
    assert ours
    assert not any(" OR " in sql for sql in ours)
    assert ("1 job" in found) is (term != "nothing")


def test_a_long_list_is_counted_up_to_a_limit(
    rows: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    add.enqueue_many([(n,) for n in range(60)])
    rows()
    monkeypatch.setattr("django_taskq.mirror.admin.MOST_COUNTED", 20)
    assert BoundedPaginator(JobRecord.objects.order_by("-id"), PAGE).count == 20
