"""A job made by hand: the form with a field per parameter, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.test import override_settings
from django.utils import timezone

from django_taskq import task
from django_taskq.admin import rights
from django_taskq.admin.console import Console
from django_taskq.backends import RedisBackend
from django_taskq.compat import task_backends
from django_taskq.job import Kind, State
from django_taskq.task import Task
from django_taskq.tasks import BULK
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand, configured, round_trips
from tests.security.tasks import log_in, loose

URGENT = f"tasktype/{tasks.urgent.module_path}"
SENT = {"queue_name": "critical", "priority": "5", "run_after": ""}


def text_of(answer: Any) -> str:
    """What a reader sees."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def id_in(answer: Any) -> str:
    """The job that an answer leads to."""
    found = re.search(r"/job/([^/]+)/change/", answer.url)
    assert found is not None
    return str(unquote(found[1]))


def test_a_task_is_enqueued_with_what_the_form_says(
    ada: Staff, backend: RedisBackend, hand: Hand, console: Console
) -> None:
    page = ada.sees(f"{URGENT}/call/")
    assert 'name="arg-name"' in page
    assert '<option value="critical" selected>' in page

    answer = ada.post(f"{URGENT}/call/", **{**SENT, "arg-name": "grace", "priority": "7"})

    (outcome,) = hand.run(queue="critical")
    id = id_in(answer)
    assert outcome.kind is Kind.SUCCEEDED
    result = backend.get_result(id)
    assert (result.state, result.return_value) == (State.SUCCEEDED, "grace")
    assert (result.args, result.kwargs, result.task.priority) == ([], {"name": "grace"}, 7)
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, '"call"' in entry.change_message) == (id, True)
    assert [line.deed.verb for line in console.audit.read(9)] == ["call"]


def test_it_can_go_to_another_queue_and_wait(ada: Staff, backend: RedisBackend) -> None:
    fields = {**SENT, "arg-name": "x", "queue_name": "low", "run_after": "2100-01-01T00:00"}

    answer = ada.post(f"{URGENT}/call/", **fields)

    result = backend.get_result(id_in(answer))
    assert result.state is State.SCHEDULED
    assert result.task.queue_name == "low"
    assert result.task.run_after == datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("add", {"arg-a": "one"}, "This is no whole number."),
        ("add", {"arg-b": "1"}, "This field is required."),
        ("add", {"arg-a": "1", "queue_name": "nowhere"}, "nowhere is not one of the available"),
        ("add", {"arg-a": "1", "priority": "101"}, "less than or equal to 100"),
        ("add", {"arg-a": "1", "run_after": "soon"}, "Enter a valid date/time."),
        ("typed", {"arg-day": "yesterday"}, "yesterday"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(
    ada: Staff,
    backend: RedisBackend,
    enqueued: Callable[[], Any],
    name: str,
    fields: Any,
    said: str,
) -> None:
    sent = {"queue_name": "default", "priority": "0", **fields}

    answer = ada.post(f"tasktype/tests.engine.tasks.{name}/call/", **sent)

    assert answer.status_code == 200
    assert said in text_of(answer)
    assert enqueued() == []
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("[" * 100_000, "This is no JSON."),
        ("[" * 900 + "]" * 900, "This is nested too deep."),
        ("[" + "1" * 5_000 + "]", "This is no JSON."),
        ('["\\ud800"]', "This is no JSON."),
    ],
)
@pytest.mark.parametrize("name", ["args", "kwargs"])
def test_odd_json_is_said_and_shown_as_it_was_typed(
    ada: Staff, enqueued: Callable[[], Any], name: str, odd: str, said: str
) -> None:
    sent = {"queue_name": "default", "priority": "0", "arg-first": "1", name: odd}

    answer = ada.post(f"tasktype/{loose.module_path}/call/", **sent)

    assert said in text_of(answer)
    assert odd in unescape(answer.content.decode())
    assert enqueued() == []


@pytest.mark.parametrize(
    ("zone", "is_made"), [("Asia/Tokyo", True), ("UTC", True), ("America/New_York", False)]
)
def test_the_last_moment_there_is_can_be_waited_for(
    ada: Staff, backend: RedisBackend, zone: str, is_made: bool
) -> None:
    fields = {**SENT, "arg-name": "x", "run_after": "9999-12-31T23:59:59"}
    with timezone.override(zone):
        answer = ada.post(f"{URGENT}/call/", **fields)

        assert answer.status_code == (302 if is_made else 200)
        if is_made:
            assert "9999-12-31" in ada.sees(answer.url.removeprefix("/admin/django_taskq/"))
        else:
            assert "must be before the year 10000" in text_of(answer)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_a_moment_that_no_clock_can_show_breaks_no_page(
    ada: Staff, backend: RedisBackend, zone: str
) -> None:
    made = tasks.urgent.using(run_after=3600).enqueue("x")
    key = backend.broker.key("critical", "scheduled")
    assert backend.server.command("ZADD", key, "XX", "CH", "1e17", made.id) == 1

    with override_settings(USE_TZ=False, TIME_ZONE=zone):
        ada.sees(f"job/{made.id}/change/")
        ada.sees("job/", state="scheduled")


