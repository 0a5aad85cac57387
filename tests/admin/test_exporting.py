"""Lists of jobs as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest

from django_taskq.admin import rights
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand
from tests.security.tasks import log_in

FORMULA = '=HYPERLINK("http://example.com")'


@pytest.fixture
def failed(hand: Hand) -> None:
    tasks.fail.using(max_attempts=1).enqueue(FORMULA)
    log_in.enqueue("ada", password="hunter2")
    hand.run()


@pytest.mark.usefixtures("failed")
def test_a_list_is_a_table_for_a_spreadsheet(ada: Staff) -> None:
    answer = ada.get("job/", **{"state": "dead", "as": "csv"})

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="jobs.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert row["task"] == "tests.engine.tasks.fail"
    assert row["state"] == "dead"
    assert row["exception"] == "builtins.ValueError"
    assert row["message"] == f"'{FORMULA}", "no spreadsheet works it out"
    assert row["ended"].startswith("20")
    assert row["due"] == ""


@pytest.mark.usefixtures("failed")
def test_a_search_is_a_list_for_a_program(ada: Staff) -> None:
    found = json.loads(ada.get("job/", **{"state": "any", "q": "fail", "as": "json"}).content)

    assert found == []  # a text is looked for in arguments
    question = {"state": "any", "q": "task:tests.engine.tasks.fail", "as": "json"}
    (job,) = json.loads(ada.get("job/", **question).content)
    assert (job["attempts"], job["max_attempts"], job["failures"]) == (1, 1, 1)


@pytest.mark.usefixtures("failed")
def test_a_file_has_no_more_than_the_page(staff: Callable[..., Staff]) -> None:
    for name, permissions in (("eve", [rights.VIEW]), ("ada", [rights.VIEW, rights.VIEW_ARGS])):
        text = staff(name, *permissions).get("job/", **{"state": "any", "as": "json"}).content
        assert b"hunter2" not in text
        assert (b"HYPERLINK" in text) is (name == "ada")


def test_a_file_is_as_long_as_the_list_up_to_a_bound(ada: Staff) -> None:
    tasks.add.enqueue_many([(n, 1) for n in range(120)])

    assert len(json.loads(ada.get("job/", **{"state": "ready", "as": "json"}).content)) == 120
    page = ada.sees("job/", state="ready")
    assert 'href="/admin/django_taskq/job/?state=ready&amp;as=csv"' in page
    assert page.count('name="job"') == 50
