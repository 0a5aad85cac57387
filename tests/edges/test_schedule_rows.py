"""Schedules as rows, and the command that shows and steers schedules."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, transaction

from django_taskq import periodic, task
from django_taskq.backends import RedisBackend
from django_taskq.broker.audit import Audit
from django_taskq.broker.doorbell import Ear
from django_taskq.exceptions import InvalidOption
from django_taskq.periodic import Declaration, _declared, sources
from django_taskq.schedules.models import Schedule
from django_taskq.schedules.source import ROWS
from django_taskq.services.rows import Reader
from django_taskq.timetable import Timetable
from tests.engine import tasks
from tests.engine.support import Hand, configured

NAME = "nightly"


@pytest.fixture(autouse=True)
def _alone(backend: RedisBackend) -> Iterator[None]:
    before = dict(_declared)
    _declared.clear()
    yield
    _declared.clear()
    _declared.update(before)


@pytest.fixture
def table(backend: RedisBackend) -> Timetable:
    return backend.timetable


@task
def on(day: date) -> None: ...


def row(**fields: Any) -> Schedule:
    given: dict[str, Any] = {
        "name": NAME,
        "task": tasks.add.module_path,
        "expression": "0 3 * * *",
        "tz": "Europe/Berlin",
        "args": [1],
    }
    return Schedule(**(given | fields))


def errors_of(bad: Schedule) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        bad.full_clean()
    return dict(caught.value.message_dict)


# -- what a row may say ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_good_row_is_clean_and_tells_its_next_runs() -> None:
    good = row()
    good.full_clean()

    runs = good.next_runs(3)
    assert len(runs) == 3
    assert {(run.hour, str(run.tzinfo)) for run in runs} == {(3, "Europe/Berlin")}
    assert row(enabled=False).next_runs() == []
    assert row(expression="nonsense").next_runs() == []
    assert str(good) == NAME


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"task": "shop.tasks.gone"}, "task", "'shop.tasks.gone': is not known here"),
        ({"args": []}, "args", "lacks the argument 'a'"),
        ({"args": {"a": 1}}, "args", "must be a tuple or list"),
        ({"kwargs": [1]}, "kwargs", "must be a dict"),
        ({"kwargs": {"c": 1}}, "args", "'c'"),
        ({"args": ["a\0"]}, "args", "U+0000"),
        ({"kwargs": {"b": [{"\0": 1}]}}, "args", "U+0000"),
        ({"tz": "Europe/Atlantis"}, "tz", "must be the name of a time zone"),
        ({"expression": "0 0 30 2 *"}, "expression", "never fires"),
        ({"expression": "daily"}, "expression", "must be five fields"),
        ({"jitter": -1.0}, "jitter", "of at least 0"),
        ({"overlap": "sometimes"}, "overlap", "sometimes"),
        ({"queue_name": "nowhere"}, "__all__", "nowhere"),
        ({"name": "two\nlines"}, "name", "control character"),
        (
            {"start": datetime(2026, 1, 2, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)},
            "end",
            "must not be before start",
        ),
    ],
)
def test_a_bad_row_says_at_which_field_and_why(
    fields: dict[str, Any], field: str, said: str
) -> None:
    assert said in " ".join(errors_of(row(**fields))[field])


@pytest.mark.django_db
def test_several_bad_fields_are_all_said() -> None:
    assert set(errors_of(row(task="gone.task", tz="Mars"))) == {"task", "tz"}


@pytest.mark.django_db
def test_a_name_is_that_of_one_row() -> None:
    row().save()

    with pytest.raises(IntegrityError), transaction.atomic():
        row().save()


@pytest.mark.django_db
def test_json_becomes_what_the_annotations_name() -> None:
    made = row(task=on.module_path, args=["2026-01-02"])
    made.full_clean()

    assert made.resolve().args == (date(2026, 1, 2),)
    assert errors_of(row(task=on.module_path, args=["soon"])).keys() == {"args"}


@pytest.mark.django_db
def test_queue_and_priority_of_a_row_are_those_of_its_jobs(table: Timetable, hand: Hand) -> None:
    row(queue_name="low", priority=7).save()

    result = table.run(NAME)

    (grant,) = hand.claim(queue="low")
    assert grant.id == result.id
    assert grant.live.priority == 7


# -- what workers are told -------------------------------------------------------------------------


def test_the_app_adds_its_rows_to_the_sources() -> None:
    assert ROWS in sources()


@pytest.mark.django_db
def test_every_kind_of_change_makes_another_version() -> None:
    seen = [ROWS.version()]

    def changed() -> bool:
        seen.append(ROWS.version())
        return seen[-1] not in seen[:-1]

    saved = row()
    saved.save()
    assert changed()
    saved.notes = "x"
    saved.save(update_fields=["notes"])
    assert changed()
    Schedule.objects.filter(name=NAME).update(enabled=False)
    assert changed()
    Schedule.objects.bulk_create([row(name="b"), row(name="c")])
    assert changed()
    others = list(Schedule.objects.filter(name__in="bc"))
    for other in others:
        other.tz = "UTC"
    Schedule.objects.bulk_update(others, ["tz"])
    assert changed()
    saved.delete()
    assert changed()
    assert ROWS.version() == seen[-1]


@pytest.mark.django_db
def test_a_row_survives_the_way_to_the_worker() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    row(start=start, kwargs={"b": 2}, priority=3, jitter=1.5).save()
    reader = Reader([ROWS])
    line = reader.look()
    assert line is not None

    (found,) = msgspec.json.decode(line, type=list[Declaration])
    assert found == Schedule.objects.get().declaration()
    assert found.start == start
    assert reader.look() is None, "nothing has changed since"


@pytest.mark.django_db
def test_a_source_that_fails_is_said_once_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        failing = True

        def version(self) -> int:
            if self.failing:
                raise OperationalError("could not connect as app:hunter2")
            return 1

        def load(self) -> list[Declaration]:
            return []

    source = Broken()
    reader = Reader([source])
    assert [reader.look(), reader.look()] == [b"null\n", None]
    assert caplog.text.count("schedules cannot be read (OperationalError)") == 1
    assert "hunter2" not in caplog.text
    source.failing = False
    assert reader.look() == b"[]\n"
    assert caplog.text.count("can be read again") == 1
    source.failing = True
    assert reader.look() is None
    source.failing = False
    assert reader.look() is None, "nothing has changed since"
    assert caplog.text.count("can be read again") == 2


@pytest.mark.django_db
def test_a_row_that_no_line_can_hold_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    row(name="sound").save()
    sound = Schedule.objects.get().declaration()

    class Odd:
        def version(self) -> int:
            return 1

        def load(self) -> list[Declaration]:
            return [msgspec.structs.replace(sound, name="odd", args=["\ud800"]), sound]

    line = Reader([Odd()]).look()

    assert line is not None
    assert [each.name for each in msgspec.json.decode(line, type=list[Declaration])] == ["sound"]
    assert "schedule odd is not run" in caplog.text


def nothing_said(backend: RedisBackend, ear: Ear) -> bool:
    """Whether nobody was told anything: the next message is our own."""
    backend.server.command("PUBLISH", backend.broker.control, "our own")
    return ear.messages() == ["our own"]


@pytest.mark.django_db(transaction=True)
def test_workers_are_told_when_a_change_commits(backend: RedisBackend) -> None:
    ear = Ear(backend.server, backend.broker.control)
    ear.open()
    try:
        with transaction.atomic():
            row().save()
            assert nothing_said(backend, ear)
        assert "schedules" in ear.messages()
    finally:
        ear.close()


@pytest.mark.django_db(transaction=True)
def test_a_row_is_saved_though_no_worker_can_be_told(
    settings: Any, caplog: pytest.LogCaptureFixture, prefix: str
) -> None:
    settings.TASKS = {"default": configured("redis://127.0.0.1:1/0", prefix)}
    row().save()

    assert Schedule.objects.count() == 1
    assert "some seconds later" in caplog.text


# -- beside code -----------------------------------------------------------------------------------


def in_code(**options: Any) -> None:
    options = {"name": NAME, "tz": "UTC", "args": [5], **options}
    periodic("@hourly", **options)(tasks.add)


@pytest.mark.django_db
def test_a_row_may_switch_off_what_code_says(table: Timetable) -> None:
    in_code()
    Schedule.objects.override(NAME, enabled=False)

    (status,) = table.all()
    assert (status.source, status.enabled, status.next) == ("database", False, None)
    Schedule.objects.all().delete()
    (status,) = table.all()
    assert (status.source, status.enabled) == ("code", True)


@pytest.mark.django_db
def test_what_a_row_does_not_say_is_as_in_code() -> None:
    in_code(timeout=7, overlap="queue", catch_up="all", jitter=3)
    made = Schedule.objects.override(NAME, expression="@weekly")

    found = made.resolve()
    assert (found.schedule.expression, found.schedule.overlap) == ("@weekly", "queue")
    assert (found.args, found.task.options.timeout) == ((5,), 7)


@pytest.mark.django_db
@pytest.mark.parametrize("use_tz", [True, False])
def test_a_row_before_code_begins_and_ends_at_the_same_moments(settings: Any, use_tz: bool) -> None:
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "America/New_York"
    in_code(tz="Asia/Tokyo", start=datetime(2027, 1, 1, 9), end=datetime(2027, 2, 1, tzinfo=UTC))
    was = _declared[NAME].schedule

    Schedule.objects.override(NAME, notes="x")

    made = Schedule.objects.get().resolve().schedule
    assert (made.first, made.last) == (was.first, was.last)
    assert datetime.fromtimestamp(made.first / 1000, UTC) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.django_db
def test_only_what_code_has_can_be_overridden() -> None:
    with pytest.raises(LookupError, match="code has no schedule 'gone'"):
        Schedule.objects.override("gone", enabled=False)


# -- the command -----------------------------------------------------------------------------------


def taskq(*words: str) -> str:
    out = io.StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("taskq", "schedules", *words, stdout=out, no_color=True)
    assert left.value.code == 0
    return out.getvalue()


@pytest.mark.django_db
def test_the_list_has_code_and_rows_and_what_is_wrong() -> None:
    in_code()
    row(name="row").save()
    row(name="bad", task="gone.task").save()

    bad, code, other = taskq().splitlines()[1:]
    assert bad.startswith("bad")
    assert "not run: task='gone.task'" in bad
    assert code.split()[:2] == [NAME, "@hourly"]
    assert " code " in code
    assert " database " in other


def test_without_schedules_it_says_so(db: None) -> None:
    assert taskq() == "There are none.\n"
    assert json.loads(taskq("--json")) == []


def test_orders_are_carried_out_and_seen(db: None, table: Timetable) -> None:
    in_code()
    assert taskq("pause", NAME) == f"{NAME} is paused.\n"
    assert taskq("pause", NAME) == f"{NAME}: that was so before.\n"
    (seen,) = json.loads(taskq("--json"))
    assert (seen["state"], seen["next"]) == ("paused", None)
    assert json.loads(taskq("resume", NAME, "--json")) == {"changed": True}
    assert taskq("skip", NAME) == f"{NAME} leaves its next run out.\n"
    (seen,) = json.loads(taskq("--json"))
    assert seen["state"] == "skips next"
    assert seen["next"] is not None


def test_a_pause_says_until_when_by_whom_and_why(db: None, table: Timetable) -> None:
    in_code()

    assert (
        taskq("pause", NAME, "--for", "1h30m", "--why", "a stocktaking") == f"{NAME} is paused.\n"
    )

    (seen,) = json.loads(taskq("--json"))
    until, since = map(datetime.fromisoformat, (seen["paused_until"], seen["paused_since"]))
    assert until - since == timedelta(hours=1, minutes=30)
    assert (seen["state"], seen["paused_why"]) == ("paused", "a stocktaking")
    assert "@" in seen["paused_by"]
    assert f"paused until {until:%Y-%m-%d %H:%M:%S}" in taskq()
    (line,) = Audit(table.broker).read(9)
    assert line.deed.told == {"why": "a stocktaking", "seconds": 5400.0}
    assert taskq("resume", NAME) == f"{NAME} goes on.\n"
    (seen,) = json.loads(taskq("--json"))
    assert (seen["state"], seen["paused_until"], seen["paused_why"]) == ("on", None, "")


def test_a_program_pauses_for_a_time_and_what_it_says_is_bounded(
    db: None, table: Timetable
) -> None:
    in_code()

    assert table.pause(NAME, timedelta(days=1), why="x" * 10_000, by="y" * 10_000)
    status = table.look(NAME).status
    assert (len(status.paused_why), len(status.paused_by)) == (500, 150)
    assert status.paused_until is not None
    for wrong in (0, -1, float("nan"), "1h", True):
        with pytest.raises(InvalidOption, match="duration="):
            table.pause(NAME, wrong)  # type: ignore[arg-type]


def test_a_run_by_hand_is_a_job_and_stands_in_the_history(
    db: None, table: Timetable, hand: Hand
) -> None:
    in_code(enabled=False)
    assert taskq("history", NAME) == "It has not been due yet.\n"
    id = json.loads(taskq("run", NAME, "--json"))["id"]

    (grant,) = hand.claim()
    assert grant.id == id
    (line,) = json.loads(taskq("history", NAME, "--json"))
    assert (line["outcome"], line["detail"]) == ("run by hand", id)
    assert "run by hand" in taskq("history", NAME)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "say the name"),
        (("list", "x"), "takes no name"),
        (("pause", "nightli"), "did you mean 'nightly'"),
        (("pause", NAME, "--for", "soon"), "no length of time"),
        (("pause", NAME, "--for", "0s"), "no length of time"),
        (("pause", NAME, "--for", "999999d"), "hundred years"),
        (("resume", NAME, "--for", "1h"), "are of a pause"),
        (("skip", NAME, "--why", "so"), "are of a pause"),
    ],
)
def test_a_wrong_order_says_what_is_wrong(db: None, words: tuple[str, ...], said: str) -> None:
    in_code()
    with pytest.raises(CommandError, match=said):
        call_command("taskq", "schedules", *words)


def test_a_row_that_cannot_be_run_says_why_when_it_is_asked_for(db: None) -> None:
    row(task="gone.task").save()
    with pytest.raises(CommandError, match=r"cannot be run: task='gone\.task'"):
        call_command("taskq", "schedules", "run", NAME)
