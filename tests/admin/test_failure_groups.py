"""The page of failures: what was decided about a group, and how often it failed of late."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from django_taskq.admin import dashboard, failures
from django_taskq.backends import RedisBackend
from django_taskq.broker.audit import Audit
from django_taskq.broker.broker import Broker
from django_taskq.broker.triage import FOR_GOOD, Triage
from django_taskq.clock import now_ms
from django_taskq.codec import encode_failure
from django_taskq.frames import Fingerprint
from django_taskq.grouping import Group, Member
from django_taskq.job import Failure, Kind, Outcome, State
from tests.admin.conftest import Staff
from tests.broker.helpers import verdicts
from tests.conftest import eventually
from tests.engine import tasks
from tests.engine.support import Hand

HOUR, DAY = 3_600_000, 86_400_000
EVIL = '<script>alert("x")</script>'
NAME = "builtins.ValueError"


def at(backend: RedisBackend, ago: int) -> Broker:
    """The broker as it was so many ms ago."""
    ours = backend.broker
    return Broker(ours.server, ours.prefix, now=lambda: now_ms() - ago)


def fail(backend: RedisBackend, *agos: int) -> None:
    """A job that failed for good, so many ms ago each."""
    for ago in agos or (0,):
        tasks.fail.using(max_attempts=1).enqueue("for a reason")
        assert [outcome.kind for outcome in Hand(at(backend, ago)).run()] == [Kind.DEAD]


def fields_of(page: str, verb: str) -> dict[str, str]:
    """What the only form with that button sends."""
    forms = re.findall(r"<form.*?</form>", page, re.DOTALL)
    (form,) = [form for form in forms if f'value="{verb}"' in form]
    hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {**{name: unescape(value) for name, value in hidden}, "verb": verb}


def decide(ada: Staff, verb: str, tab: str = "", **more: str) -> Any:
    """Presses a button of the only group on a tab."""
    return ada.post("failure/do/", **fields_of(ada.sees("failure/", tab=tab), verb), **more)


def tabs(page: str) -> dict[str, str]:
    """Tab -> how many groups; the one that is shown has a star."""
    found = re.findall(r'tab=(\w+)"( aria-current="true")?>\w+ <span[^>]*>(\d+)<', page)
    return {name: number + ("*" if current else "") for name, current, number in found}


@pytest.fixture
def group(backend: RedisBackend) -> Fingerprint:
    """Of one job that has failed."""
    fail(backend)
    return Fingerprint(NAME, "tests.engine.tasks.fail", "tests/engine/tasks.py: fail")


# -- what was decided ------------------------------------------------------------------------------


def test_a_resolved_group_is_out_of_the_way(ada: Staff, group: Fingerprint) -> None:
    assert NAME in ada.sees("dashboard/")

    answer = decide(ada, "resolve")

    assert answer.url == "/admin/django_taskq/failure/?tab=open"
    page = ada.sees("failure/")
    assert tabs(page) == {"open": "0*", "ignored": "0", "resolved": "1", "all": "1"}
    assert "These failures count as resolved: builtins.ValueError." in page
    assert "Nothing is open. 1 group of failures is ignored or resolved." in page
    assert "Nothing is open." in ada.sees("dashboard/")
    assert NAME not in ada.sees("dashboard/")
    for tab in ("resolved", "all"):
        assert "Resolved by ada" in ada.sees("failure/", tab=tab)


def test_a_resolved_group_comes_back_with_its_next_failure(
    ada: Staff, backend: RedisBackend, group: Fingerprint
) -> None:
    decide(ada, "resolve")
    before = now_ms()
    eventually(lambda: now_ms() > before)  # what fails within the same ms is not later

    fail(backend, 0, 0)

    for page in (ada.sees("failure/"), ada.sees("dashboard/")):
        assert "came back" in page
        assert "2 jobs failed after ada resolved it" in page
        assert "<strong>3</strong>" in page
    assert tabs(ada.sees("failure/")) == {"open": "1*", "ignored": "0", "resolved": "0", "all": "1"}

    decide(ada, "resolve")
    assert tabs(ada.sees("failure/"))["resolved"] == "1"


def test_a_job_that_backs_off_brings_its_group_back_too(
    ada: Staff, hand: Hand, group: Fingerprint
) -> None:
    decide(ada, "resolve")
    tasks.fail.using(max_attempts=2, backoff=3600).enqueue("again")
    before = now_ms()
    eventually(lambda: now_ms() > before)

    hand.run()

    assert "1 job failed after ada resolved it" in ada.sees("failure/")


def test_a_slow_clock_of_a_worker_hides_no_job_that_died(
    ada: Staff, hand: Hand, group: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(ada, "resolve")
    monkeypatch.setattr("django_taskq.outcomes.now_ms", lambda: now_ms() - HOUR)
    monkeypatch.setattr("django_taskq.execution.now_ms", lambda: now_ms() - HOUR)
    tasks.fail.using(max_attempts=1).enqueue("again")

    hand.run()

    assert "came back" in ada.sees("failure/")


def test_an_ignored_group_stays_so_although_it_fails(
    ada: Staff, backend: RedisBackend, group: Fingerprint
) -> None:
    decide(ada, "ignore", span="week", why=f"known {EVIL}")

    fail(backend)

    assert tabs(ada.sees("failure/")) == {"open": "0*", "ignored": "1", "resolved": "0", "all": "1"}
    page = ada.sees("failure/", tab="ignored")
    assert "Ignored by ada" in page
    assert "in 6\N{NO-BREAK SPACE}d 23\N{NO-BREAK SPACE}h" in page
    assert "known &lt;script&gt;" in page
    assert EVIL not in page


def test_an_ignored_group_is_open_when_its_time_is_over(
    ada: Staff, backend: RedisBackend, group: Fingerprint
) -> None:
    Triage(at(backend, 2 * HOUR)).ignore(group, "", "ada", "", HOUR)

    page = ada.sees("failure/")

    assert tabs(page)["open"] == "1*"
    assert "Ignored by" not in page
    decide(ada, "resolve")
    assert tabs(ada.sees("failure/"))["resolved"] == "1"


def test_ignored_for_good_says_so(ada: Staff, backend: RedisBackend, group: Fingerprint) -> None:
    decide(ada, "ignore", span="ever")

    page = ada.sees("failure/", tab="ignored")
    note = re.search(r"<p>Ignored by.*?</p>", page, re.DOTALL)
    assert note
    assert "until somebody reopens it" in note[0]
    (verdict,) = verdicts(Triage(backend.broker)).values()
    assert verdict.until == FOR_GOOD


@pytest.mark.parametrize("verb", ["resolve", "ignore"])
def test_what_was_decided_is_taken_back(ada: Staff, group: Fingerprint, verb: str) -> None:
    decide(ada, verb, span="day")

    answer = decide(ada, "reopen", tab="all")

    assert answer.url.endswith("?tab=all")
    page = ada.sees("failure/")
    assert tabs(page)["open"] == "1*"
    assert 'value="reopen"' not in page
    decide(ada, verb, span="day")
    assert tabs(ada.sees("failure/"))["open"] == "0*"


def test_an_ignored_group_without_failures_can_be_found_and_reopened(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    Triage(backend.broker).ignore(Fingerprint(NAME, "shop.pay", ""), "", "ben", "", FOR_GOOD)

    page = ada.sees("failure/", tab="ignored")

    assert tabs(page)["ignored"] == "1*"
    assert "<strong>0</strong>" in page
    assert "Retry all" not in page
    decide(ada, "reopen", tab="ignored")
    assert tabs(ada.sees("failure/", tab="all"))["all"] == "0*"


def test_nobody_overrides_what_another_has_decided_meanwhile(
    ada: Staff, staff: Callable[..., Staff], group: Fingerprint
) -> None:
    ben = staff("ben", "view_taskq", "triage_failure")
    old = fields_of(ben.sees("failure/"), "resolve")
    decide(ada, "ignore", span="ever")

    ben.post("failure/do/", **old)

    page = ben.sees("failure/", tab="ignored")
    assert "Somebody else has decided" in page
    assert "Ignored by ada" in page
    assert LogEntry.objects.count() == 1


def test_what_was_decided_is_in_both_logs(
    ada: Staff, backend: RedisBackend, group: Fingerprint
) -> None:
    decide(ada, "ignore", span="day", why="a  known\nbug")

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (ada.user, str(group))
    assert json.loads(entry.change_message)["told"] == {"for": "day", "why": "a known bug"}
    (line,) = Audit(backend.broker).read(9)
    assert (line.deed.verb, line.deed.kind, line.deed.things) == ("ignore", "failure", [str(group)])
    for where in ("", "redis"):
        page = ada.sees("audit/", where=where)
        assert "Ignore" in page
        assert str(group) in page
        assert "a known bug" in page
        assert '<span class="tq-quiet">for</span> <bdi>1 day</bdi>' in page


@pytest.mark.parametrize("verb", ["ignore", "reopen"])
def test_what_was_decided_is_said_in_a_sentence(
    ada: Staff, backend: RedisBackend, group: Fingerprint, verb: str
) -> None:
    said = {"ignore": "These failures are ignored", "reopen": "These failures are open again"}
    if verb == "reopen":
        Triage(backend.broker).ignore(group, "", "ben", "", FOR_GOOD)

    decide(ada, verb, tab="all", span="week")

    assert f"{said[verb]}: builtins.ValueError." in ada.sees("failure/")


@pytest.mark.parametrize(
    "fields",
    [
        {"verb": "delete"},
        {"verb": ""},
        {"verb": "ignore", "span": "nonsense"},
        {"verb": "ignore"},
        {"verb": "resolve", "exception": ""},
        {"verb": "resolve", "place": "x" * 1_001},
        {"verb": "resolve", "task": "\x00"},
    ],
)
def test_a_form_that_makes_no_sense_changes_nothing(
    ada: Staff, backend: RedisBackend, group: Fingerprint, fields: dict[str, str]
) -> None:
    said = {**group._asdict(), "seen": "", **fields}

    assert ada.post("failure/do/", **said).status_code == 404

    assert verdicts(Triage(backend.broker)) == {}
    assert not LogEntry.objects.exists()


def test_who_may_only_look_is_offered_nothing(
    staff: Callable[..., Staff], group: Fingerprint
) -> None:
    page = staff("eve", "view_taskq").sees("failure/")

    assert NAME in page
    assert not re.search(r'value="(resolve|ignore|reopen)"', page)


@pytest.mark.parametrize("tab", ["", "open", "nonsense", "\x00"])
def test_the_tab_of_what_is_open_comes_first(ada: Staff, group: Fingerprint, tab: str) -> None:
    assert tabs(ada.sees("failure/", tab=tab))["open"] == "1*"


def test_where_nothing_failed_each_tab_says_so(ada: Staff, hand: Hand) -> None:
    assert "Nothing has failed." in ada.sees("failure/")
    for tab in ("ignored", "resolved", "all"):
        assert "There are none." in ada.sees("failure/", tab=tab)


# -- all of a group --------------------------------------------------------------------------------


def die(hand: Hand, *failures: Failure) -> list[Any]:
    """Jobs of one task that died of these."""
    results = tasks.nothing.enqueue_many([()] * len(failures))
    by_id = dict(zip([result.id for result in results], failures, strict=True))
    hand.settle(
        *(
            Outcome(grant, Kind.DEAD, encode_failure(by_id[grant.id]), DAY)
            for grant in hand.claim(len(failures))
        )
    )
    return results


def traceback(file: str) -> str:
    return f'Traceback (most recent call last):\n  File "/srv/{file}", line 1, in f\n    x\nE: no\n'


@pytest.mark.parametrize("verb", ["retry", "delete"])
@pytest.mark.parametrize("meant", [0, 1, 2, 3])
def test_what_is_done_to_a_group_is_done_to_no_other(
    ada: Staff,
    backend: RedisBackend,
    hand: Hand,
    jobs: Callable[..., list[str]],
    verb: str,
    meant: int,
) -> None:
    """Not to one whose exception's name goes on, nor to one that has a place where it has none."""
    results = die(
        Hand(at(backend, HOUR)),  # what has just ended is deleted a little later
        Failure("shop.Refused", b=traceback("a.py")),
        Failure("shop.Refused", b=traceback("b.py")),
        Failure("shop.RefusedForGood", b=traceback("a.py")),
        Failure("shop.Refused"),
    )
    hand.claim()  # so that somebody serves the queue
    keys = [("Refused", "a.py: f"), ("Refused", "b.py: f"), ("RefusedForGood", "a.py: f")]
    exception, place = [*keys, ("Refused", "-")][meant]
    forms = re.findall(r"<form.*?</form>", ada.sees("failure/"), re.DOTALL)
    sent = [dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)) for form in forms]
    (fields,) = [
        each
        for each in sent
        if (each.get("verb"), each.get("error")) == (verb, f"shop.{exception}")
        and each["place"].endswith(place)
    ]

    ada.post("job/do/", **fields, confirmed="1")
    hand.run(1)

    left = [result.id for at, result in enumerate(results) if at != meant]
    assert sorted(jobs(State.DEAD)) == sorted(left)