def test_a_task_without_parameters_needs_no_field(ada: Staff, hand: Hand) -> None:
    path = f"tasktype/{tasks.nothing.module_path}/call/"
    page = ada.sees(path)
    assert "It takes no arguments." in page
    assert 'name="args"' not in page

    ada.post(path, queue_name="default", priority="0")

    (outcome,) = hand.run()
    assert outcome.kind is Kind.SUCCEEDED


@pytest.mark.parametrize("kind", [tasks.once, tasks.only], ids=["returns", "raises"])
def test_a_second_one_of_a_kind_is_not_made(ada: Staff, backend: RedisBackend, kind: Task) -> None:
    first = kind.enqueue(1)
    fields = {"arg-a": "1", "queue_name": "default", "priority": "0"}

    answer = ada.client.post(
        f"/admin/django_taskq/tasktype/{kind.module_path}/call/", fields, follow=True
    )

    assert f"Nothing was enqueued: job {first.id} has the lock." in text_of(answer)
    assert not LogEntry.objects.exists()


def test_a_job_that_is_replaced_is_said_and_written_down(
    ada: Staff, backend: RedisBackend, console: Console
) -> None:
    first = tasks.index.enqueue(5, "old")
    fields = {"arg-document": "5", "arg-text": "new", "queue_name": "default", "priority": "0"}

    answer = ada.client.post(
        f"/admin/django_taskq/tasktype/{tasks.index.module_path}/call/", fields, follow=True
    )

    assert "No new job was made: this one had the lock" in text_of(answer)
    assert backend.get_result(first.id).args == []
    assert backend.get_result(first.id).kwargs == {"document": 5, "text": "new"}
    (entry,) = LogEntry.objects.all()
    told = {"task": tasks.index.module_path, "replaced": first.id}
    assert (entry.object_id, json.loads(entry.change_message)["told"]) == (first.id, told)
    assert [line.deed.told for line in console.audit.read(9)] == [told]


def test_a_job_that_runs_with_its_lock_is_not_replaced(ada: Staff, hand: Hand) -> None:
    first = tasks.index_to_the_end.enqueue(5, "old")
    hand.claim()
    fields = {"arg-document": "5", "arg-text": "new", "queue_name": "default", "priority": "0"}

    answer = ada.client.post(
        f"/admin/django_taskq/tasktype/{tasks.index_to_the_end.module_path}/call/",
        fields,
        follow=True,
    )

    assert f"Nothing was enqueued: job {first.id} has the lock." in text_of(answer)
    assert not LogEntry.objects.exists()


def test_what_is_sensitive_stands_in_no_log(ada: Staff, backend: RedisBackend) -> None:
    fields = {"arg-user": "ada", "arg-password": "hunter2", "queue_name": "default"}

    answer = ada.post(f"tasktype/{log_in.module_path}/call/", priority="0", **fields)

    assert answer.status_code == 302, text_of(answer)
    (entry,) = LogEntry.objects.all()
    assert "hunter2" not in entry.change_message
    assert "hunter2" not in ada.sees(answer.url.removeprefix("/admin/django_taskq/"))


@pytest.mark.parametrize("name", [BULK, "no.such.task"])
def test_our_own_and_unknown_tasks_are_not_enqueued_by_hand(ada: Staff, name: str) -> None:
    assert ada.get(f"tasktype/{name}/call/").status_code == 404
    assert ada.post(f"tasktype/{name}/call/", priority="0").status_code == 404


def test_a_task_of_another_backend_is_enqueued_there_alone(
    staff: Callable[..., Staff], url: str, prefix: str
) -> None:
    both = {"default": configured(url, prefix), "other": configured(url, f"{prefix}o")}
    with override_settings(TASKS=both):
        made = task(backend="other")(undeclared)
        ada = staff("ada", rights.VIEW, rights.CALL)
        path = f"tasktype/{made.module_path}/call/"

        assert ada.get(path).status_code == 404
        assert ada.get(path, backend="other").status_code == 200
        ada.post(path, backend="other", priority="0", queue_name="default", **{"arg-n": "3"})
        assert task_backends["other"].broker.queues() == ["default"]


def undeclared(n: int) -> None:
    """For a test that declares it under settings of its own."""


def test_who_may_not_enqueue_sees_no_way_to(staff: Callable[..., Staff]) -> None:
    eve = staff("eve", rights.VIEW)

    assert "call/" not in eve.sees(f"{URGENT}/change/")
    assert "call/" in staff("ada", rights.VIEW, rights.CALL).sees(f"{URGENT}/change/")


def test_the_form_asks_redis_nothing(ada: Staff, backend: RedisBackend) -> None:
    with round_trips() as trips:
        ada.sees(f"{URGENT}/call/")

    assert len(trips) == 0
