"""Lists of jobs: pages that miss nothing, searches that are bounded, one job with its queue."""

from __future__ import annotations

import random
from typing import Any

import pytest

from django_taskq.broker import scripts
from django_taskq.broker.broker import CHUNK, Broker
from django_taskq.broker.inspector import Inspector, Match, Place
from django_taskq.broker.inspector import jobs as browsing
from django_taskq.codec import encode_envelope
from django_taskq.job import Envelope, State
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    Child,
    Draft,
    draft,
    dump,
    outcome,
    put,
    seed,
    seed_all,
)


@pytest.fixture
def inspector(broker: Broker) -> Inspector:
    return Inspector(broker)


def everything(
    inspector: Inspector, state: State, size: int, queues: tuple[str, ...] = (QUEUE,), **how: bool
) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    after: Place | None = None
    while True:
        page = inspector.page(queues, state, after, size=size, **how)  # type: ignore[arg-type]
        ids += [row.id for row in page.rows]
        after = page.after
        if after is None:
            return ids


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("size", [1, 3, 50])
def test_pages_have_every_job_once(
    broker: Broker, inspector: Inspector, size: int, newest_first: bool
) -> None:
    """Many of them have one score, where only the id says what comes next."""
    ids = [f"{prefix}-{number}" for number in range(10) for prefix in "aBZ_~"]
    random.Random(1).shuffle(ids)
    put(broker, ids[:40], due=5_000_000_000_000)
    put(broker, ids[40:], due=5_000_000_000_001)

    found = everything(inspector, State.SCHEDULED, size, newest_first=newest_first)

    order = sorted(ids[:40]) + sorted(ids[40:])
    assert found == (order[::-1] if newest_first else order)


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_of_large_jobs_have_every_job_once(
    broker: Broker, inspector: Inspector, newest_first: bool
) -> None:
    """A look ends after a megabyte: at some forty of these."""
    large = encode_envelope(Envelope(TASK, 1, ["x" * 30_000]), 1 << 20)
    ids = [f"large-{n:02}" for n in range(60)]
    due = 5_000_000_000_000
    drafts = [draft(id, due=due + n)._replace(envelope=large) for n, id in enumerate(ids)]
    broker.enqueue(QUEUE, drafts)
    how = {"newest_first": newest_first}
    assert everything(inspector, State.SCHEDULED, 50, **how) == (ids[::-1] if newest_first else ids)

    put(broker, ["small-a"], "other", due=due - 1)
    put(broker, ["small-b"], "other", due=due + 45)
    put(broker, ["small-c"], "other", due=due + 99)
    order = ["small-a", *ids[:46], "small-b", *ids[46:], "small-c"]
    found = everything(inspector, State.SCHEDULED, 50, (QUEUE, "other"), **how)
    assert found == (order[::-1] if newest_first else order)


def test_a_page_goes_on_where_the_last_one_ended_whatever_has_gone(
    broker: Broker, inspector: Inspector
) -> None:
    put(broker, "abcdef", due=5_000_000_000_000)
    first = inspector.page([QUEUE], State.SCHEDULED, size=3)
    assert [row.id for row in first.rows] == ["f", "e", "d"]
    for id in "dfb":
        broker.server.command("ZREM", broker.key(QUEUE, "scheduled"), id)
    put(broker, ["e2"], due=5_000_000_000_000)

    second = inspector.page([QUEUE], State.SCHEDULED, first.after, size=3)

    assert ([row.id for row in second.rows], second.after) == (["c", "a"], None)


def test_a_page_merges_queues(broker: Broker, inspector: Inspector) -> None:
    for number in range(7):
        put(broker, [f"job{number}"], "mail" if number % 2 else "images", due=10**13 + number)

    found = everything(inspector, State.SCHEDULED, 2, ("mail", "images", "none"))

    assert found == [f"job{number}" for number in range(6, -1, -1)]


def test_a_ready_job_goes_before_those_of_lower_priority(
    broker: Broker, inspector: Inspector
) -> None:
    put(broker, ["low"], priority=-100)
    put(broker, ["a", "b"])
    put(broker, ["high"], priority=100)

    assert everything(inspector, State.READY, 1, newest_first=False) == ["high", "a", "b", "low"]


def test_a_list_says_what_there_is_of_a_job(broker: Broker, inspector: Inspector) -> None:
    seed_all(broker)
    before = dump(broker)

    (row,) = inspector.page([QUEUE], State.DEAD).rows

    assert (row.id, row.failure, row.failures, row.live.attempt) == ("dead", FAILURE, 1, 1)
    assert "noop" in row.envelope.decode()
    assert "noop" not in repr(row)
    assert dump(broker) == before


