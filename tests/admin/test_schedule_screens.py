"""Schedules: what the screens show of them, what is ordered there, and the form of their rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import override_settings
from django.utils import timezone
from django.utils.translation import override

from django_taskq import periodic, task
from django_taskq.admin import rights
from django_taskq.admin.saying import in_words
from django_taskq.backends import RedisBackend
from django_taskq.codec import HIDDEN
from django_taskq.models import PERMISSIONS
from django_taskq.schedules.models import Schedule
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand, round_trips

FORM = "/admin/taskq_schedules/schedule"
CRUD = ("add_schedule", "change_schedule", "delete_schedule")


@task(sensitive=["key"])
def sync(shop: str, key: str) -> None: ...


def fields(**changed: Any) -> dict[str, Any]:
    """The form, filled in."""
    given = {
        "name": "stock",
        "task": tasks.add.module_path,
        "expression": "30 2 * * *",
        "tz": "Europe/Berlin",
        "enabled": "on",
        "args": "[1]",
        "kwargs": "{}",
        "overlap": "skip",
        "catch_up": "one",
        "jitter": "0",
    }
    return given | changed


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def row(**values: Any) -> Schedule:
    made = Schedule(**{"name": "stock", "task": tasks.add.module_path, "args": [1], **values})
    made.expression = made.expression or "@daily"
    made.save()
    return made


# -- in words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/30 * * * *", "every 30 minutes"),
        ("*/30 * * * * *", "every 30 seconds"),
        ("0 * * * *", "every hour"),
        ("@hourly", "every hour"),
        ("15 */6 * * *", "at minute 15 of the hour, in every 6. hour"),
        ("0 3 * * *", "at 03:00, every day"),
        ("30 0 3 * * *", "at 03:00:30, every day"),
        ("0 9,17 * * mon-fri", "at 09:00, 17:00, Monday to Friday"),
        ("*/5 9-17 * * 1-5", "every 5 minutes, in the hours 9\N{EN DASH}17, Monday to Friday"),
        ("0 0 l * *", "at 00:00, on the last day of the month"),
        ("0 8 1,15 * *", "at 08:00, on day 1, 15 of the month"),
        ("0 8 1 * 7", "at 08:00, on day 1 of the month or Sunday"),
        ("0 12 * * 5#2", "at 12:00, the 2. Friday of the month"),
        ("@yearly", "at 00:00, on day 1 of the month, January"),
        ("@every 5400s", "every 90 minutes"),
        ("@every 86400s", "every day"),
        ("*/7 * * * *", ""),
        ("1-59/2 3-5 * * *", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_an_expression_is_said_in_words(expression: str, words: str) -> None:
    assert in_words(expression) == words


def test_words_are_those_of_the_reader() -> None:
    with override("de"):
        assert in_words("0 9 * * mon-fri") == "um 09:00, Montag bis Freitag"


# -- looking ---------------------------------------------------------------------------------------


def test_the_list_says_when_where_and_what_became_of_the_last(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    row(queue_name="low")
    run = backend.timetable.run("nightly")
    backend.timetable.pause("stock")

    page = ada.sees("schedule/")

    assert "at 03:00, every day" in page
    assert "Europe/Berlin" in page
    assert "tests.<wbr>engine.<wbr>tasks.<wbr>add" in page
    assert page.count("tq-badge-paused") == 1
    assert page.index(">nightly<") < page.index(">stock<")
    assert "row" in page
    assert run.id not in page  # a run by hand is no tick


def test_a_list_of_many_is_read_page_by_page(ada: Staff, backend: RedisBackend) -> None:
    Schedule.objects.bulk_create(
        Schedule(name=f"s{n:03}", task=tasks.add.module_path, expression="@daily", args=[1])
        for n in range(60)
    )

    with round_trips() as trips:
        first = ada.sees("schedule/")
    second = ada.sees("schedule/", after="s048")

    assert len(trips) <= 3
    assert "after=s048" in first
    assert ">s049<" not in first
    assert ">s049<" in second
    assert "after=" not in second
    assert ">s007<" in ada.sees("schedule/", q="S007")
    assert ">nightly<" not in ada.sees("schedule/", q="S007")


def test_one_shows_its_next_five_runs_in_its_zone_and_in_the_readers(
    ada: Staff, backend: RedisBackend
) -> None:
    with timezone.override("Asia/Tokyo"):
        page = ada.sees("schedule/nightly/change/")

    assert page.count("03:00:00 <span") == 5
    assert page.count('<span class="tq-quiet">JST</span>') == 5
    assert "for a reason" in page
    assert "It has not been due yet." in page


def test_what_became_of_the_last_runs_leads_to_their_jobs(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    run = backend.timetable.run("nightly")
    page = ada.sees("schedule/nightly/change/")
    assert "run by hand" in page
    assert f"/job/{run.id.replace('_', '_5F')}/change/" in page
    assert "tq-badge-ready" in page


def test_a_row_that_cannot_be_run_says_why(ada: Staff, staff: Callable[..., Staff]) -> None:
    row(name="gone", task="shop.tasks.gone", args=[])
    row(name="misfit", args=["a", "b", "c"])
    eve = staff("eve", rights.VIEW)

    assert "is not known here" in ada.sees("schedule/")
    assert "is not known here" in ada.sees("schedule/gone/change/")
    assert "its arguments do not fit its task" in eve.sees("schedule/misfit/change/")
    assert ada.get("schedule/nowhere/change/").status_code == 404
    assert "cannot be run" in ada.sees("schedule/")


def test_what_is_sensitive_is_shown_nowhere(ada: Staff) -> None:
    made = row(name="sync", task=sync.module_path, args=["shop", "hunter2"])

    assert HIDDEN in ada.sees("schedule/sync/change/")
    for page in ("/admin/django_taskq/schedule/sync/change/", f"{FORM}/{made.pk}/change/"):
        assert "hunter2" not in text_of(ada.client.get(page))


# -- steering --------------------------------------------------------------------------------------


def test_what_is_ordered_is_done_and_written_down(ada: Staff, backend: RedisBackend) -> None:
    page = "schedule/nightly/do/"
    answer = ada.post(page, verb="pause")
    assert answer.url == "/admin/django_taskq/schedule/nightly/change/"
    assert backend.timetable.look("nightly").status.paused
    assert "It is paused" in ada.sees("schedule/nightly/change/")

    ada.post(page, verb="resume")
    ada.post(page, verb="skip")
    ada.post(page, verb="run")

    status = backend.timetable.look("nightly").status
    assert not status.paused
    assert status.skips_next
    said = [json.loads(entry.change_message) for entry in LogEntry.objects.order_by("pk")]
    assert [each["verb"] for each in said] == ["pause", "resume", "skip", "run"]
    assert backend.get_result(said[-1]["told"]["job"]).args == ["for a reason"]
    audit = ada.sees("audit/", of="nightly")
    assert "Skip next run" in audit
    assert "/schedule/nightly/change/" in audit
    assert "Skip next run" not in ada.sees("audit/", of="other")


def test_an_order_that_is_none_does_nothing(ada: Staff, backend: RedisBackend) -> None:
    assert ada.post("schedule/nightly/do/", verb="explode").status_code == 404
    answer = ada.client.post("/admin/django_taskq/schedule/gone/do/", {"verb": "run"}, follow=True)
    assert "is not there, or cannot be run" in text_of(answer)
    assert not LogEntry.objects.exists()


def test_a_name_may_be_anything(ada: Staff, backend: RedisBackend) -> None:
    name = 'a/b?c=d&"<script>_'
    periodic("@daily", name=name, args=["x"])(tasks.fail)

    page = ada.sees("schedule/")
    assert "<script>_" not in page
    from django.contrib.admin.utils import quote

    assert "a/b?c" in ada.sees(f"schedule/{quote(name)}/change/").replace("<wbr>", "")
    ada.post(f"schedule/{quote(name)}/do/", verb="pause")
    assert backend.timetable.look(name).status.paused


# -- rows ------------------------------------------------------------------------------------------


def test_a_row_is_added_changed_and_deleted(ada: Staff, backend: RedisBackend) -> None:
    answer = ada.client.post(f"{FORM}/add/", fields())
    assert answer.url == "/admin/django_taskq/schedule/stock/change/"
    made = Schedule.objects.get()
    assert (made.args, made.tz) == ([1], "Europe/Berlin")

    ada.client.post(f"{FORM}/{made.pk}/change/", fields(expression="0 4 * * *"))
    made.refresh_from_db()
    assert made.expression == "0 4 * * *"
    assert ada.client.get(f"{FORM}/").url == "/admin/django_taskq/schedule/"

    ada.client.post(f"{FORM}/{made.pk}/delete/", {"post": "yes"})
    assert not Schedule.objects.exists()
    said = [json.loads(entry.change_message) for entry in LogEntry.objects.order_by("pk")]
    assert [each["verb"] for each in said] == ["add", "change", "delete"]
    assert said[1]["told"]["fields"] == "Expression"
    assert "Expression" in ada.sees("audit/")


def test_a_preview_shows_the_next_runs_and_saves_nothing(ada: Staff) -> None:
    page = text_of(ada.client.post(f"{FORM}/add/", fields(_preview="Preview")))

    assert "it is not saved yet" in page
    assert page.count("02:30:00 <span") >= 4  # one night may have no half past two
    assert "at 02:30, every day" in page
    assert 'value="30 2 * * *"' in page
    assert "errornote" not in page
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("how", ["_save", "_preview"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"expression": "0 0 30 2 *"}, "never fires"),
        ({"tz": "Europe/Atlantis"}, "must be the name of a time zone"),
        ({"args": "[]"}, "lacks the argument"),
        ({"args": "{"}, "Enter a valid JSON"),
        ({"args": "null"}, "must be a tuple or list"),
        ({"task": "shop.gone"}, "is not known here"),
        ({"queue_name": "nowhere"}, "nowhere"),
        ({"start": "2026-02-01T00:00", "end": "2026-01-01T00:00"}, "must not be before start"),
    ],
)
def test_what_cannot_work_is_said_at_its_field(
    ada: Staff, wrong: dict[str, str], said: str, how: str
) -> None:
    page = text_of(ada.client.post(f"{FORM}/add/", fields(**wrong, **{how: "1"})))

    assert "errornote" in page
    assert said in page
    assert not Schedule.objects.exists()


def test_one_in_code_is_overridden_by_a_row_with_what_code_says(
    ada: Staff, backend: RedisBackend
) -> None:
    there = ada.get("schedule/nightly/edit/").url
    assert there == f"{FORM}/add/?of=nightly"
    page = text_of(ada.client.get(there))
    assert 'value="nightly"' in page
    assert 'value="0 3 * * *"' in page
    assert "for a reason" in page

    given = fields(name="nightly", task=tasks.fail.module_path, args='["x"]', enabled="")
    ada.client.post(there, given)

    assert not backend.timetable.look("nightly").status.enabled
    assert ada.get("schedule/nightly/edit/").url.endswith(f"/{Schedule.objects.get().pk}/change/")


def test_a_secret_that_is_not_shown_stays_and_goes_to_no_other_task(ada: Staff) -> None:
    made = row(name="sync", task=sync.module_path, args=["shop", "hunter2"])
    page = f"{FORM}/{made.pk}/change/"
    given = {"name": "sync", "task": sync.module_path, "args": json.dumps(["other", HIDDEN])}

    ada.client.post(page, fields(**given))
    made.refresh_from_db()
    assert made.args == ["other", "hunter2"]

    stolen = {"name": "sync", "task": tasks.fail.module_path, "args": json.dumps([HIDDEN])}
    said = text_of(ada.client.post(page, fields(**stolen)))
    assert "Give the sensitive value" in said
    made.refresh_from_db()
    assert made.task == sync.module_path


def test_rows_need_their_own_permissions_and_that_to_see_arguments(
    staff: Callable[..., Staff],
) -> None:
    made = row()
    pages = [f"{FORM}/add/", f"{FORM}/{made.pk}/change/", f"{FORM}/{made.pk}/delete/"]
    for number, lacking in enumerate([rights.VIEW, rights.VIEW_ARGS, *CRUD]):
        eve = staff(f"eve{number}", *({*PERMISSIONS, *CRUD} - {lacking}))
        answers = [eve.client.get(page).status_code for page in pages]
        match lacking:
            case rights.VIEW:
                assert answers == [403, 403, 403]
            case rights.VIEW_ARGS:
                assert answers[:2] == [403, 403]
            case _:
                assert answers[CRUD.index(lacking)] == 403
                assert answers.count(403) == 1
                assert eve.client.post(pages[CRUD.index(lacking)], fields()).status_code == 403
    made.refresh_from_db()
    assert Schedule.objects.count() == 1
    assert "taskq_schedules" not in text_of(eve.client.get("/admin/"))


def test_without_the_app_there_are_those_in_code_alone(
    ada: Staff, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.conf import settings

    declarations = sys.modules["django_taskq.periodic"]  # the package's own name is a function
    monkeypatch.setattr(declarations, "_sources", [])
    others = [app for app in settings.INSTALLED_APPS if app != "django_taskq.schedules"]
    with override_settings(INSTALLED_APPS=others):
        page = ada.sees("schedule/")
        assert ">nightly<" in page
        assert "Add schedule" not in page
        assert "Override" not in ada.sees("schedule/nightly/change/")
        assert ada.get("schedule/nightly/edit/").status_code == 404


def test_the_form_is_quick_to_ask(ada: Staff, django_assert_max_num_queries: Any) -> None:
    made = row()
    with django_assert_max_num_queries(8), round_trips() as trips:
        ada.client.get(f"{FORM}/{made.pk}/change/")
    assert trips == []
