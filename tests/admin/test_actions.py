"""What is done by hand to one job, to those that were ticked, to all that match; and who did it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from django_taskq import task
from django_taskq.backends import RedisBackend
from django_taskq.broker.inspector import Inspector
from django_taskq.clock import now_ms
from django_taskq.job import State
from tests.admin.conftest import ROOT, FastClock, Staff
from tests.engine import tasks
from tests.engine.support import QUEUES, Hand
from tests.security.tasks import log_in


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


@pytest.fixture
def dead(hand: Hand) -> Any:
    result = tasks.fail.using(max_attempts=1).enqueue("bad")
    hand.run()
    return result


def state(result: Any) -> State:
    result.refresh()
    return State(result.state)


# -- verbs -----------------------------------------------------------------------------------------


def test_a_retry_is_done_at_once_and_written_down(ada: Staff, dead: Any) -> None:
    answer = ada.client.post(
        "/admin/django_taskq/job/do/",
        {"verb": "retry", "job": dead.id, "back": "job"},
        follow=True,
    )

    assert answer.redirect_chain[-1][0].endswith(f"job/{dead.id}/change/")
    assert "Retry: 1 job done." in text_of(answer)
    assert state(dead) is State.READY
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (ada.user, dead.id)
    assert json.loads(entry.change_message)["outcome"] == {"done": 1}
    assert entry.get_admin_url() == f"/admin/django_taskq/job/{dead.id}/change/"
    page = ada.sees("audit/")
    assert "ada" in page
    assert "1 job done" in page


@pytest.mark.parametrize("verb", ["cancel", "kill", "delete"])
def test_what_cannot_be_undone_is_asked_first(ada: Staff, backend: RedisBackend, verb: str) -> None:
    result = tasks.nothing.enqueue()

    page = text_of(ada.post("job/do/", verb=verb, job=result.id))

    assert 'name="confirmed"' in page
    assert result.id in page
    assert state(result) is State.READY
    assert not LogEntry.objects.exists()
    ada.post("job/do/", verb=verb, job=result.id, confirmed="1")
    assert state(result) is (State.READY if verb == "kill" else State.CANCELLED)


def test_what_waits_is_not_cancelled_by_who_may_only_kill(
    staff: Callable[..., Staff], backend: RedisBackend, hand: Hand
) -> None:
    running, ready = tasks.nothing.enqueue_many([(), ()])
    hand.claim(1)
    fields = {"verb": "kill", "job": [running.id, ready.id], "confirmed": "1"}

    eve = staff("eve", "view_taskq", "kill_job")
    page = text_of(eve.client.post(f"{ROOT}/job/do/", fields, follow=True))

    assert "1 job done, 1 job left alone" in page
    assert state(ready) is State.READY
    orders = backend.broker.key("default", "cancels")
    assert backend.server.command("HKEYS", orders) == [running.id.encode()]


@pytest.mark.parametrize(
    ("verb", "fields", "ends"),
    [
        ("prioritize", {"priority": "7"}, State.READY),
        ("move", {"queue_to": "low"}, State.CANCELLED),
        ("run", {}, State.READY),
        ("retry_at", {"due": "2100-01-01T00:00"}, State.SCHEDULED),
    ],
)
def test_a_verb_does_what_it_says(
    ada: Staff, backend: RedisBackend, verb: str, fields: dict[str, str], ends: State
) -> None:
    when = {"run_after": 3600} if verb in ("run", "retry_at") else {}
    result = tasks.nothing.using(**when).enqueue()

    answer = ada.post("job/do/", verb=verb, job=result.id, confirmed="1", **fields)

    assert answer.status_code == 302
    assert state(result) is ends
    if verb == "prioritize":
        assert backend.get_result(result.id).task.priority == 7


@pytest.mark.parametrize(
    ("verb", "fields", "words"),
    [
        ("prioritize", {"priority": "many"}, "whole number"),
        ("prioritize", {"priority": "1000"}, "-100 to 100"),
        ("move", {"queue_to": "nowhere"}, "not in QUEUES"),
        ("move", {"queue_to": "<b>"}, "no queue can have that name"),
        ("retry_at", {"due": "tomorrow"}, "Give a date and a time."),
        ("retry_at", {"due": "2100-99-99T00:00"}, "Give a date and a time."),
    ],
)
def test_a_form_that_makes_no_sense_is_asked_again(
    ada: Staff, dead: Any, verb: str, fields: dict[str, str], words: str
) -> None:
    page = text_of(ada.post("job/do/", verb=verb, job=dead.id, confirmed="1", **fields))

    assert words in page
    assert 'name="confirmed"' in page
    assert "<b>" not in page
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("fields", [{"verb": ""}, {"verb": "explode"}, {"verb": "retry"}])
def test_nothing_chosen_or_nothing_ticked_is_said(ada: Staff, fields: dict[str, str]) -> None:
    answer = ada.client.post("/admin/django_taskq/job/do/", fields, follow=True)

    assert re.search("Choose what to do first|Tick the jobs first", text_of(answer))


def test_several_jobs_are_told_apart(ada: Staff, dead: Any) -> None:
    ready = tasks.nothing.enqueue()
    jobs = [dead.id, ready.id, f"{'x' * 22}.1", "nonsense"]

    answer = ada.client.post(
        "/admin/django_taskq/job/do/", {"verb": "retry", "job": jobs}, follow=True
    )

    page = text_of(answer)
    assert "1 job done, 1 job left alone" in page
    assert "2 jobs not there" in page
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize("id", ["\0.1", "x" * 44 + ".1"])
def test_what_can_be_no_id_never_comes_into_the_log(ada: Staff, dead: Any, id: str) -> None:
    """PostgreSQL takes no NUL: the page would fail."""
    ada.post("job/do/", verb="retry", job=[id, dead.id])
    ada.post("job/do/", verb="retry", job=[id])

    assert [entry.object_id for entry in LogEntry.objects.all()] == [dead.id]


def test_a_message_of_the_log_names_no_argument(ada: Staff, hand: Hand) -> None:
    result = log_in.using(max_attempts=1).enqueue("ada", "hunter2-hunter2", how="retry")
    hand.run()

    ada.post(f"job/{result.id}/edit/", **{"arg-0": '"ben"', "arg-1": '"hunter3-hunter3"'})

    messages = [entry.change_message for entry in LogEntry.objects.all()]
    assert len(messages) == 1
    assert "hunter" not in messages[0]
    assert "ben" not in messages[0]
    assert json.loads(messages[0])["told"] == {"arguments": ["user", "password"]}


# -- all that match --------------------------------------------------------------------------------


def test_everything_that_matches_is_a_jobs_work(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    bad = tasks.fail.using(max_attempts=1).enqueue_many([(f"{n}",) for n in range(7)])
    hand.run()
    other = tasks.nothing.enqueue()
    fields = {"verb": "retry", "everything": "1", "state": "dead", "error": "ValueError"}

    asked = text_of(ada.post("job/do/", **fields))
    assert "every job that matches" in asked
    ada.post("job/do/", confirmed="1", **fields)

    assert "No such work has begun." in ada.sees("job/bulk/")
    (outcome,) = hand.run(1)
    assert outcome.kind == "S", outcome.blob
    assert {state(result) for result in bad} == {State.READY}
    assert state(other) is State.READY
    page = ada.sees("job/bulk/")
    assert "7 jobs done" in page
    assert LogEntry.objects.get().object_id in page


@pytest.mark.parametrize("page", ["job/do/", "queue/default/purge/"])
def test_what_was_there_is_said_by_redis_clock(
    ada: Staff, backend: RedisBackend, dead: Any, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """Jobs end by that one: with another one some would be left out, or too many done."""
    here = now_ms()
    monkeypatch.setattr("django_taskq.clock.time", FastClock)
    fields = {"verb": "delete", "everything": "1", "state": "dead", "name": "default"}

    ada.post(page, confirmed="1", **fields)

    (row,) = [
        row for name in QUEUES for row in Inspector(backend.broker).page([name], State.READY).rows
    ]
    asked = backend.get_result(row.id).args[0]["asked"]
    assert abs(asked - here) < 60_000


def test_a_group_is_retried_as_one(ada: Staff, hand: Hand, dead: Any) -> None:
    other = tasks.choosy.using(max_attempts=1).enqueue("key")
    hand.run()
    page = ada.sees("failure/")
    forms = re.findall(r"<form.*?</form>", page, re.DOTALL)
    (form,) = [form for form in forms if "ValueError" in form and "Retry all" in form]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))

    ada.post("job/do/", confirmed="1", **{k: v.replace("&amp;", "&") for k, v in fields.items()})
    hand.run(1)

    assert state(dead) is State.READY
    assert state(other) is State.DEAD


def test_a_group_has_no_job_that_succeeded_later(ada: Staff, hand: Hand) -> None:
    """It keeps what went wrong before: to run it again would do its work twice."""
    flaky = tasks.contextual
    passing = flaky.enqueue(fail_first=True)
    dead = flaky.using(max_attempts=1).enqueue(fail_first=True)
    retrying = flaky.using(backoff=3600).enqueue(fail_first=True)
    hand.run()
    hand.promote()
    hand.run()
    assert (state(passing), len(passing.errors)) == (State.SUCCEEDED, 1)
    page = ada.sees("failure/")
    link = re.search(r'<h3><a href="/admin/django_taskq/([^"]+)"', page)
    (form,) = [f for f in re.findall(r"<form.*?</form>", page, re.DOTALL) if "Retry all" in f]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    assert link

    found = ada.sees(link[1].replace("&amp;", "&"))
    ada.post("job/do/", confirmed="1", **{k: v.replace("&amp;", "&") for k, v in fields.items()})
    hand.run(1)

    assert {*re.findall(r'name="job" value="([^"]+)"', found)} == {dead.id, retrying.id}
    assert '<input type="hidden" name="state" value="failed">' in found
    assert 'aria-current="true">failed' in found
    assert [state(each) for each in (dead, retrying, passing)] == [
        *(State.READY, State.READY),
        State.SUCCEEDED,
    ]


def test_a_queue_is_purged_once_its_name_is_typed(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    results = tasks.nothing.enqueue_many([()] * 5)

    asked = text_of(ada.post("queue/default/purge/", state="ready"))
    assert "Type the queue" in asked
    wrong = text_of(ada.post("queue/default/purge/", state="ready", name="x", confirmed="1"))
    assert "nothing was purged" in wrong
    why = {"why": "a  mail\nloop"}
    ada.post("queue/default/purge/", state="ready", name="default", confirmed="1", **why)
    (outcome,) = hand.run(1, "critical")

    assert outcome.kind == "S", outcome.blob
    assert {state(result) for result in results} == {State.CANCELLED}
    assert "Purge" in ada.sees("audit/")
    assert "a mail loop" in ada.sees("audit/")


def test_what_runs_is_never_purged(ada: Staff, backend: RedisBackend) -> None:
    tasks.nothing.enqueue()

    assert ada.post("queue/default/purge/", state="running", name="default").status_code == 404


# -- arguments -------------------------------------------------------------------------------------


def test_a_dead_job_is_mended_and_retried(ada: Staff, hand: Hand, backend: RedisBackend) -> None:
    result = tasks.choosy.using(max_attempts=1).enqueue("key")
    hand.run()
    page = ada.sees(f"job/{result.id}/edit/")
    assert "\nkey</textarea>" in page

    ada.post(f"job/{result.id}/edit/", **{"arg-0": "os", "retry": "1"})

    mended = backend.get_result(result.id)
    assert (mended.state, mended.args) == (State.READY, ["os"])
    assert [json.loads(e.change_message)["verb"] for e in LogEntry.objects.order_by("pk")] == [
        "edit",
        "retry",
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"arg-0": "no json", "arg-1": "2"}, "This is no whole number."),
        ({"arg-0": "1", "arg-1": "2", "more": "no json"}, "This is no JSON."),
        ({"arg-0": "", "arg-1": "2"}, "This field is required."),
        ({"arg-0": "1", "arg-1": "2", "more": '{"a": 3}'}, "the argument &#x27;a&#x27; twice"),
        ({"arg-0": "1", "arg-1": "2", "more": '{"c": 1}'}, "takes no argument &#x27;c&#x27;"),
        ({"arg-0": "1", "arg-1": "2", "more": "[1]"}, "This is no JSON object."),
    ],
)
def test_arguments_that_do_not_fit_are_said_at_their_place(
    ada: Staff, backend: RedisBackend, fields: dict[str, str], words: str
) -> None:
    result = tasks.add.enqueue(1, b=2)

    page = text_of(ada.post(f"job/{result.id}/edit/", **fields))

    assert words in page
    assert backend.get_result(result.id).kwargs == {"b": 2}


def test_an_argument_by_name_can_be_left_out_or_added(ada: Staff, backend: RedisBackend) -> None:
    result = tasks.add.enqueue(1, b=2)

    ada.post(f"job/{result.id}/edit/", **{"arg-0": "1", "arg-1": ""})
    assert backend.get_result(result.id).kwargs == {}
    ada.post(f"job/{result.id}/edit/", **{"arg-0": "1", "more": '{"b": 5}'})
    assert backend.get_result(result.id).kwargs == {"b": 5}


def test_an_argument_of_many_lines_that_was_left_alone_is_not_changed(
    ada: Staff, backend: RedisBackend
) -> None:
    """Browsers end its lines with two characters."""
    result = tasks.choosy.using(max_attempts=1).enqueue("two\nlines")
    sent = {"arg-0": "two\r\nlines", "more": ""}

    ada.post(f"job/{result.id}/edit/", **sent)

    assert backend.get_result(result.id).args == ["two\nlines"]
    told = [json.loads(entry.change_message)["told"] for entry in LogEntry.objects.all()]
    assert told == [{"arguments": []}]


@task
def open_to_all(first: int, **others: int) -> None: ...


@pytest.mark.parametrize("name", ["7", "0", "²"])
def test_an_argument_may_be_named_like_a_number(
    ada: Staff, backend: RedisBackend, name: str
) -> None:
    result = open_to_all.enqueue(1)

    answer = ada.post(f"job/{result.id}/edit/", **{"arg-0": "2", "more": json.dumps({name: 1})})

    assert answer.status_code == 302
    assert backend.get_result(result.id).kwargs == {name: 1}
    said = json.loads(LogEntry.objects.get().change_message)
    assert said["told"] == {"arguments": ["first", name]}


def test_what_is_sensitive_stays_unless_it_is_typed(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    result = log_in.enqueue("ada", "hunter2-hunter2")

    ada.post(f"job/{result.id}/edit/", **{"arg-0": '"ben"', "arg-1": ""})

    assert backend.get_result(result.id).args == ["ben", "hunter2-hunter2"]


def test_a_running_job_is_not_edited(ada: Staff, backend: RedisBackend, hand: Hand) -> None:
    result = tasks.add.enqueue(1)
    hand.claim(1)

    answer = ada.client.post(
        f"/admin/django_taskq/job/{result.id}/edit/", {"arg-0": "5"}, follow=True
    )

    assert "running now: nothing was changed" in text_of(answer)
    assert backend.get_result(result.id).args == [1]
    assert not LogEntry.objects.exists()


def test_work_on_many_is_never_run_again_by_who_may_only_retry(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    """It may do what its asker was allowed; another order could be put into its arguments."""
    ada.post("queue/default/purge/", state="dead", name="default", confirmed="1")
    tasks.nothing.enqueue()
    ada.post("queue/default/purge/", state="dead", name="default", confirmed="1")
    (outcome,) = hand.run(1, "critical")
    id = outcome.grant.id

    retried = ada.client.post(
        "/admin/django_taskq/job/do/", {"verb": "retry", "job": id, "back": "job"}, follow=True
    )
    edited = ada.client.post(f"/admin/django_taskq/job/{id}/edit/", {"arg-0": "{}"}, follow=True)

    assert "left alone" in text_of(retried)
    assert "cannot be changed here" in text_of(edited)
    assert backend.get_result(id).state is State.SUCCEEDED