def test_large_jobs_come_cut(broker: Broker, inspector: Inspector) -> None:
    large = encode_envelope(Envelope(TASK, 1, ["x" * 900_000]), 1 << 20)
    broker.enqueue(QUEUE, [Draft(f"{n}", large) for n in range(5)])

    page = inspector.page([QUEUE], State.READY)

    assert [row.size for row in page.rows] == [len(large)] * 5
    assert all(len(row.envelope) == browsing.HEAD for row in page.rows)


def test_of_several_failures_the_last_is_told(broker: Broker, inspector: Inspector) -> None:
    put(broker, "a")
    child = Child(broker)
    for number in range(3):
        (grant,) = child.claim()
        child.settle(outcome(grant, "R", b'{"c":"x.Boom%d"}' % number))
        broker.promote(QUEUE, "keeper", force=True)

    (row,) = inspector.page([QUEUE], State.READY).rows

    assert (row.failure, row.failures) == (b'{"c":"x.Boom2"}', 3)
    assert row.failure_size == len(row.failure)


def test_a_long_failure_comes_cut_with_its_length(broker: Broker, inspector: Inspector) -> None:
    line = b'{"c":"x.Boom","b":"%b"}' % (b"x" * 5000)
    put(broker, "a")
    child = Child(broker)
    (grant,) = child.claim()
    child.settle(outcome(grant, "R", b'{"c":"x.First"}'))
    broker.promote(QUEUE, "keeper", force=True)
    (grant,) = child.claim()
    child.settle(outcome(grant, "D", line))

    (row,) = inspector.page([QUEUE], State.DEAD).rows

    assert row.failure == line[: browsing.TAIL]
    assert (row.failure_size, row.failures) == (len(line), 2)


# -- search ----------------------------------------------------------------------------------------


def named(broker: Broker, id: str, task: str, *args: Any, queue: str = QUEUE) -> None:
    raw = encode_envelope(Envelope(task, 1, list(args)), 1 << 20)
    broker.enqueue(queue, [Draft(id, raw)])


def test_a_search_finds_by_task_text_and_failure(broker: Broker, inspector: Inspector) -> None:
    named(broker, "a", "shop.send", "ada@example.com")
    named(broker, "b", "shop.send_all", "ada@example.com")
    named(broker, "c", "shop.send", "bob")
    sizes = {(QUEUE, State.READY): 3}

    def found(match: Match) -> list[str]:
        return sorted(row.id for row in inspector.search(sizes, [match]).rows)

    assert found(Match(("shop.send",))) == ["a", "c"]
    assert found(Match(("shop.send", "shop.send_all"))) == ["a", "b", "c"]
    assert found(Match(text="ada@")) == ["a", "b"]
    assert found(Match(("shop.send",), text="ada@")) == ["a"]
    assert found(Match(failing="Boom")) == []


def test_a_search_finds_by_who_ran_a_job_how_often_and_how_long(
    broker: Broker, inspector: Inspector, clock: Any
) -> None:
    put(broker, ["quick", "slow", "twice"])
    first, second = Child(broker, "first"), Child(broker, "second")
    quick, slow, twice = first.claim(3)
    began = clock.now
    first.settle(outcome(twice, "R", FAILURE, started=began))
    first.settle(outcome(quick, "S", b"1", DAY, started=began))
    broker.promote(QUEUE, "keeper", force=True)
    (again,) = second.claim()
    clock.forward(10_000)
    first.settle(outcome(slow, "S", b"1", DAY, started=began))
    sizes = {(QUEUE, state): 3 for state in State}

    def found(**match: Any) -> list[str]:
        return sorted(row.id for row in inspector.search(sizes, [Match(**match)]).rows)

    assert again.id == "twice"
    assert found(holder="second"[1:4]) == ["twice"]
    assert found(holder="first") == ["quick", "slow"]
    assert found(tried=2) == ["twice"]
    assert found(tried=3) == []
    assert found(took=10_000) == ["slow", "twice"]
    assert found(took=10_001) == []
    assert found(took=10_000, holder="first", text="noop") == ["slow"]


def test_a_name_under_a_signature_is_found(broker: Broker, inspector: Inspector) -> None:
    signed = b"~s1." + b"x" * 43 + b"." + b'["shop.send",1]'
    broker.enqueue(QUEUE, [Draft("a", signed)])

    page = inspector.search({(QUEUE, State.READY): 1}, [Match(("shop.send",))])

    assert [row.id for row in page.rows] == ["a"]


def test_a_search_looks_at_the_newest_and_says_how_many(
    broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "MOST_SEARCHED", 1200)
    named(broker, "old", "shop.send")
    put(broker, [f"job-{n}" for n in range(1500)])
    named(broker, "new", "shop.send")

    page = inspector.search({(QUEUE, State.READY): 1502}, [Match(("shop.send",))])

    assert ([row.id for row in page.rows], page.looked) == (["new"], 1200)


