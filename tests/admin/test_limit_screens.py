"""Limits on a queue's page, other numbers for one, and what else the screens of queues say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from django_taskq.admin import rights
from django_taskq.backends import RedisBackend
from django_taskq.broker.audit import Audit
from django_taskq.broker.connection import Server
from django_taskq.broker.inspector import Inspector
from django_taskq.job import State
from django_taskq.limits import Limit, Rate
from tests.admin.conftest import ROOT, Staff
from tests.engine import tasks
from tests.engine.support import Hand

NAME = f"task:{tasks.narrow.module_path}"
PAGE = "queue/default/limit/"


@pytest.fixture
def waiting(hand: Hand) -> list[Any]:
    """Five jobs of a task that runs two at once."""
    results = tasks.narrow.enqueue_many([(n,) for n in range(5)])
    hand.claim()
    return list(results)


def numbers(backend: RedisBackend, name: str = NAME) -> tuple[Limit | None, Limit | None]:
    """Those of the code, and those by hand."""
    state = Inspector(backend.broker).limits("default").get(name)
    assert state
    return state.code, state.by_hand


def rows(page: str) -> list[str]:
    """The rows of the table of limits, as text."""
    table = page.partition('id="tq-h-limits"')[2].partition("</section>")[0]
    found = re.findall(r"<tr>(.*?)</tr>", table.replace("\n", " ").replace("<wbr>", ""))
    isolates = str.maketrans("", "", "\u2066\u2069")
    texts = (re.sub(r"<[^>]+>", " ", row).translate(isolates) for row in found[1:])
    return [" ".join(text.split()) for text in texts]


def follow(ada: Staff, **fields: Any) -> str:
    answer = ada.client.post(f"{ROOT}/{PAGE}", {"limit": NAME, **fields}, follow=True)
    return str(answer.content.decode())


# -- what is shown ---------------------------------------------------------------------------------


def test_a_queue_lists_its_limits(ada: Staff, waiting: Any) -> None:
    (row,) = rows(ada.sees("queue/default/change/"))

    task = tasks.narrow.module_path
    assert row == f"task {task} 2 at once 2 3 – Change … {task}"


def test_a_queue_without_limits_says_nothing_of_them(ada: Staff, hand: Hand) -> None:
    tasks.nothing.enqueue()

    assert "tq-h-limits" not in ada.sees("queue/default/change/")


def test_the_keys_of_a_limit_are_listed_under_it(ada: Staff, hand: Hand) -> None:
    for tenant in (1, 1, 2):
        tasks.of_tenant.enqueue(tenant, 1)
    hand.claim()

    (row,) = rows(ada.sees("queue/default/change/"))

    assert "1 inside, 1 waiting" in row
    assert "1 inside, 0 waiting" in row


@pytest.mark.parametrize(("also", "keys"), [((), False), ((rights.VIEW_ARGS,), True)])
def test_keys_are_made_of_arguments_and_shown_to_who_may_see_those(
    staff: Callable[..., Staff], hand: Hand, also: tuple[str, ...], keys: bool
) -> None:
    for tenant in (4711, 4711, 4712):
        tasks.of_tenant.enqueue(tenant, 1)
    hand.claim()

    page = staff("ben", rights.VIEW, *also).sees("queue/default/change/")

    (row,) = rows(page)
    assert ("4711" in page) is keys
    assert ("2 keys" in row) is not keys
    assert row.endswith("1 at once 2 1 –"), "the sums are for all"


@pytest.mark.parametrize(("also", "shown"), [((), False), ((rights.VIEW_ARGS,), True)])
def test_a_queue_whose_jobs_take_turns_says_whose_line_is_long(
    staff: Callable[..., Staff], hand: Hand, also: tuple[str, ...], shown: bool
) -> None:
    for tenant in ("tenant <1>", "tenant <1>", "other"):
        tasks.fair.enqueue(tenant, 1)

    page = staff("ben", rights.VIEW, *also).sees("queue/default/change/")

    assert ("Whose turn it is" in page) is shown
    assert ('tenant &lt;1&gt;</code></bdi></th><td class="tq-number">2<' in solid(page)) is shown
    assert ('other</code></bdi></th><td class="tq-number">2<' in solid(page)) is shown


def test_a_queue_without_turns_says_nothing_of_them(ada: Staff, hand: Hand) -> None:
    tasks.nothing.enqueue()

    assert "tq-h-rota" not in ada.sees("queue/default/change/")


def solid(page: str) -> str:
    """Without the spaces between elements."""
    return re.sub(r">\s+<", "><", page)


def test_names_of_limits_are_text(ada: Staff, hand: Hand) -> None:
    tasks.narrow.using(limit_key="<b>bold</b>", rate_limit=Rate(10, 60, burst=3)).enqueue(1)

    page = ada.sees("queue/default/change/")

    assert "<b>bold</b>" not in page
    assert "key &lt;b&gt;bold&lt;/b&gt; 2 at once, 10/m, burst 3" in rows(page)[0]


# -- other numbers ---------------------------------------------------------------------------------


def test_a_raised_limit_lets_in_those_who_wait(
    ada: Staff, backend: RedisBackend, hand: Hand, waiting: Any
) -> None:
    page = follow(ada, concurrency="4", why="the night is quiet")

    assert "4 at once." in page
    assert "2 jobs that waited are let in." in page
    assert "set by hand" in rows(page)[0]
    assert "the code says 2 at once" in rows(page)[0]
    assert numbers(backend) == (Limit(2), Limit(4))
    assert len(hand.claim()) == 2
    tasks.narrow.enqueue(9)
    assert numbers(backend) == (Limit(2), Limit(4))


def test_a_limit_is_given_back_to_the_code(ada: Staff, backend: RedisBackend, waiting: Any) -> None:
    follow(ada, concurrency="1", rate="10/s", burst="3")
    assert numbers(backend)[1] == Limit(1, Rate(10, 1, burst=3))
    assert 'value="10/s"' in ada.sees(PAGE, limit=NAME)

    page = follow(ada, release="1")

    assert "goes by the code again: 2 at once." in page
    assert numbers(backend) == (Limit(2), None)
    assert "set by hand" not in page


def test_it_is_written_down(ada: Staff, backend: RedisBackend, waiting: Any) -> None:
    follow(ada, concurrency="4", rate="100/m", why="the night  is quiet")
    follow(ada, release="1", why="it is over")

    back, change = LogEntry.objects.order_by("-pk")
    told = json.loads(change.change_message)
    assert (told["verb"], change.object_id) == ("limit", "default")
    assert told["told"]["concurrency"] == 4
    assert told["told"]["rate"] == "100/m"
    assert told["told"]["why"] == "the night is quiet"
    assert json.loads(back.change_message)["verb"] == "unlimit"
    assert [line.deed.verb for line in Audit(backend.broker).read(2)] == ["unlimit", "limit"]
    page = ada.sees("audit/")
    assert "Give limit back to the code" in page
    assert "the night is quiet" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rate": "fast"}, "must be a number per time, such as"),
        ({"rate": "10/month"}, "there is no unit"),
        ({"concurrency": "0"}, "greater than or equal to 1"),
        ({"concurrency": "many"}, "Enter a whole number."),
        ({"concurrency": "2000000"}, "less than or equal to 1000000"),
        ({}, "Give a number of jobs at once, a rate, or both."),
        ({"concurrency": "3", "burst": "3"}, "Only a rate has a burst."),
        ({"rate": "<b>"}, "&lt;b&gt;"),
    ],
)
def test_numbers_that_make_no_sense_are_asked_again(
    ada: Staff, backend: RedisBackend, waiting: Any, fields: dict[str, str], words: str
) -> None:
    page = follow(ada, **fields)

    assert words in page
    assert 'name="concurrency"' in page
    assert "<b>" not in page
    assert numbers(backend) == (Limit(2), None)
    assert not LogEntry.objects.exists()


def test_a_limit_that_no_job_ever_came_with_cannot_be_changed(ada: Staff, waiting: Any) -> None:
    for page in (follow(ada, limit="task:other", concurrency="3"), follow(ada, limit="")):
        assert "No job of this queue ever came with that limit." in page
    assert not LogEntry.objects.exists()


def test_who_may_not_change_limits_sees_them_alone(
    staff: Callable[..., Staff], waiting: Any
) -> None:
    page = staff("ben", "view_taskq").sees("queue/default/change/")

    assert "2 at once" in rows(page)[0]
    assert "/limit/" not in page


# -- pauses, memory, moving all --------------------------------------------------------------------


@pytest.mark.parametrize("page", ["queue/", "queue/default/change/", "dashboard/"])
def test_a_pause_says_when_it_ends(ada: Staff, waiting: Any, page: str) -> None:
    ada.post("queue/default/pause/", minutes="60")
    assert re.search(r"goes on\s+<time[^>]*>in 59", ada.sees(page))

    ada.post("queue/default/resume/")
    ada.post("queue/default/pause/")

    assert "goes on " not in ada.sees(page)


def test_queues_say_how_much_memory_they_take(ada: Staff, waiting: Any) -> None:
    size = re.compile(r"<bdi>\d+(\.\d+)?\xa0KB</bdi>")

    assert size.search(ada.sees("queue/"))
    assert size.search(ada.sees("queue/default/change/").partition("memory")[2])


def test_where_the_server_does_not_tell_the_pages_are_there_all_the_same(
    ada: Staff, waiting: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real refusal is met in test_inspector.py."""
    monkeypatch.setattr("django_taskq.broker.inspector.weight_in", lambda reply: None)

    assert "–</span></td>" in ada.sees("queue/")
    assert "</span> –</span>" in ada.sees("queue/default/change/")


def test_all_of_a_state_are_moved_from_the_queue_s_page(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    results = tasks.nothing.enqueue_many([()] * 3)
    page = ada.sees("queue/default/change/")
    form = page.partition("Move all 3 to another queue")[0].rpartition("<form")[2]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))

    asks = ada.post("job/do/", **fields).content.decode()
    choices = re.findall(r"<option>(\w+)", asks)
    assert sorted(choices) == ["critical", "low"]
    ada.post("job/do/", **fields, confirmed="1", queue_to="low")
    hand.run(queue="critical")
    hand.run()

    states = {state.name: state.states for state in Inspector(backend.broker).queues(["low"])}
    assert states["low"][State.READY] == 3
    for result in results:
        result.refresh()
        assert result.state is State.CANCELLED


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_what_cannot_be_moved_is_not_offered_to_be(ada: Staff, hand: Hand, state: str) -> None:
    tasks.nothing.enqueue_many([()] * 2)
    grants = hand.claim(2)
    hand.settle(hand.attempt(grants[0]))

    page = ada.sees("queue/default/change/", state=state)

    assert 'name="job"' in page
    assert "Move all" not in page
