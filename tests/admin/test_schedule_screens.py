"""Schedules: what the screens show of them, what is ordered there, and the form of their rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from django_taskq import periodic, task
from django_taskq.admin import clocks, rights
from django_taskq.admin.saying import in_words
from django_taskq.backends import RedisBackend
from django_taskq.broker.almanac import Almanac, Tick
from django_taskq.clock import now_ms
from django_taskq.codec import HIDDEN
from django_taskq.cron import turns
from django_taskq.firing import job_of
from django_taskq.job import new_id
from django_taskq.models import PERMISSIONS
from django_taskq.periodic import Declaration
from django_taskq.registry import OWN_TASK
from django_taskq.schedule import Schedule as When
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
        ("0 0 1 13 *", ""),
        ("0 0 1 1-99 *", ""),
        ("@every", ""),
        ("@every xs", ""),
        ("*/0 * * * *", ""),
        ("² * * * *", ""),
        ("0 0 * * ²", ""),
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


def test_one_that_was_only_run_by_hand_runs_next_when_it_is_due_next(
    ada: Staff, backend: RedisBackend
) -> None:
    backend.timetable.run("nightly")  # no worker has seen the schedule yet

    due = backend.timetable.look("nightly").status.next

    assert due is not None
    assert due.timestamp() * 1000 > now_ms() - 1000


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


def test_one_that_cannot_be_run_has_a_page_however_many_have_its_name_in_theirs(
    staff: Callable[..., Staff],
) -> None:
    Schedule.objects.bulk_create(
        Schedule(name=f"gone {n:03}", task="shop.tasks.gone", expression="@daily")
        for n in range(60)
    )
    row(name="we", task="shop.tasks.gone", args=[])
    eve = staff("eve", rights.VIEW, rights.VIEW_ARGS, *CRUD)

    with CaptureQueriesContext(connection) as queries, round_trips() as trips:
        page = eve.sees("schedule/we/change/")

    assert "is not known here" in page
    assert len(queries) <= 5, [query["sql"] for query in queries]
    assert trips == []
    Schedule.objects.filter(name="we").update(name="gone")
    assert "is not known here" in eve.sees("schedule/gone/change/")


def test_what_another_source_describes_is_neither_copied_nor_overridden(
    ada: Staff, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        def version(self) -> int:
            return 1

        def load(self) -> list[Declaration]:
            fine = Declaration(name="far", task=tasks.fail.module_path, expression="@daily")
            said = msgspec.structs.replace(fine, source="a file")
            return [said, msgspec.structs.replace(said, name="bad", expression="nonsense")]

    declarations = sys.modules["django_taskq.periodic"]  # the package's own name is a function
    monkeypatch.setattr(declarations, "_sources", [*declarations._sources, Elsewhere()])

    for name in ("far", "bad"):
        page = ada.sees(f"schedule/{name}/change/")
        assert "a file" in page
        assert "Override" not in page
        assert "?copy=" not in page
    assert "Override" in ada.sees("schedule/nightly/change/")


@pytest.mark.parametrize("expression", ["0 0 1 13 *", "nonsense", "", "0 0 ² * *", "@every 0s"])
def test_a_row_that_was_saved_unchecked_breaks_no_page(ada: Staff, expression: str) -> None:
    row(name="odd")
    Schedule.objects.filter(name="odd").update(expression=expression)

    assert "cannot be run" in ada.sees("schedule/")
    assert "cannot be run" in ada.sees("schedule/odd/change/")


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


def test_a_pause_ends_by_itself_and_everybody_sees_why(
    ada: Staff, staff: Callable[..., Staff], backend: RedisBackend
) -> None:
    page = ada.sees("schedule/nightly/change/")
    assert '<option value="240">4 hours</option>' in page

    ada.post("schedule/nightly/do/", verb="pause", minutes="60", why=" a <b>\n stocktaking ")

    status = backend.timetable.look("nightly").status
    assert status.paused_until is not None
    assert status.paused_since is not None
    assert (status.paused_until - status.paused_since).total_seconds() == 3600
    eve = staff("eve", rights.VIEW)
    for seen in (eve.sees("schedule/"), eve.sees("schedule/nightly/change/")):
        assert "Paused by ada" in seen
        assert "a &lt;b&gt; stocktaking" in seen
        assert "It goes on" in seen
    assert "Pause …" not in eve.sees("schedule/nightly/change/")
    said = json.loads(LogEntry.objects.get().change_message)
    assert said["told"] == {"why": "a <b> stocktaking", "minutes": "60"}

    until = status.paused_until
    assert ada.post("schedule/nightly/do/", verb="pause", minutes="61").status_code == 404
    assert backend.timetable.look("nightly").status.paused_until == until  # nobody offered that
    ada.post("schedule/nightly/do/", verb="pause", minutes="")
    assert "It goes on" not in ada.sees("schedule/nightly/change/")


def test_a_row_is_switched_off_and_on_without_its_form(
    ada: Staff, staff: Callable[..., Staff], backend: RedisBackend
) -> None:
    made = row(args=[1], notes="kept")
    eve = staff("eve", rights.VIEW, "change_schedule")  # who may not see arguments
    assert ">Switch off</button>" in eve.sees("schedule/stock/change/")

    eve.post("schedule/stock/switch/", verb="disable")

    made.refresh_from_db()
    assert (made.enabled, made.args, made.notes) == (False, [1], "kept")
    assert not backend.timetable.look("stock").status.enabled
    assert ">Switch on</button>" in eve.sees("schedule/stock/change/")
    eve.post("schedule/stock/switch/", verb="enable")
    made.refresh_from_db()
    assert made.enabled
    said = [json.loads(entry.change_message)["verb"] for entry in LogEntry.objects.order_by("pk")]
    assert said == ["disable", "enable"]
    assert "Switch off" in ada.sees("audit/")


def test_a_switch_needs_its_permission_a_row_and_a_post(
    ada: Staff, staff: Callable[..., Staff]
) -> None:
    made = row()
    eve = staff("eve", *({*PERMISSIONS, *CRUD} - {"change_schedule"}))

    assert "Switch off" not in eve.sees("schedule/stock/change/")
    assert eve.post("schedule/stock/switch/", verb="disable").status_code == 403
    assert ada.get("schedule/stock/switch/").status_code == 405
    assert "Switch off" not in ada.sees("schedule/nightly/change/")  # it is in code
    assert ada.post("schedule/nightly/switch/", verb="disable").status_code == 404
    assert ada.post("schedule/stock/switch/", verb="explode").status_code == 404
    made.refresh_from_db()
    assert made.enabled
    assert not LogEntry.objects.exists()


def test_a_row_that_cannot_be_run_can_be_switched_off(ada: Staff) -> None:
    made = row(name="gone", task="shop.tasks.gone", args=[])
    assert ">Switch off</button>" in ada.sees("schedule/gone/change/")

    ada.post("schedule/gone/switch/", verb="disable")

    made.refresh_from_db()
    assert not made.enabled


def test_a_row_before_one_in_code_says_so(ada: Staff) -> None:
    assert "stands before one in code" not in ada.sees("schedule/")
    row(name="nightly", task=tasks.fail.module_path, args=["x"])

    assert "stands before one in code" in ada.sees("schedule/")
    assert "stands before one in code" in ada.sees("schedule/nightly/change/")


def test_a_page_says_what_became_of_the_last_run_and_how_it_runs(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    row(overlap="queue", catch_up="all", jitter=90)
    page = ada.sees("schedule/stock/change/")
    for words in ("<code>queue</code>", "<code>all</code>", "90 s", ">row<", "never"):
        assert words in page

    almanac = Almanac(backend.broker)
    made = backend.timetable.find("nightly")
    job = job_of(made, new_id(), backend.broker, "default", 10_000)
    almanac.agenda(made.queue, [("nightly", made.schedule.fingerprint)])
    now, _ = almanac.agenda(made.queue, [])
    _, (ticked,) = almanac.tick(made.queue, [Tick("nightly", now + 1, now, "skip", 0, job.draft)])
    assert ticked.letter == "N"
    facts = ada.sees("schedule/nightly/change/").partition("tq-h-facts")[2]
    assert f"/job/{job.draft.id.replace('_', '_5F')}/change/" in facts
    assert "tq-badge-ready" in facts


# -- clocks ----------------------------------------------------------------------------------------


def noted(schedule: When, now: str) -> list[str]:
    moment = int(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000)
    with override("en"):
        return clocks.notes(schedule, moment, schedule.next_runs(moment, 5))


BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
SPRING = f"On March 28, 2027 clocks in {BERLIN} go forward from 02:00 to 03:00."
AUTUMN = f"On Oct. 31, 2027 clocks in {BERLIN} go back from 03:00 to 02:00."
MARCH = f"On March 14, 2027 clocks in {NEW_YORK} go forward from 02:00 to 03:00."
APRIL = f"On April 4, 2027 clocks in {LORD_HOWE} go back from 02:00 to 01:30."


@pytest.mark.parametrize(
    ("expression", "zone", "now", "head", "effect"),
    [
        (
            *("30 2 * * *", BERLIN, "2027-03-25", SPRING),
            "There is no 02:30 that day: it runs at 03:00, once.",
        ),
        (
            *("0,30 2 * * *", BERLIN, "2027-10-28", AUTUMN),
            "They show 02:00, 02:30 twice: it runs the first time only.",
        ),
        (
            *("*/30 * * * *", BERLIN, "2027-10-28", AUTUMN),
            "They show 02:00, 02:30 twice: it follows elapsed time and runs both times.",
        ),
        (
            *("*/2 * * * *", NEW_YORK, "2027-03-12", MARCH),
            "There is no 02:00–03:00 that day: it follows elapsed time and leaves that out.",
        ),
        (
            *("15 * * * *", LORD_HOWE, "2027-04-02", APRIL),
            "None of its times lies between the two: nothing changes for it.",
        ),
        (
            *("@every 1h", BERLIN, "2027-03-25", SPRING),
            "It counts elapsed time, whatever they show.",
        ),
    ],
)
def test_what_clocks_that_are_set_do_is_said_in_words(
    expression: str, zone: str, now: str, head: str, effect: str
) -> None:
    assert noted(When(expression, tz=zone), now) == [f"{head} {effect}"]


def test_where_clocks_are_not_set_nothing_is_said() -> None:
    assert noted(When("30 2 * * *", tz="Asia/Tokyo"), "2027-03-25") == []


def test_a_page_and_a_preview_say_when_clocks_are_set(ada: Staff) -> None:
    now = now_ms() // 1000
    turn = next(turns(ZoneInfo(BERLIN), now + 86_400, now + 400 * 86_400))
    start = datetime.fromtimestamp(turn - 86_400, UTC)
    row(expression="30 2 * * *", tz=BERLIN, start=start)

    page = ada.sees("schedule/stock/change/")
    preview = text_of(
        ada.client.post(f"{FORM}/add/", fields(_preview="1", start=start.isoformat()))
    )

    for seen in (page, preview):
        assert f"clocks in {BERLIN} go" in seen
        assert "02:30 that day" in seen or "02:30 twice" in seen


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


def test_the_history_of_a_row_is_that_of_its_name(ada: Staff) -> None:
    made = row(name="stock_24 & more")
    ada.client.post(f"{FORM}/{made.pk}/change/", fields(name=made.name, notes="new"))

    answer = ada.client.get(f"{FORM}/{made.pk}/history/", follow=True)

    assert answer.redirect_chain
    assert "stock_24 &amp; more" in text_of(answer)
    assert "Change" in text_of(answer)
    assert "Nobody has done anything yet." not in text_of(answer)


def test_the_history_of_a_row_tells_its_name_to_who_may_see_it_alone(
    staff: Callable[..., Staff],
) -> None:
    made = row(name="secret plan")
    page = f"{FORM}/{made.pk}/history/"

    for number, rest in enumerate([(), (rights.VIEW,), (rights.VIEW, "change_schedule")]):
        assert staff(f"eve{number}", *rest).client.get(page).status_code == 403
    answer = staff("ben", rights.VIEW, rights.VIEW_ARGS, "change_schedule").client.get(page)
    assert answer.url.endswith("?of=secret+plan")


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
        ({"args": "{"}, "This is no JSON"),
        ({"args": "[" * 100_000}, "This is no JSON"),
        ({"args": "[" * 500 + "]" * 500}, "This is nested too deep"),
        ({"args": "[" + "1" * 5_000 + "]"}, "This is no JSON"),
        ({"kwargs": '{"a": "\\ud800"}'}, "This is no JSON"),
        ({"args": '["a\\u0000b"]', "task": tasks.fail.module_path}, "U+0000 cannot be kept"),
        ({"args": "null"}, "must be a tuple or list"),
        ({"task": "shop.gone"}, "is not known here"),
        ({"queue_name": "nowhere"}, "nowhere"),
        ({"task": OWN_TASK, "args": "[{}]"}, "for the admin alone"),
        ({"start": "9999-12-31T23:59"}, "must be before the year 9000"),
        ({"end": "9999-12-31T23:59"}, "must be before the year 9000"),
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


def test_what_works_on_many_jobs_is_no_task_for_a_schedule(ada: Staff) -> None:
    """It asks for no permission any more: whoever writes rows could delete everything."""
    row(name="wipe", task=OWN_TASK, args=[{}])

    assert f'value="{OWN_TASK}"' not in text_of(ada.client.get(f"{FORM}/add/"))
    assert "for the admin alone" in ada.sees("schedule/wipe/change/")


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


def test_the_form_says_what_the_task_takes(ada: Staff) -> None:
    page = ada.client.get("/admin/taskq_schedules/schedule/add/?of=nightly").content.decode()

    assert "fail(message: str = &#x27;no&#x27;)" in page