def test_one_look_ends_early_where_jobs_are_large(broker: Broker, inspector: Inspector) -> None:
    large = encode_envelope(Envelope(TASK, 1, ["x" * 500_000]), 1 << 20)
    broker.enqueue(QUEUE, [Draft(f"{n}", large) for n in range(120)])

    page = inspector.search({(QUEUE, State.READY): 120}, [Match(text="nowhere")])

    assert (page.looked, page.is_part) == (20, True)


def test_a_search_has_as_many_matches_as_are_shown_and_says_that_there_are_more(
    broker: Broker, inspector: Inspector
) -> None:
    for n in range(300):
        named(broker, f"job-{n:03}", "shop.send")
    page = inspector.search({(QUEUE, State.READY): 300}, [Match(("shop.send",))])
    assert {row.id for row in page.rows} == {f"job-{n:03}" for n in range(99, 300)}
    assert page.is_part
    whole = inspector.search({(QUEUE, State.READY): 300}, [Match(("shop.send_all",))])
    assert (whole.rows, whole.looked, whole.is_part) == ([], 300, False)


def test_the_newest_are_read_however_large_they_are(broker: Broker, inspector: Inspector) -> None:
    put(broker, [f"{n}" for n in range(110)])
    child = Child(broker)
    failure = b'{"c":"tests.Boom","b":"' + b"x" * 25_000 + b'"}'
    child.settle(*(outcome(grant, "D", failure, DAY) for grant in child.claim(110)))
    page = inspector.newest({(QUEUE, State.DEAD): 110}, 300).page
    assert page.looked == len(page.rows) == 110


def test_a_look_reads_some_jobs_however_large_they_are() -> None:
    assert f"local STEP, BYTES = {browsing.WHOLE}," in scripts.load("scan").source


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([5, 10], [5, 10]),
        ([5, 1000], [5, 95]),
        ([1000, 1000], [50, 50]),
        ([0, 1000], [100]),
        ([10, 60, 1000], [10, 45, 45]),
    ],
)
def test_what_is_looked_at_is_shared_out(sizes: list[int], shares: list[int]) -> None:
    asked = {(f"q{at}", State.READY): size for at, size in enumerate(sizes)}

    assert sorted(browsing.shared_out(asked, 100).values()) == shares


def test_a_walk_meets_every_job_once_though_they_leave(
    broker: Broker, inspector: Inspector
) -> None:
    ids = [f"job-{number}" for number in range(2 * CHUNK + 7)]
    put(broker, ids, due=10**13)
    seen: list[str] = []

    for found in inspector.walk(QUEUE, State.SCHEDULED, Match()):
        rows = found.rows
        assert len(rows) <= 100
        seen += [row.id for row in rows]
        for row in rows[::2]:
            broker.server.command("ZREM", broker.key(QUEUE, "scheduled"), row.id)

    assert seen == sorted(ids)


def test_a_walk_over_what_does_not_match_ends(broker: Broker, inspector: Inspector) -> None:
    put(broker, [f"job-{number}" for number in range(CHUNK + 7)])
    named(broker, "last", "shop.send")

    found = list(inspector.walk(QUEUE, State.READY, Match(("shop.send",))))

    assert [row.id for each in found for row in each.rows] == ["last"]
    assert sum(each.looked for each in found) == CHUNK + 8
    assert [each.rows for each in inspector.walk("none", State.READY, Match())] == [[]]


# -- one -------------------------------------------------------------------------------------------


def test_a_ready_job_knows_how_many_go_before_it(broker: Broker, inspector: Inspector) -> None:
    put(broker, "abc")

    found = inspector.examine(QUEUE, "c")

    assert (found.stored.state, found.standing.ahead) == (State.READY, 2)
    assert found.queue.states[State.READY] == 3


def test_a_running_job_knows_its_holder_and_its_stop(
    broker: Broker, inspector: Inspector, clock: Any
) -> None:
    seed(broker, running="a")
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY, "kill")

    standing = inspector.examine(QUEUE, "a").standing

    assert (standing.stop, standing.lease, standing.ahead) == ("kill", clock.now + LEASE, None)


def test_an_unknown_job_has_no_state(inspector: Inspector) -> None:
    assert inspector.examine(QUEUE, "unknown").stored.state is None


def test_jobs_can_be_peeked_at_by_id(broker: Broker, inspector: Inspector) -> None:
    seed_all(broker)

    rows = inspector.peek(QUEUE, ["dead", "unknown", "running"])

    assert [(row.id, row.state) for row in rows] == [("dead", "dead"), ("running", "running")]
    assert inspector.peek(QUEUE, []) == []
