"""The pages: what they show, how little they ask for it, and that they show anything safely."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_taskq.admin.console import Console
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.broker.roster import Process, Record, Roster
from django_taskq.broker.steering import Steering
from django_taskq.clock import now_ms
from django_taskq.codec import encode_envelope
from django_taskq.job import Envelope
from tests.admin.conftest import Staff
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
    "job/",
    "job/?state=any&q=text",
    "job/?state=dead&error=ValueError&task=tests.engine.tasks.fail",
    "job/bulk/",
    "job/{dead}/change/",
    "job/{running}/change/",
    "job/{dead}/edit/",
    "failure/",
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
    Roster(backend.broker).enroll("w", RECORD, 60_000)
    ada.sees(page)
    if is_cold:  # as in a process that has not seen a queue yet
        from django_taskq.admin.console import Console

        Console("default").broker._numbers.clear()

    with round_trips() as trips, CaptureQueriesContext(connection) as queries:
        ada.sees(page)

    assert len(trips) <= MOST_TRIPS, trips
    assert len(queries) <= MOST_QUERIES, [query["sql"] for query in queries]


def test_a_page_is_never_kept(ada: Staff, mixed: dict[str, str]) -> None:
    assert "no-store" in ada.get("dashboard/").headers["Cache-Control"]


def test_nothing_is_styled_or_scripted_in_the_page(ada: Staff, mixed: dict[str, str]) -> None:
    """So that it works under a policy that allows neither."""
    for page in PAGES:
        text = ada.sees(page.format(**mixed))
        assert not re.search(r"\sstyle=|\son\w+=|<style", text), page
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), page


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

    ada.post("queue/default/resume/")

    assert "Paused by ada" not in ada.sees("queue/default/change/")
    audit = ada.sees("audit/")
    assert audit.index("Resume") < audit.index("Pause")


def test_a_pause_for_a_time_ends_by_itself(ada: Staff, backend: RedisBackend, mixed: Any) -> None:
    ada.post("queue/default/pause/", minutes="15")

    raw = backend.server.command("HGET", backend.broker.key("default", "meta"), "paused")

    assert 14 * 60_000 < int(raw) - now_ms() <= 15 * 60_000


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
        {"task": '"],[', "state": "any"},
    ],
)
def test_an_address_that_makes_no_sense_is_a_page(
    ada: Staff, mixed: Any, params: dict[str, str]
) -> None:
    assert ada.get("job/", **params).status_code == 200


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
    assert re.search(r"<details class=\"tq-fold\"[^>]*><summary>1 frame of libraries", page)
    assert "fail.enqueue(&quot;dead&quot;)" in page


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
    # The log names no backend: the job is found all the same.
    assert ada.get(f"job/{result.id}/change/").status_code in (200, 404)
    assert ada.get("queue/", backend="nowhere").status_code == 404


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
