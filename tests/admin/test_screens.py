"""The pages: what they show, how little they ask for it, and that they show anything safely."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_taskq.admin import rights
from django_taskq.admin.console import Console
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.broker.inspector import Inspector
from django_taskq.broker.roster import Process, Record, Roster
from django_taskq.broker.steering import Steering
from django_taskq.clock import now_ms
from django_taskq.codec import encode_envelope
from django_taskq.job import Envelope, Failure, Kind, Outcome, State
from django_taskq.report import Report, encode_report
from tests.admin.conftest import ROOT, FastClock, Staff
from tests.engine import tasks
from tests.engine.support import Hand, configured, round_trips
from tests.security.tasks import echo, log_in

RECORD = Record("web1", 7, "1.0", 5, "running", {"default": 3}, 10, processes=[Process("h", 8, 6)])
MOST_TRIPS, MOST_QUERIES = 3, 5
EVIL = "<script>alert('x')</script>\" onload=\"x"


def ids(page: str) -> list[str]:
    """The jobs of a list."""
    return re.findall(r'name="job" value="([^"]+)"', page)


@pytest.fixture
def mixed(hand: Hand) -> dict[str, str]:
    """A job in every state that a worker brings about, by name."""
    dead = tasks.fail.using(max_attempts=1).enqueue("dead")
    done = tasks.add.enqueue(1, 2)
    hand.run()
    retrying = tasks.fail.using(backoff=3600).enqueue("again")
    hand.run()
    running = tasks.nothing.enqueue()
    hand.claim(1)
    ready = tasks.urgent.using(queue_name="default").enqueue("r")
    scheduled = tasks.add.using(run_after=3600).enqueue(3)
    results = {"dead": dead, "succeeded": done, "retrying": retrying, "running": running}
    results |= {"ready": ready, "scheduled": scheduled}
    return {name: result.id for name, result in results.items()}


PAGES = [
    "dashboard/",
    "queue/",
    "queue/default/change/",
    "queue/default/limit/?limit=task:tests.engine.tasks.narrow",
    "job/",
    "job/?state=any&q=text",
    "job/?state=dead&error=ValueError&task=tests.engine.tasks.fail",
    "job/?state=any&took=1s&tried=2&worker=x&arg=a:1&user=1&request=r",
    "job/bulk/",
    "job/{dead}/change/",
    "job/{running}/change/",
    "job/{dead}/edit/",
    "failure/",
    "failure/?tab=all",
    "tasktype/",
    "tasktype/tests.engine.tasks.fail/change/",
    "tasktype/tests.engine.tasks.fail/change/?period=90-days",
    "dashboard/?period=day",
    "queue/default/change/?period=week",
    "worker/",
    "worker/w/change/?since=1",
    "schedule/",
    "schedule/nightly/change/",
    "audit/",
    "audit/?of=nightly",
]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("is_cold", [True, False])
def test_a_page_asks_little(
    ada: Staff, mixed: dict[str, str], backend: RedisBackend, page: str, is_cold: bool
) -> None:
    page = page.format(**mixed)
    backend.timetable.run("nightly")
    tasks.narrow.enqueue(1)
    Roster(backend.broker).enroll("w", RECORD, 60_000)
    ada.sees(page)
    if is_cold:  # as in a process that has not seen a queue yet
        Console("default").broker._numbers.clear()

    with round_trips() as trips, CaptureQueriesContext(connection) as queries:
        ada.sees(page)

    assert len(trips) <= MOST_TRIPS, trips
    assert len(queries) <= MOST_QUERIES, [query["sql"] for query in queries]


def test_a_page_is_never_kept(ada: Staff, mixed: dict[str, str]) -> None:
    assert "no-store" in ada.get("dashboard/").headers["Cache-Control"]


def test_nothing_is_styled_or_scripted_in_the_page(ada: Staff, mixed: dict[str, str]) -> None:
    """So that it works under a policy that allows neither."""
    tasks.narrow.enqueue(1)
    for page in PAGES:
        text = ada.sees(page.format(**mixed))
        assert not re.search(r"\sstyle=|\son\w+=|<style", text), page
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), page


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_programs_read_has_no_thousands_apart(
    ada: Staff, backend: RedisBackend, mixed: dict[str, str], language: str
) -> None:
    record = msgspec.structs.replace(RECORD, processes=[Process("h", 47110, 6)])
    Roster(backend.broker).enroll("w", record, 60_000)

    with override_settings(USE_THOUSAND_SEPARATOR=True, LANGUAGE_CODE=language):
        for page in ("queue/default/change/", "schedule/nightly/change/"):
            assert '<option value="1440">' in ada.sees(page)
        for page in ("worker/", "worker/w/change/?since=1"):
            assert "</span> 47110" in ada.sees(page)


@pytest.mark.parametrize("page", PAGES)
def test_no_level_of_headings_is_left_out(
    ada: Staff, backend: RedisBackend, mixed: dict[str, str], page: str
) -> None:
    Roster(backend.broker).enroll("w", RECORD, 60_000)
    tasks.narrow.enqueue(1)
    text = ada.sees(page.format(**mixed)).partition('id="content"')[2]

    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", text)]

    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels


# -- dashboard and queues --------------------------------------------------------------------------


def test_the_dashboard_says_what_needs_a_person(ada: Staff, mixed: dict[str, str]) -> None:
    page = ada.sees("dashboard/")

    assert "1 job of queue default is dead." in page
    assert "builtins.ValueError" in page
    assert "tests/engine/tasks.py: fail" in page
    assert 'role="img"' in page


def test_a_quiet_night_says_so(ada: Staff, hand: Hand) -> None:
    tasks.nothing.enqueue()
    hand.run()

    assert "Nothing needs a look." in ada.sees("dashboard/")


def test_processes_are_counted_once_whatever_they_serve(ada: Staff, backend: RedisBackend) -> None:
    for queues in (("default", "low"), ("default",), ("critical",)):
        worker = Hand(backend.broker)
        for queue in queues:
            tasks.nothing.using(queue_name=queue).enqueue()
            worker.exchange(queue)

    facts = re.sub(r"<[^>]+>|\s+", " ", ada.sees("dashboard/"))

    assert re.search(r"3 +processes|processes +3\b", facts), facts


def test_jobs_that_nobody_takes_are_an_alert(ada: Staff, backend: RedisBackend) -> None:
    tasks.nothing.enqueue_many([()] * 3)

    page = ada.sees("dashboard/")

    assert "No worker serves queue default: 3 jobs wait." in page
    assert "no workers" in ada.sees("queue/")


def test_a_queue_is_paused_with_a_reason_and_goes_on(ada: Staff, mixed: dict[str, str]) -> None:
    answer = ada.client.post(
        "/admin/django_taskq/queue/default/pause/", {"why": "deploy <b>2</b>"}, follow=True
    )

    page = answer.content.decode()
    assert "Paused by ada" in page
    assert "deploy &lt;b&gt;2&lt;/b&gt;" in page
    assert "Queue default is paused." in ada.sees("dashboard/")
    assert "Its queue is paused." in ada.sees(f"job/{mixed['ready']}/change/")

    ada.post("queue/default/resume/", why="it is up again")

    assert "it is up again" in ada.sees("audit/")
    assert "Paused by ada" not in ada.sees("queue/default/change/")
    audit = ada.sees("audit/")
    assert audit.index("Resume") < audit.index("Pause")


def test_all_queues_are_paused_at_once_and_go_on(
    ada: Staff, backend: RedisBackend, mixed: Any
) -> None:
    tasks.nothing.using(queue_name="low").enqueue()
    ada.post("queue/low/pause/", why="for itself")

    page = ada.client.post(
        f"{ROOT}/queue/pause-all/", {"why": "the disk is full", "minutes": "60"}, follow=True
    ).content.decode()

    assert "All queues are paused." in page
    assert page.count("the disk is full") == 1
    assert "for itself" in page
    assert "Pause all" not in page
    page = ada.client.post(f"{ROOT}/queue/resume-all/", follow=True).content.decode()
    assert "All queues go on." in page
    assert "disk" not in page
    assert [entry.object_id for entry in LogEntry.objects.order_by("pk")] == [
        *("low", "default"),
        *("default", "low"),
    ]


def test_the_list_says_how_fast_a_queue_goes(ada: Staff, backend: RedisBackend, hand: Hand) -> None:
    for _ in range(4):
        tasks.nothing.enqueue()
    hand.run()
    for _ in range(8):
        tasks.nothing.enqueue()

    page = ada.sees("queue/")

    cells = re.findall(r'<td class="tq-number">(.*?)</td>', page, re.DOTALL)
    assert (cells[7], cells[9]) == ("4", "2\xa0min")


def test_a_pause_for_a_time_ends_by_itself(ada: Staff, backend: RedisBackend, mixed: Any) -> None:
    ada.post("queue/default/pause/", minutes="15")

    raw = backend.server.command("HGET", backend.broker.key("default", "meta"), "paused")

    assert 14 * 60_000 < int(raw) - now_ms() <= 15 * 60_000


@pytest.mark.parametrize("page", ["queue/default/pause/", "queue/pause-all/"])
def test_a_pause_goes_by_redis_clock(
    ada: Staff, backend: RedisBackend, mixed: Any, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """Workers look at that one; that of the web server may be wrong."""
    here = now_ms()
    monkeypatch.setattr("django_taskq.clock.time", FastClock)

    ada.post(page, minutes="15")

    meta = backend.broker.key("default", "meta")
    until, note = backend.server.command("HMGET", meta, "paused", "pause_note")
    assert 14 * 60_000 < int(until) - here <= 16 * 60_000
    assert abs(json.loads(note)["since"] - here) < 60_000


def test_a_note_that_cannot_be_read_is_no_error(
    ada: Staff, backend: RedisBackend, mixed: Any
) -> None:
    for note in (b"garbage", b"[1]", b'{"by":[1],"since":"x"}'):
        Steering(backend.broker).pause("default", note)
        assert "paused" in ada.sees("queue/")


@pytest.mark.parametrize("page", ["queue/nowhere/change/", "job/x.99/change/", "job/x/change/"])
def test_what_is_not_there_is_not_found(ada: Staff, mixed: Any, page: str) -> None:
    assert ada.get(page).status_code == 404


# -- lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", ["ready", "running", "scheduled", "retrying", "dead", "succeeded"]
)
def test_a_tab_has_the_jobs_of_a_state(ada: Staff, mixed: dict[str, str], state: str) -> None:
    page = ada.sees("job/", state=state)

    assert ids(page) == [mixed[state]]
    assert ids(ada.sees("queue/default/change/", state=state)) == [mixed[state]]


def test_pages_follow_each_other(ada: Staff, backend: RedisBackend) -> None:
    made = [result.id for result in tasks.nothing.enqueue_many([()] * 120)]
    seen: list[str] = []
    address = "job/?state=ready&order=old"
    while address:
        page = ada.sees(address)
        seen += ids(page)
        link = re.search(r'rel="next" href="/admin/django_taskq/([^"]+)"', page)
        address = link[1].replace("&amp;", "&") if link else ""

    assert seen == made


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"q": "again"}, ["retrying"]),
        ({"q": "task:tests.engine.tasks.fail"}, ["dead", "retrying"]),
        ({"task": "tests.engine.tasks.fail", "state": "dead"}, ["dead"]),
        ({"q": "tag:mail"}, ["ready"]),
        ({"q": "error:ValueError again"}, ["retrying"]),
        ({"q": "error:KeyError"}, []),
        ({"q": '"no such text"'}, []),
        ({"q": "queue:low task:tests.engine.tasks.fail"}, []),
    ],
)
def test_a_search_finds(
    ada: Staff, mixed: dict[str, str], asked: dict[str, str], names: list[str]
) -> None:
    page = ada.sees("job/", **asked)

    assert sorted(ids(page)) == sorted(mixed[name] for name in names)
    assert "Searched the newest" in page


def test_a_search_that_shows_a_part_says_so(ada: Staff, backend: RedisBackend) -> None:
    tasks.add.enqueue_many([(n,) for n in range(210)])
    page = ada.sees("job/", q="task:tests.engine.tasks.add")
    assert "More than 200 match" in page
    assert len(ids(page)) == 200
    assert "More than" not in ada.sees("job/", q="error:KeyError")


def test_an_id_in_the_search_box_leads_to_its_job(ada: Staff, mixed: dict[str, str]) -> None:
    answer = ada.get("job/", q=mixed["dead"])

    assert answer.status_code == 302
    assert answer.url.endswith(f"job/{mixed['dead']}/change/")


def test_a_group_of_failures_leads_to_its_jobs(ada: Staff, mixed: dict[str, str]) -> None:
    page = ada.sees("failure/")
    link = re.search(r'<h3><a href="/admin/django_taskq/([^"]+)"', page)
    assert link

    found = ids(ada.sees(link[1].replace("&amp;", "&")))

    assert sorted(found) == sorted([mixed["dead"], mixed["retrying"]])


@pytest.mark.parametrize(
    "params",
    [
        {"state": "nonsense"},
        {"after": "nonsense"},
        {"after": "nan~x"},
        {"after": "1e999~x", "state": "dead"},
        {"order": "nonsense"},
        {"q": "'unclosed"},
        {"q": "\x00"},
        {"queue": "nowhere"},
        {"state": "failed"},
        {"after": "1_0~x"},
        {"after": "²~x"},
        {"after": "infinity~x"},
        {"after": "1~\x00"},
        {"after": "1~\n", "state": "dead"},
        {"task": '"],[', "state": "any"},
    ],
)
def test_an_address_that_makes_no_sense_is_a_page(
    ada: Staff, mixed: Any, params: dict[str, str]
) -> None:
    assert ada.get("job/", **params).status_code == 200
    assert ada.get("queue/default/change/", **params).status_code == 200


@pytest.mark.parametrize(
    ("page", "params"),
    [
        ("audit/", {"before": "²"}),
        ("audit/", {"before": "9" * 30}),
        ("audit/", {"before": "²-1", "where": "redis"}),
        ("audit/", {"before": "9" * 20 + "-" + "9" * 20, "where": "redis"}),
        ("audit/", {"of": "\x00"}),
        ("worker/w/change/", {"since": "²"}),
        ("worker/w/change/", {"since": "٣"}),
        ("schedule/", {"q": "\x00", "after": "\n"}),
        ("dashboard/", {"period": "²"}),
        ("tasktype/tests.engine.tasks.fail/change/", {"period": "²"}),
    ],
)
def test_an_odd_parameter_is_a_page(ada: Staff, page: str, params: dict[str, str]) -> None:
    assert ada.get(page, **params).status_code == 200


@pytest.mark.parametrize("id", ["a\nb", "a\r\nb.1", "/", "..", "\x00.1", "²"])
def test_an_odd_id_is_not_there(ada: Staff, mixed: Any, id: str) -> None:
    for params in ({"id": id}, {"q": f"id:'{id}'"}):
        assert ada.client.get(f"{ROOT}/job/", params, follow=True).status_code == 404


@pytest.mark.parametrize("minutes", ["²", "15²", "٣", "1_5", "-1", "1,440"])
def test_odd_minutes_pause_nothing(
    ada: Staff, backend: RedisBackend, mixed: Any, minutes: str
) -> None:
    assert ada.post("queue/default/pause/", minutes=minutes).status_code == 404

    assert "Paused by ada" not in ada.sees("queue/default/change/")
    assert not LogEntry.objects.exists()


# -- one job ---------------------------------------------------------------------------------------


def test_a_job_tells_its_story(ada: Staff, mixed: dict[str, str]) -> None:
    page = ada.sees(f"job/{mixed['dead']}/change/")

    for words in (
        "enqueued",
        "attempt 1 started",
        "attempt 1 failed: ValueError",
        "What went wrong",
    ):
        assert words in page
    assert "engine/tasks.py" in page
    assert re.search(r"process <code>[^<]*</code>, which held <bdi>[\d.]+\s[MG]B", page)
    assert re.search(r"<details class=\"tq-fold\"[^>]*><summary>1 frame of libraries", page)
    assert "fail.enqueue(&quot;dead&quot;)" in page


def test_a_failed_attempt_says_how_many_queries_it_made(ada: Staff, hand: Hand) -> None:
    job = tasks.fail.using(max_attempts=1).enqueue("dead")
    (grant,) = hand.claim()
    line = hand.runner.encode(grant, Failure(c="E", f=2, n=1, q=1234))
    hand.settle(Outcome(grant, Kind.DEAD, line, 1000, 1))

    assert "1\N{NARROW NO-BREAK SPACE}234 database queries" in ada.sees(f"job/{job.id}/change/")


@pytest.mark.parametrize(
    "message",
    [
        "one hunter2",
        "one\n\nand hunter2",
        "one\n\nhunter2\n\nhunter2: once more",
        "\nhunter2",
        "one\n\nTraceback (most recent call last):\nhunter2: two\n\nhunter2",
    ],
)
def test_a_message_is_for_who_may_see_arguments(
    ada: Staff, staff: Callable[..., Staff], hand: Hand, message: str
) -> None:
    """However it is written: of a traceback its frames stay, and the names of the exceptions."""
    result = tasks.fail.using(max_attempts=1).enqueue(message)
    hand.run()
    page = f"job/{result.id}/change/"

    seen = staff("ben", rights.VIEW).sees(page)

    assert "hunter2" in ada.sees(page)
    assert "hunter2" not in seen
    assert "engine/tasks.py" in seen
    assert '<pre class="tq-said" tabindex="0">ValueError</pre>' in seen


def test_arguments_stand_under_their_names(ada: Staff, mixed: dict[str, str]) -> None:
    page = ada.sees(f"job/{mixed['succeeded']}/change/")

    assert re.search(r"<code>a</code></dt><dd><pre[^>]*>1</pre>", page)
    assert re.search(r"<code>b</code></dt><dd><pre[^>]*>2</pre>", page)
    assert re.search(r"tq-value[^>]*>3</pre>", page)


def test_what_goes_along_with_a_job_is_shown(
    staff: Callable[..., Staff], backend: RedisBackend
) -> None:
    call = Envelope("shop.unknown", 1, c={"request_id": EVIL})
    id = f"{'x' * 22}.{backend.broker.number('default')}"
    backend.broker.enqueue("default", [Draft(id, encode_envelope(call, 1000))])
    ben = Staff("ben", "view_taskq")

    assert "request_id" in Staff("ada", "everything").sees(f"job/{id}/change/")
    assert "<script>alert" not in Staff("eve", "everything").sees(f"job/{id}/change/")
    assert "request_id" not in ben.sees(f"job/{id}/change/")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scheduled", "It is not due yet."),
        ("retrying", "It failed and backs off before the next attempt."),
    ],
)
def test_it_says_why_a_job_does_not_run(
    ada: Staff, mixed: dict[str, str], name: str, words: str
) -> None:
    assert words in ada.sees(f"job/{mixed[name]}/change/")


def test_a_job_that_waits_at_a_limit_says_so(ada: Staff, backend: RedisBackend, hand: Hand) -> None:
    *_, last = tasks.narrow.enqueue_many([(n,) for n in range(3)])
    hand.claim(3)

    page = ada.sees(f"job/{last.id}/change/")

    assert "Why it is not running" in page
    assert "It waits for room under its limits." in page
    assert ids(ada.sees("job/", state="waiting")) == [last.id]


def test_a_running_job_says_how_far_it_is(
    ada: Staff, staff: Callable[..., Staff], backend: RedisBackend, hand: Hand
) -> None:
    result = tasks.talk.enqueue(4)
    (grant,) = hand.claim(1)
    report = Report()
    report.tell(3, 4, "of the <b>items</b>", now_ms())
    report.write("begins with 'hunter2'", now_ms())
    backend.broker.report("default", [(result.id, grant.live.fence, encode_report(report))])

    page = ada.sees(f"job/{result.id}/change/")
    ben = staff("ben", rights.VIEW).sees(f"job/{result.id}/change/")

    assert '<progress value="0.75" max="1"' in page
    assert "3 of 4, <bdi>of the &lt;b&gt;items" in page
    assert "begins with &#x27;hunter2&#x27;" in page
    assert '<progress value="0.75" max="1"' in ben
    assert "&lt;b&gt;items" not in ben
    assert "hunter2" not in ben


def test_a_job_in_line_knows_its_place(ada: Staff, backend: RedisBackend) -> None:
    *_, last = tasks.nothing.enqueue_many([()] * 4)

    page = ada.sees(f"job/{last.id}/change/")

    assert "3 jobs go before it." in page
    assert "No worker serves its queue" in page


def test_a_job_that_is_set_aside_says_why(ada: Staff, backend: RedisBackend, hand: Hand) -> None:
    broker = backend.broker
    id = f"{'x' * 22}.{broker.number('default')}"
    broker.enqueue("default", [Draft(id, b'["shop.unknown",1,["secret words"]]')])
    hand.run()

    page = ada.sees(f"job/{id}/change/")

    assert "It is set aside: no task of this name is known here" in page
    assert "secret words" not in page  # nobody here can say what is sensitive
    assert "No worker knows shop.unknown" in ada.sees("dashboard/")


def test_a_job_that_cannot_be_read_is_shown(ada: Staff, backend: RedisBackend) -> None:
    id = f"{'x' * 22}.{backend.broker.number('default')}"
    backend.broker.enqueue("default", [Draft(id, b"\xff garbage")])

    assert "(cannot be read)" in ada.sees(f"job/{id}/change/")
    assert ids(ada.sees("job/")) == [id]


# -- safety ----------------------------------------------------------------------------------------


def test_markup_in_arguments_and_errors_is_text(ada: Staff, hand: Hand) -> None:
    result = tasks.fail.using(max_attempts=1).enqueue(EVIL)
    hand.run()

    for page in (
        f"job/{result.id}/change/",
        f"job/{result.id}/edit/",
        "failure/",
        "job/?state=any",
    ):
        text = ada.sees(page)
        assert "<script>alert" not in text, page
        assert ' onload="x' not in text, page
    assert EVIL not in ada.sees("job/", q=EVIL)


def test_what_is_sensitive_is_on_no_page(ada: Staff, hand: Hand) -> None:
    result = log_in.using(max_attempts=1).enqueue("ada", "hunter2-hunter2", how="retry")
    hand.run()
    pages = [f"job/{result.id}/change/", f"job/{result.id}/edit/", "failure/", "dashboard/"]

    for page in [*pages, "job/?state=any"]:
        assert "hunter2" not in ada.sees(page), page
    assert ids(ada.sees("job/", state="any", q="hunter2")) == []


def test_a_megabyte_of_text_makes_no_megabyte_of_page(ada: Staff, hand: Hand) -> None:
    result = echo.enqueue("x" * 1_000_000)

    assert len(ada.sees(f"job/{result.id}/change/")) < 80_000
    assert len(ada.sees("job/")) < 40_000
    hand.run()
    assert len(ada.sees(f"job/{result.id}/change/")) < 120_000
    assert "more characters are not shown" in ada.sees(f"job/{result.id}/change/")


def test_an_argument_too_long_to_be_shown_cannot_be_edited(ada: Staff, backend: Any) -> None:
    text = "x" * 1_000_000
    result = echo.enqueue(text)

    page = ada.sees(f"job/{result.id}/edit/")
    assert len(page) < 60_000
    ada.post(f"job/{result.id}/edit/", **{"arg-0": '"short"'})

    assert backend.get_result(result.id).args == [text]


# -- names that an address has to quote ------------------------------------------------------------

ODD = ("order_2550", "a_24b")  # admin.utils.unquote() takes _25 and _24 for characters


def test_a_queue_may_have_a_name_that_looks_quoted(db: None, url: str, prefix: str) -> None:
    entry = {**configured(url, prefix), "QUEUES": [*ODD]}
    with override_settings(TASKS={"default": entry}):
        ada = Staff("ada", "everything")
        for name in ODD:
            result = tasks.nothing.using(queue_name=name).enqueue()
            steps = {"pause": {}, "resume": {}}
            for step, fields in steps.items():
                address = f"{ROOT}/queue/{quote(name)}/{step}/"
                answer = ada.client.post(address, fields, follow=True)
                assert answer.status_code == 200, (name, step)
                assert f"Queue {name}" in answer.content.decode()
            assert ids(ada.sees(f"queue/{quote(name)}/change/")) == [result.id]


@pytest.mark.parametrize("id", [f"{each}_{'x' * 22}" for each in ODD])
def test_a_job_may_have_an_id_that_looks_quoted(ada: Staff, backend: RedisBackend, id: str) -> None:
    id = f"{id}.{backend.broker.number('default')}"
    call = encode_envelope(Envelope("tests.engine.tasks.nothing", 1), 1000)
    backend.broker.enqueue("default", [Draft(id, call)])

    found = ada.client.get(f"{ROOT}/job/", {"q": id}, follow=True)
    fields = {"verb": "prioritize", "priority": "3", "job": id, "back": "job", "confirmed": "1"}
    changed = ada.client.post(f"{ROOT}/job/do/", fields, follow=True)

    for answer in (found, changed):
        assert answer.status_code == 200
        assert f'<code class="tq-id-whole">{id}</code>' in answer.content.decode()


@pytest.mark.parametrize("fields", [{"job": ""}, {"job": "", "back": "job"}, {"back": "job"}])
@pytest.mark.parametrize("more", [{}, {"everything": "1"}, {"verb": "retry"}])
def test_a_form_without_an_id_is_no_error(
    ada: Staff, mixed: Any, fields: dict[str, str], more: dict[str, str]
) -> None:
    sent = {"verb": "cancel", **fields, **more}

    assert ada.client.post(f"{ROOT}/job/do/", sent, follow=True).status_code == 200


# -- several backends, and none that answers -------------------------------------------------------


@pytest.fixture
def two(url: str, prefix: str, db: None) -> Any:
    """Two backends on one server."""
    entries = {
        "default": configured(url, prefix),
        "other": {**configured(url, f"{prefix}x"), "QUEUES": ["mail"]},
    }
    with override_settings(TASKS=entries):
        from django_taskq.compat import task_backends

        yield task_backends["other"]
        from tests.conftest import delete_keys

        delete_keys(task_backends["other"].server, f"{prefix}x")


def test_a_backend_is_chosen_and_stays_chosen(two: Any) -> None:
    ada = Staff("ada", "everything")
    result = tasks.nothing.using(backend="other", queue_name="mail").enqueue()

    assert "mail" not in ada.sees("queue/")
    page = ada.sees("queue/", backend="other")
    assert "/queue/mail/change/?backend=other" in page
    assert ids(ada.sees("job/", backend="other")) == [result.id]
    ada.post("job/do/", verb="cancel", job=result.id, confirmed="1", backend="other")
    assert two.get_result(result.id).state == "cancelled"
    assert ids(ada.sees("job/", backend="other", state="cancelled")) == [result.id]
    assert ada.get("queue/", backend="nowhere").status_code == 404


def test_a_job_is_found_whichever_backend_has_it(two: Any) -> None:
    """Numbers of queues begin at 1 in each: the first one has a queue, and no such job."""
    ada = Staff("ada", "everything")
    here = tasks.nothing.enqueue()
    there = tasks.nothing.using(backend="other", queue_name="mail").enqueue()
    assert here.id.rpartition(".")[2] == there.id.rpartition(".")[2]

    page = ada.sees(f"job/{there.id}/change/")

    assert f'<input type="hidden" name="job" value="{there.id}">' in page
    assert '<input type="hidden" name="backend" value="other">' in page
    found = ada.client.get(f"{ROOT}/job/", {"q": there.id, "backend": "default"}, follow=True)
    assert found.status_code == 200
    assert there.id in found.content.decode()
    assert ada.get(f"job/{here.id}/change/", backend="other").status_code == 404
    assert ada.get(f"job/{'x' * 22}.1/change/").status_code == 404


def test_the_log_says_which_backend_was_meant(two: Any) -> None:
    ada = Staff("ada", "everything")
    tasks.nothing.enqueue()
    there = tasks.nothing.using(backend="other", queue_name="mail").enqueue()
    ada.post("queue/default/pause/")
    ada.post("queue/mail/pause/", backend="other")
    ada.post("job/do/", verb="cancel", job=there.id, confirmed="1", backend="other")

    links = {
        "queue/default/change/",
        "queue/mail/change/?backend=other",
        f"job/{there.id}/change/?backend=other",
    }
    for alias in ("default", "other"):
        page = ada.sees("audit/", backend=alias)
        assert set(re.findall(rf'<td><a href="{ROOT}/([^"]+)"', page)) == links
        assert all(ada.get(link).status_code == 200 for link in links)
    assert "backend=other" in ada.sees("audit/", backend="other", where="redis")


@pytest.mark.usefixtures("as_for_a_person")
def test_redis_away_is_said_soon_and_the_rest_goes_on(
    staff: Callable[..., Staff], mixed: dict[str, str]
) -> None:
    ada = Staff("ada", "everything")
    away = configured("redis://127.0.0.1:1/0", "none")
    with override_settings(TASKS={"default": away}):
        for page in PAGES:
            answer = ada.get(page.format(**mixed))
            if page.startswith("audit/"):
                assert answer.status_code == 200
                continue
            assert answer.status_code == 503, page
            assert "Redis cannot be reached" in answer.content.decode()
        assert ada.client.get("/admin/").status_code == 200
        answer = ada.post("job/do/", verb="retry", job=mixed["dead"])
        assert answer.status_code == 503


@pytest.mark.parametrize("key", ["jobs", "meta", "ready", "counts"])
def test_a_key_of_another_type_is_said_with_what_to_do(
    ada: Staff, backend: RedisBackend, mixed: Any, key: str
) -> None:
    name = backend.broker.key("default", key)
    backend.server.command("DEL", name)
    backend.server.command("SET", name, "odd")

    for page in ("dashboard/", "queue/default/change/", "job/?state=dead", "failure/"):
        answer = ada.get(page)
        assert answer.status_code in (200, 503), page
        if answer.status_code == 503:
            text = answer.content.decode()
            assert "Redis refused this" in text
            assert "WRONGTYPE" in text
            assert "taskq doctor" in text
    assert ada.get("queue/default/change/").status_code == 503
    assert ada.sees("audit/")


@pytest.mark.usefixtures("as_for_a_person")
def test_the_address_on_the_page_has_no_password(staff: Callable[..., Staff]) -> None:
    ada = Staff("ada", "everything")
    away = configured("redis://:hunter2@127.0.0.1:1/0", "none")
    with override_settings(TASKS={"default": away}):
        assert "hunter2" not in ada.get("dashboard/").content.decode()


def test_without_redis_in_the_settings_the_admin_is_there(staff: Callable[..., Staff]) -> None:
    ada = Staff("ada", "everything")
    local = {"BACKEND": "django_taskq.backends.ImmediateBackend", "QUEUES": ["default"]}
    with override_settings(TASKS={"default": local}):
        assert ada.client.get("/admin/").status_code == 200
        assert ada.get("dashboard/").status_code == 404


@pytest.mark.usefixtures("as_for_a_person")
def test_a_server_that_accepts_and_never_answers_is_given_up_within_two_seconds(
    staff: Callable[..., Staff],
) -> None:
    ada = Staff("ada", "everything")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        away = configured(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", "none")
        with override_settings(TASKS={"default": away}):
            console = Console("default")
            answer = ada.get("dashboard/")

    assert answer.status_code == 503
    server = console.broker.server
    # It waits for a connection, or for one answer that it does not ask for again.
    assert server.connect_timeout < server.socket_timeout < 2


def test_a_search_can_be_for_what_was_enqueued_lately(ada: Staff, backend: RedisBackend) -> None:
    old, new = "old-one", "new-one"
    for id, ago in ((old, 2 * 86_400_000), (new, 0)):
        envelope = Envelope(t=tasks.nothing.module_path, e=now_ms() - ago)
        raw = encode_envelope(envelope, 1000)
        number = backend.broker.number("default")
        backend.broker.enqueue("default", [Draft(f"{id}.{number}", raw)])

    for span, seen in (("day", {new}), ("week", {old, new}), ("nonsense", set())):
        page = ada.sees("job/", state="ready", since=span)
        assert {id for id in (old, new) if id in page} == seen
    ada.post("job/do/", verb="cancel", everything="1", confirmed="1", state="ready", since="day")
    (order,) = Inspector(backend.broker).page(["critical"], State.READY).rows
    assert b'"since":1' in order.envelope