# -- how often -------------------------------------------------------------------------------------


def test_a_group_says_how_often_it_failed_of_late(ada: Staff, backend: RedisBackend) -> None:
    fail(backend, 1_000, 2_000, 2 * HOUR, 3 * HOUR, 30 * HOUR, 8 * DAY)

    page = ada.sees("failure/")

    facts = re.search(r'<p class="tq-facts"><span><span class="tq-quiet">last hour.*?</p>', page)
    assert facts
    assert re.findall(r"</span> (\d+)<", facts[0]) == ["2", "4", "5"]
    (drawing,) = re.findall(r'<svg class="tq-chart".*?</svg>', page, re.DOTALL)
    assert "Failures per hour of the last 24 hours" in drawing
    assert "4 jobs, at most 2 in an hour" in drawing
    assert drawing.count("<rect") == 3


def test_hours_are_counted_up_to_now() -> None:
    now = 100 * DAY
    moments = [now + 5, now, now - HOUR + 1, now - HOUR, now - DAY + 1, now - DAY]
    group = Group(
        Fingerprint("E", "t", ""),
        [Member(moment, None, "") for moment in sorted(moments)],  # type: ignore[arg-type]
    )

    hours = failures.per_hour(group, now)

    assert (len(hours), hours[-1], hours[-2], hours[0], sum(hours)) == (24, 3, 1, 1, 5)


