"""The page of who did what, of this site and of everything that shares the server."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command

from django_taskq.admin import rights, words
from django_taskq.backends import RedisBackend
from django_taskq.broker.audit import Audit
from django_taskq.broker.keys import global_key
from django_taskq.broker.steering import Steering
from django_taskq.management.commands import _deeds
from tests.admin.conftest import Staff
from tests.engine import tasks


def command(*words: str) -> str:
    """What ``taskq`` printed."""
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("taskq", *words, stdout=out, no_color=True)
    return out.getvalue()


def deeds(backend: RedisBackend) -> list[tuple[str, str, list[str]]]:
    return [
        (line.deed.verb, line.deed.kind, line.deed.things) for line in Audit(backend.broker).read(9)
    ]


def test_what_is_done_in_the_admin_is_in_both_logs(ada: Staff, backend: RedisBackend) -> None:
    one, two = tasks.nothing.enqueue(), tasks.nothing.enqueue()

    ada.post("job/do/", verb="cancel", job=[one.id, two.id], confirmed="1")

    assert deeds(backend) == [("cancel", "job", [one.id, two.id])]
    page = ada.sees("audit/", where="redis")
    assert f"{one.id} + 1" in page
    assert f"job/{one.id}/change/" in page
    assert "2 jobs done" in page
    assert LogEntry.objects.count() == 2


def test_what_a_command_did_is_in_redis(
    ada: Staff, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_deeds.getpass, "getuser", lambda: "<b>eve</b>")
    command("schedules", "pause", "nightly")

    page = ada.sees("audit/", where="redis")

    assert "&lt;b&gt;eve&lt;/b&gt;@" in page
    assert "Pause" in page
    assert "/schedule/nightly/change/" in page
    assert "eve" not in ada.sees("audit/")


FIELDS = {
    "prioritize": {"priority": "7"},
    "move": {"queue_to": "low"},
    "retry_at": {"due": "2100-01-01T00:00"},
}


@pytest.mark.parametrize("how", ["ticked", "everything"])
@pytest.mark.parametrize("verb", sorted(rights.OF_VERB))
def test_each_verb_is_in_both_logs(ada: Staff, backend: RedisBackend, verb: str, how: str) -> None:
    result = tasks.nothing.enqueue()
    meant = {"everything": "1", "state": "any"} if how == "everything" else {"job": result.id}

    ada.post("job/do/", verb=verb, confirmed="1", **meant, **FIELDS.get(verb, {}))

    entry = LogEntry.objects.get()
    assert (entry.user, json.loads(entry.change_message)["verb"]) == (ada.user, verb)
    assert deeds(backend) == [(verb, "job", [entry.object_id])]
    assert (entry.object_id == result.id) is (how == "ticked")
    assert str(words.VERBS[verb]) in ada.sees("audit/")


@pytest.mark.parametrize("verb", sorted(rights.OF_ORDER))
def test_each_order_to_a_schedule_is_in_both_logs(
    ada: Staff, backend: RedisBackend, verb: str
) -> None:
    ada.post("schedule/nightly/do/", verb=verb)

    entry = LogEntry.objects.get()
    assert (entry.object_id, json.loads(entry.change_message)["verb"]) == ("nightly", verb)
    assert deeds(backend) == [(verb, "schedule", ["nightly"])]


@pytest.mark.parametrize(
    ("page", "verb"),
    [
        ("default/pause/", "pause"),
        ("default/resume/", "resume"),
        ("default/purge/", "purge"),
        ("pause-all/", "pause"),
        ("resume-all/", "resume"),
    ],
)
def test_each_order_to_a_queue_is_in_both_logs(
    ada: Staff, backend: RedisBackend, page: str, verb: str
) -> None:
    tasks.nothing.enqueue()
    if page == "resume-all/":
        Steering(backend.broker).pause("default", b"{}")

    ada.post(f"queue/{page}", state="ready", name="default", confirmed="1")

    entry = LogEntry.objects.get()
    assert (entry.object_id, json.loads(entry.change_message)["verb"]) == ("default", verb)
    assert deeds(backend) == [(verb, "queue", ["default"])]


def test_a_command_that_only_reads_is_not_written_down(ada: Staff, backend: RedisBackend) -> None:
    command("schedules", "history", "nightly")
    command("workers")
    command("doctor")

    assert deeds(backend) == []


def test_a_doctor_who_mends_is_written_down(ada: Staff, backend: RedisBackend) -> None:
    result = tasks.nothing.enqueue()
    backend.server.command("ZREM", backend.broker.key("default", "ready"), result.id)

    command("doctor", "--fix")

    assert deeds(backend) == [("fix", "queue", ["default"])]
    assert "Mend" in ada.sees("audit/", where="redis")


def test_the_command_says_the_same(ada: Staff, backend: RedisBackend) -> None:
    assert command("audit") == "There is nothing.\n"
    ada.post("queue/default/pause/", why="new disk")
    backend.broker.number("default")
    ada.post("queue/default/pause/", why="new disk")
    ada.post("queue/default/resume/")

    text = command("audit")
    assert [line.split()[2:5] for line in text.splitlines()[1:]] == [
        ["ada", "resume", "queue"],
        ["ada", "pause", "queue"],
    ]
    assert "why=new disk" in text
    (last,) = json.loads(command("audit", "--json", "--number", "1"))
    assert (last["by"], last["verb"], last["things"]) == ("ada", "resume", ["default"])


@pytest.mark.parametrize("number", ["0", "-1", "ten", "10001"])
def test_a_number_of_lines_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(Exception, match="say a number from 1 to 10,000"):
        call_command("taskq", "audit", f"--number={number}")


def test_an_old_page_goes_on(ada: Staff, backend: RedisBackend) -> None:
    for number in range(60):
        Audit(backend.broker).write("ada", "retry", "job", [f"job-{number:02}"])

    page = ada.sees("audit/", where="redis")
    assert "job-59" in page
    assert "job-09" not in page
    before = page.partition("before=")[2].partition("&")[0].partition('"')[0]
    older = ada.sees("audit/", where="redis", before=before)
    assert "job-09" in older
    assert "job-10" not in older


@pytest.mark.parametrize("before", ["x", "1-2-3", "+", "9" * 40])
def test_a_place_that_is_none_is_ignored(ada: Staff, backend: RedisBackend, before: str) -> None:
    Audit(backend.broker).write("ada", "retry", "job", ["this-job"])

    assert "this-job" in ada.sees("audit/", where="redis", before=before)


def test_a_log_that_takes_no_lines_stops_nobody(
    ada: Staff, backend: RedisBackend, caplog: Any
) -> None:
    backend.server.command("SET", global_key(backend.broker.prefix, "audit"), "no stream")
    result = tasks.nothing.enqueue()

    ada.post("job/do/", verb="cancel", job=result.id, confirmed="1")

    result.refresh()
    assert result.state == "cancelled"
    assert LogEntry.objects.count() == 1
    assert "cancel by ada is in Django's log alone" in caplog.text
