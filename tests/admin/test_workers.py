"""The workers' page: what they are, what they run, and what they are told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from msgspec.structs import replace

from django_taskq.admin import rights
from django_taskq.backends import RedisBackend
from django_taskq.broker.doorbell import Ear
from django_taskq.broker.roster import Process, Record, Roster
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand


@pytest.fixture
def roster(backend: RedisBackend) -> Roster:
    return Roster(backend.broker)


def record(*processes: Process, state: str = "running") -> Record:
    return Record(
        "web<1>", 77, "9.8", 5, state, {"default": 3}, 10, 1 << 20, processes=list(processes)
    )


@pytest.fixture
def ear(backend: RedisBackend) -> Any:
    """What every worker hears."""
    ear = Ear(backend.server, backend.broker.control)
    ear.open()
    yield ear
    ear.close()


def test_a_worker_says_what_it_is_and_what_its_processes_run(
    ada: Staff, roster: Roster, hand: Hand
) -> None:
    job = tasks.add.enqueue(1, 2)
    hand.claim(1)
    roster.enroll("w1", record(Process(hand.holder, 78, 6, 5 << 20, 1)), 60_000)

    page = ada.sees("worker/")

    assert "web&lt;1&gt;:77" in page
    assert "1 of 10 slots" in page
    assert "1 / 10" in page
    assert "6.0" in page.replace("\xa0", " ")  # MB together
    assert "9.8" in page
    assert page.count(f"/job/{job.id.replace('_', '_5F')}/change/") == 1
    assert page.count("<section") == 1


def test_a_worker_says_what_it_did_and_when_it_said_so(ada: Staff, roster: Roster) -> None:
    said = Process("h", 78, 6, cpu=97, attempts=1234, failed=5, silent=9_000)
    told = replace(record(said), cpu=2, attempts=1000, failed=1, stands=80_000)
    roster.enroll("w1", told, 80_000)

    page = text_of(ada.sees("worker/"))

    assert "CPU 99 %" in page
    assert "attempts 2 234" in page
    assert "failed 6" in page
    assert re.search(r"reported (just now|\d+ s ago)", page)
    assert "CPU 97 % , attempts 1 234, failed 5" in page
    assert "no sign of life for 9 s" in page
    assert "does not report" not in page


def test_of_one_of_the_release_before_nothing_is_made_up(ada: Staff, roster: Roster) -> None:
    roster.enroll("w1", record(Process("h", 78, 6)), 60_000)

    page = text_of(ada.sees("worker/"))

    assert not {"CPU", "attempts", "failed", "reported"} & set(page.split())


def test_one_that_does_not_report_is_shown_as_such_and_is_an_alert(
    ada: Staff, roster: Roster
) -> None:
    roster.enroll("w1", replace(record(), stands=80_000), 80_000)
    assert "has not reported" not in ada.sees("dashboard/")
    roster.enroll("w1", replace(record(), stands=80_000), 30_000)

    page = ada.sees("worker/")
    assert "does not report" in page
    assert "at work" not in page
    dashboard = ada.sees("dashboard/")
    assert re.search(r"Worker web&lt;1&gt;:77 has not reported for 5\d\xa0s\.", dashboard)
    assert 'href="/admin/django_taskq/worker/w1/change/"' in dashboard


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        ("running", {"quiet", "restart", "stop", "stack"}),
        ("quiet", {"resume", "restart", "stop", "stack"}),
        ("stopping", {"stack"}),
    ],
)
def test_a_worker_is_offered_what_it_can_do(
    ada: Staff, roster: Roster, state: str, verbs: set[str]
) -> None:
    roster.enroll("w1", record(state=state), 60_000)

    assert set(re.findall(r'name="verb" value="(\w+)"', ada.sees("worker/"))) == verbs


def text_of(page: str) -> str:
    """What a person reads."""
    return re.sub(r"(<[^>]+>|\s)+", " ", page)


def test_a_process_that_no_worker_names_is_shown_by_itself(ada: Staff, hand: Hand) -> None:
    tasks.add.enqueue(1, 2)
    hand.claim(1)

    assert hand.holder in ada.sees("worker/")


@pytest.mark.parametrize("order", sorted(rights.OF_WORKER))
def test_an_order_reaches_the_worker_and_is_written_down(
    ada: Staff, roster: Roster, ear: Ear, order: str
) -> None:
    roster.enroll("w1", record(), 60_000)

    answer = ada.post("worker/w1/do/", verb=order)

    assert answer.url.startswith("/admin/django_taskq/worker/w1/change/")
    assert f"worker w1 {order}" in ear.messages()
    entry = LogEntry.objects.get()
    assert (entry.object_id, json.loads(entry.change_message)["verb"]) == ("w1", order)
    assert "web&lt;1&gt;:77" in ada.sees("audit/")


def test_an_order_to_one_that_does_not_report_is_doubted(
    ada: Staff, roster: Roster, ear: Ear
) -> None:
    roster.enroll("w1", replace(record(), stands=80_000), 30_000)

    answer = ada.client.post("/admin/django_taskq/worker/w1/do/", {"verb": "stop"}, follow=True)

    page = text_of(answer.content.decode())
    assert re.search(r"was told to stop\. Worker \S+ has not reported for 5\d\xa0?\s?s\.", page)
    assert 'class="warning"' in answer.content.decode()


def test_one_that_is_gone_is_told_nothing(ada: Staff, roster: Roster, ear: Ear) -> None:
    answer = ada.client.post("/admin/django_taskq/worker/w1/do/", {"verb": "stop"}, follow=True)

    assert "is gone, or does not listen" in answer.content.decode()
    assert not LogEntry.objects.exists()
    assert ada.post("worker/w1/do/", verb="explode").status_code == 404
    assert "does not report any more" in ada.sees("worker/w1/change/")


def test_where_its_code_is_is_shown_once_it_answers(
    ada: Staff, staff: Callable[..., Staff], roster: Roster
) -> None:
    roster.enroll("w1", record(Process("h1", 78, 6), Process("h2", 79, 6)), 60_000)
    now, _ = roster.workers()
    roster.tell("h1", "Thread <b>MainThread</b>")

    page = ada.sees("worker/w1/change/", since=now)
    assert "Thread &lt;b&gt;MainThread" in page
    assert page.count("has not answered yet") == 1
    late = ada.sees("worker/w1/change/", since=now - 60_000)
    assert late.count("It has not answered") == 1
    eve = staff("eve", rights.VIEW)
    assert "MainThread" not in eve.sees("worker/w1/change/", since=now)
