"""The filters of the list of jobs and the words of its search box."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import RequestFactory

from django_taskq import context
from django_taskq.admin import rights
from django_taskq.admin.searching import asked, at_least, span, split
from django_taskq.backends import RedisBackend
from django_taskq.broker.roster import Process, Record, Roster
from django_taskq.finding import Filter
from django_taskq.job import State
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand, round_trips
from tests.security.tasks import log_in


def ids(page: str) -> list[str]:
    return re.findall(r'name="job" value="([^"]+)"', page)


@pytest.fixture
def some(hand: Hand) -> dict[str, str]:
    """A job that was tried twice, one that ran once, one that waits."""
    twice = tasks.fail.using(backoff=0, max_attempts=2).enqueue("twice")
    hand.run()
    hand.promote()
    hand.run()
    once = tasks.add.enqueue(42, 1)
    hand.run()
    waits = tasks.add.enqueue(1, 42)
    return {"twice": twice.id, "once": once.id, "waits": waits.id}


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"q": "attempt:>1"}, ["twice"]),
        ({"tried": "2"}, ["twice"]),
        ({"q": "attempt:1"}, ["once", "twice"]),
        ({"q": "arg.a:42"}, ["once"]),
        ({"arg": "b:42"}, ["waits"]),
        ({"q": "arg.a:42", "state": "dead"}, []),
        ({"q": "took:>1h"}, []),
        ({"took": "1h"}, []),
        ({"since": "quarter"}, ["once", "twice", "waits"]),
        ({"q": "user:7"}, []),
        ({"q": "worker:nobody"}, []),
    ],
)
def test_a_filter_leaves_what_is_meant(
    ada: Staff, some: dict[str, str], params: dict[str, str], names: list[str]
) -> None:
    page = ada.sees("job/", **{"state": "any", **params})

    assert sorted(ids(page)) == sorted(some[name] for name in names)


def test_a_process_is_offered_and_found(
    ada: Staff, some: dict[str, str], hand: Hand, backend: RedisBackend
) -> None:
    child = Process(hand.holder, 4711, 6)
    record = Record("web1", 7, "1.0", 5, "running", {"default": 3}, 10, processes=[child])
    Roster(backend.broker).enroll("w", record, 60_000)

    page = ada.sees("job/", q=f"worker:{hand.holder[:8]}")

    assert sorted(ids(page)) == sorted([some["twice"], some["once"]])
    assert f'<option value="{hand.holder}">web1 4711</option>' in page
    with round_trips() as trips:
        ada.sees("job/", worker=hand.holder)
    assert len(trips) <= 3


def test_fields_that_are_seldom_used_are_folded_until_they_are(ada: Staff, some: Any) -> None:
    folded, used = ada.sees("job/"), ada.sees("job/", took="2m")

    assert '<details class="tq-search-more" id="tq-more">' in folded
    assert '<details class="tq-search-more" id="tq-more" open>' in used
    assert 'name="took" id="tq-took" value="2min"' in used


@pytest.mark.parametrize(
    "params",
    [
        {"q": "took:soon"},
        {"took": "<10s"},
        {"q": "attempt:many"},
        {"tried": "2s"},
        {"arg": "42"},
        {"q": "arg.a:1 arg.a:42"},
        {"q": "task:x task:y"},
    ],
)
def test_what_is_not_understood_shows_nothing_and_says_so(
    ada: Staff, some: Any, params: dict[str, str]
) -> None:
    """Without the condition much more would match, and be deleted."""
    page = ada.sees("job/", **{"state": "any", **params})

    assert ids(page) == []
    assert "This was not understood" in page
    word = next(iter(params.values())).split()[-1]
    assert f"{word}</code>" in page.replace("&gt;", ">").replace("&lt;", "<")
    answer = ada.post("job/do/", verb="delete", everything="1", confirmed="1", **params)
    assert answer.status_code == 302
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    "params",
    [
        {"since": "yesterday"},
        {"error": "E" * 1_001},
        {"place": "p" * 1_001},
        {"q": "a" * 1_001},
        {"id": "x.1"},
        {"q": "id:x.1"},
        {"q": f"{'x' * 22}.1"},
    ],
)
def test_a_condition_that_would_be_lost_lets_nothing_be_done_to_all(
    ada: Staff, some: Any, params: dict[str, str]
) -> None:
    fields = {"verb": "cancel", "everything": "1", "state": "any", **params}
    for more in ({}, {"confirmed": "1"}):
        assert ada.post("job/do/", **fields, **more).status_code == 302

    assert not LogEntry.objects.exists()
    page = ada.sees("job/")
    assert "was not understood." in page or "no condition for all that match" in page


@pytest.mark.parametrize("params", [{"since": "<b>ever"}, {"error": "<b>" + "E" * 1_001}])
def test_conditions_that_no_form_sends_are_shown_as_not_understood(
    ada: Staff, some: Any, params: dict[str, str]
) -> None:
    page = ada.sees("job/", state="any", **params)

    assert ids(page) == []
    assert "<code>&lt;b&gt;e" in page.lower()


@pytest.mark.parametrize("words", ["arg.user:ada", "user:7", "request:r", "ada"])
def test_what_jobs_carry_is_found_by_who_may_see_it(
    staff: Callable[..., Staff], hand: Hand, words: str
) -> None:
    tokens = [(each, each.set("7")) for each in (context.user_id,)]
    log_in.enqueue("ada", password="hunter2")
    for variable, token in tokens:
        variable.reset(token)
    ben = staff("ben", rights.VIEW)

    page = ben.sees("job/", state="any", q=words)

    assert ids(page) == []
    assert "you may not look for it" in page
    assert 'name="arg"' not in page
    assert 'name="user"' not in page


def test_no_search_finds_a_sensitive_argument(ada: Staff, backend: RedisBackend) -> None:
    log_in.enqueue("ada", password="hunter2")

    assert ids(ada.sees("job/", state="any", q="arg.password:hunter2")) == []
    assert len(ids(ada.sees("job/", state="any", q="arg.user:ada"))) == 1


def test_all_that_match_are_those_that_are_listed(
    ada: Staff, some: dict[str, str], hand: Hand, backend: RedisBackend
) -> None:
    other = tasks.add.enqueue(1, 43)
    listed = ada.sees("job/", state="any", q="arg.b:42")
    assert ids(listed) == [some["waits"]]
    form = listed[listed.index('id="tq-jobs"') :]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))

    ada.post("job/do/", **fields, verb="cancel", everything="1", confirmed="1")
    hand.run(1)

    assert backend.get_result(some["waits"]).state is State.CANCELLED
    assert backend.get_result(other.id).state is State.READY
    told = LogEntry.objects.get().change_message
    assert '"arg": "…"' in told
    assert "42" not in told, "the log never holds the value of an argument"


@pytest.mark.parametrize(
    ("q", "words"),
    [
        (r"C:\temp\new", [r"C:\temp\new"]),
        ("O'Brien and D'Arcy", ["O'Brien", "and", "D'Arcy"]),
        ("a #b", ["a", "#b"]),
        ('arg.a:"two words" "\'s"', ["arg.a:two words", "'s"]),
        ('12" pipe', ['12"', "pipe"]),
        (r'"a\" b', ["a\\", "b"]),
    ],
)
def test_the_search_box_takes_double_quotes_alone_for_more_than_characters(
    q: str, words: list[str]
) -> None:
    assert split(q) == words


@pytest.mark.parametrize("field", ["q", "text"])
def test_a_text_is_a_condition_that_is_confirmed_and_written_down(
    ada: Staff, some: dict[str, str], hand: Hand, backend: RedisBackend, field: str
) -> None:
    fields = {"verb": "cancel", "everything": "1", "state": "any", field: "a text"}

    page = ada.post("job/do/", **fields).content.decode()
    ada.post("job/do/", **fields, confirmed="1")

    assert "<dt>text</dt><dd><code>a text</code></dd>" in page
    told = json.loads(LogEntry.objects.get().change_message)["told"]
    assert told == {"all": {"state": "any", "text": "…"}}


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [
        ("tried", "2", 2),
        ("tried", ">1", 2),
        ("tried", ">=2", 2),
        ("tried", "1.5", 0),
        ("tried", "<2", 0),
        ("took", "10", 10_000),
        ("took", ">10s", 10_000),
        ("took", "1.5s", 1_500),
        ("took", "250ms", 250),
        ("took", "2m", 120_000),
        ("took", "1h", 3_600_000),
        ("took", "²", 0),
        ("took", "soon", 0),
    ],
)
def test_numbers_are_read_as_people_write_them(name: str, text: str, number: int) -> None:
    assert at_least(name, text) == number


@pytest.mark.parametrize("ms", [0, 1, 999, 1_000, 1_500, 90_000, 3_600_000, 86_400_000 * 3])
def test_a_length_of_time_is_read_as_it_is_written(ms: int) -> None:
    assert (at_least("took", span(ms)) if ms else span(ms) == "") in (ms, True)


def test_an_address_says_the_same_again(ada: Staff) -> None:
    question = "task:t arg.a:b worker:w attempt:>2 took:>90s user:7 request:r"
    request = RequestFactory().get("/", {"q": question, "state": "dead"})
    request.user = ada.user
    first = asked(request)
    again = RequestFactory().get("/", first.fields())
    again.user = ada.user

    wanted = Filter(task="t", arg="a:b", worker="w", tried=3, took=90_000, user="7", request="r")
    assert first.filter == asked(again).filter == wanted
    assert first.fields() == asked(again).fields()
    again = RequestFactory().get("/", {**first.fields(), "q": ""})
    again.user = ada.user
    assert asked(again).filter == wanted