def test_the_page_says_what_it_looked_at(
    ada: Staff, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(backend, 0, 0, 0)
    assert "in all: older ones are not counted" not in ada.sees("failure/")
    monkeypatch.setattr(failures, "NEWEST", 2)

    page = ada.sees("failure/")

    assert "Of the newest 2 jobs" in page
    assert "There are 3 in all: older ones are not counted here." in page
    assert "<strong>2</strong>" in page


def test_failures_that_are_decided_are_said_to_keep_older_ones_out_of_sight(
    ada: Staff, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(backend, 0, 0)
    decide(ada, "ignore", span="week", why="known")
    die(Hand(at(backend, HOUR)), Failure("shop.Refused"))
    for page in ("failure/", "dashboard/"):
        assert "shop.Refused" in ada.sees(page)
        assert "older ones were not looked at" not in ada.sees(page)
    monkeypatch.setattr(failures, "NEWEST", 2)
    monkeypatch.setattr(dashboard, "NEWEST", 2)

    for page in ("failure/", "dashboard/"):
        seen = ada.sees(page)
        assert "shop.Refused" not in seen
        assert "Of the newest 2 failures 2 are ignored or resolved: older ones" in seen
    assert "older ones were not looked at" not in ada.sees("failure/", tab="ignored")


def test_of_many_groups_the_largest_are_shown(
    ada: Staff, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_SHOWN", 2)
    die(hand, *(Failure(f"shop.{name}") for name in ("A", "B", "B", "C", "C")))

    page = ada.sees("failure/")

    assert "These are the largest 2 of 3 groups." in page
    assert sorted(re.findall(r">shop\.(\w)</a>", page)) == ["B", "C"]


@pytest.mark.parametrize(
    ("releases", "told"),
    [
        (("1.9", "2.0", "2.1"), "1.9 – 2.1"),
        (("2.0", "", "2.0"), "2.0"),
        (("", "2.0"), "2.0"),
        (("2.0", ""), "2.0"),
        (("", ""), None),
    ],
)
def test_a_group_says_in_which_releases_it_failed_first_and_last(
    ada: Staff, backend: RedisBackend, releases: tuple[str, ...], told: str | None
) -> None:
    for ago, release in zip((3_000, 2_000, 1_000), releases, strict=False):
        die(Hand(at(backend, ago)), Failure(c="E", b=traceback("a.py"), r=release))

    (facts,) = re.findall(r">release</span> (.*?)</span>", ada.sees("failure/")) or [None]

    assert (facts and re.sub(r"</?bdi>", "", facts)) == told


def test_a_group_says_in_which_queues_it_fails(ada: Staff, hand: Hand) -> None:
    for queue in ("default", "low"):
        tasks.fail.using(max_attempts=1, queue_name=queue).enqueue("x")
        hand.run(queue=queue)

    page = ada.sees("failure/")

    assert '<span class="tq-quiet">queues</span> <code>default</code>, <code>low</code>' in page
