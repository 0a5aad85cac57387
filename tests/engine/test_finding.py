"""Which jobs a filter means, and that a bulk job means the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_taskq import bulk, context, task
from django_taskq.backends import RedisBackend
from django_taskq.broker.inspector import Inspector, Row
from django_taskq.clock import now_ms
from django_taskq.codec import decode, encode
from django_taskq.compat import task_backends
from django_taskq.finding import HEAD, NOWHERE, TAIL, Filter
from django_taskq.job import State
from django_taskq.operations import Operations, Params
from tests.conftest import eventually
from tests.engine import tasks
from tests.engine.support import Hand, configured
from tests.security.tasks import log_in, loose

NOW = 10**13  # far ahead of every job


@task
def ship(order: int, to: dict[str, Any], note: str = "") -> None:
    """Has an argument of each kind."""


@pytest.fixture
def row(backend: RedisBackend) -> Any:
    """The job of a result as a search has it."""

    def read(result: Any) -> Row:
        sizes = {("default", state): 100 for state in State}
        page = Inspector(backend.broker).search(sizes, Filter().matches(), HEAD, TAIL)
        return next(row for row in page.rows if row.id == result.id)

    return read


@pytest.mark.parametrize(
    ("arg", "is_meant"),
    [
        ("order:42", True),
        ("order:4", False),
        ("order:142", False),
        ("note:ring", True),
        ('note:the "bell"', True),
        ("note:42", False),
        ("other:42", False),
        ("to:Delft", True),
        ('to:{"city":"Delft"}', True),
        ("to:Leiden", False),
    ],
)
def test_an_argument_is_found_by_its_name_and_value(row: Any, arg: str, is_meant: bool) -> None:
    found = row(ship.enqueue(42, {"city": "Delft"}, note='ring the "bell"'))

    assert Filter(arg=arg).is_meant(found, None) is is_meant


def test_the_server_finds_every_job_whose_argument_is_meant(backend: RedisBackend) -> None:
    """What it looks for in the raw envelope leaves nothing out, however the value is written."""
    made = ship.enqueue(42, {"a": 'say "no"'}, note='say "no"\n\u00e9')
    inspector = Inspector(backend.broker)

    for value in ("order:42", "note:say", 'note:"no"', "note:\u00e9", "note:\n", 'to:\\"no\\"'):
        wanted = Filter(arg=value)
        page = inspector.search({("default", State.READY): 9}, wanted.matches(), wanted.head)
        assert [row.id for row in page.rows if wanted.is_meant(row, None)] == [made.id], value


@pytest.mark.parametrize(
    "arg", ["password:hunter2", "password:*", "password:", "card:hunter2", "rest[0]:hunter2"]
)
def test_a_sensitive_argument_is_never_found(row: Any, arg: str) -> None:
    for result in (
        log_in.enqueue("ada", password="hunter2", card={"number": "hunter2"}),
        loose.enqueue(1, "hunter2"),
    ):
        assert not Filter(arg=arg).is_meant(row(result), None)


def test_an_argument_of_a_task_that_is_unknown_here_is_not_found(
    row: Any, backend: RedisBackend
) -> None:
    from django_taskq.broker.broker import Draft

    backend.broker.enqueue("default", [Draft("stranger.1", b'["shop.unknown",1,[],{"a":"b"}]')])
    page = Inspector(backend.broker).search({("default", State.READY): 9}, Filter().matches())

    assert [row.id for row in page.rows] == ["stranger.1"]
    assert not Filter(arg="a:b").is_meant(page.rows[0], None)


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        (Filter(user="7"), True),
        (Filter(user="77"), False),
        (Filter(user="7", request="r-1"), True),
        (Filter(request="r-"), False),
        (Filter(request="r-2"), False),
    ],
)
def test_what_goes_along_is_found_by_its_whole_value(
    url: str, prefix: str, wanted: Filter, is_meant: bool
) -> None:
    entry = configured(url, prefix, CONTEXT=["user", "request"])
    with override_settings(TASKS={"default": entry}):
        tokens = [(variable, variable.set(value)) for variable, value in along()]
        made = tasks.nothing.enqueue()
        for variable, token in tokens:
            variable.reset(token)
        inspector = Inspector(task_backends["default"].broker)
        page = inspector.search({("default", State.READY): 9}, wanted.matches(), wanted.head)

    found = [row.id for row in page.rows if wanted.is_meant(row, None)]
    assert found == ([made.id] if is_meant else [])


def along() -> Iterator[tuple[Any, str]]:
    yield context.user_id, "7"
    yield context.request_id, "r-1"


def test_attempts_count_the_one_under_way(row: Any, hand: Hand) -> None:
    made = tasks.fail.enqueue()
    hand.run()
    assert Filter(tried=1).is_meant(row(made), None)
    assert not Filter(tried=2).is_meant(row(made), None)
    hand.promote()

    hand.claim(1)

    assert Filter(tried=2).is_meant(row(made), None)
    assert not Filter(tried=3).is_meant(row(made), None)


def test_a_job_ran_as_long_as_its_last_attempt(row: Any, hand: Hand) -> None:
    """Not until it ended: one that backs off for a day and is cancelled then ran for a moment."""
    failed = tasks.fail.using(backoff=86_400, max_attempts=3).enqueue()
    hand.run()
    running = tasks.nothing.enqueue()
    hand.claim(1)
    waits = tasks.nothing.enqueue()

    assert not Filter(took=60_000).is_meant(row(failed), None, NOW)
    assert Filter(took=60_000).is_meant(row(running), None, NOW)
    assert not Filter(took=1).is_meant(row(waits), None, NOW)


def test_a_job_is_found_by_the_process_that_had_it(row: Any, hand: Hand) -> None:
    made = tasks.nothing.enqueue()
    assert not Filter(worker=hand.holder).is_meant(row(made), None)
    hand.run()

    assert Filter(worker=hand.holder).is_meant(row(made), None)
    assert Filter(worker=hand.holder[3:9]).is_meant(row(made), None)
    assert not Filter(worker="somebody else").is_meant(row(made), None)


@pytest.mark.parametrize("error", ["", "builtins.ValueError"])
def test_a_job_that_never_failed_is_in_no_group(row: Any, error: str) -> None:
    made = row(tasks.add.enqueue(1))

    assert Filter().is_meant(made, None)
    assert not Filter(place=NOWHERE, error=error).is_meant(made, None)


# -- in a bulk job ---------------------------------------------------------------------------------


def test_everything_that_matches_honours_every_filter(backend: RedisBackend, hand: Hand) -> None:
    hit = tasks.add.enqueue(42)
    tasks.add.enqueue_many([(n,) for n in range(5)])
    wanted = Filter(arg="a:42", tried=1, worker=hand.holder)
    hand.claim(10)
    order = bulk.Order("cancel", ["default"], [State.RUNNING], wanted, Params(by="ada"), NOW)

    done = bulk.carry_out(Operations(backend.broker), order, "", lambda progress: None)

    assert done == {"done": 1}
    asked = backend.server.command("HKEYS", backend.broker.key("default", "cancels"))
    assert asked == [hit.id.encode()]


@pytest.mark.parametrize(("took", "done"), [(3_600_000, {}), (1, {"done": 1})])
def test_how_long_a_job_runs_is_told_by_redis_clock(
    backend: RedisBackend, hand: Hand, monkeypatch: pytest.MonkeyPatch, took: int, done: Any
) -> None:
    """This machine's is two hours ahead, or behind."""
    tasks.add.enqueue(42)
    hand.claim()
    before = now_ms()
    eventually(lambda: now_ms() > before + 1)
    ahead = 7_200_000 if took > 1 else -7_200_000
    for module in ("operations", "finding"):
        monkeypatch.setattr(f"django_taskq.{module}.now_ms", lambda: now_ms() + ahead)
    order = bulk.Order(
        "cancel", ["default"], [State.RUNNING], Filter(took=took), Params(by="ada"), NOW
    )

    assert bulk.carry_out(Operations(backend.broker), order, "", lambda told: None) == done


def test_an_order_of_an_earlier_release_is_read() -> None:
    old = {
        "verb": "retry",
        "queues": ["default"],
        "states": ["dead"],
        "wanted": {"task": "t", "tag": "", "error": "", "text": "", "place": "", "since": 0},
        "params": Params(by="ada")._asdict(),
        "asked": 1,
    }

    assert bulk.from_json(old).wanted == Filter(task="t")


def test_an_order_says_only_what_it_asks_for() -> None:
    """So that workers of an earlier release understand what they can do, and refuse the rest."""
    wanted = Filter(task="t", tried=2)
    order = bulk.Order("retry", ["default"], [State.DEAD], wanted, Params(by="ada"), 1)

    raw = bulk.to_json(order)

    assert raw["wanted"] == {"task": "t", "tried": 2}
    assert bulk.from_json(raw) == order
    assert encode(raw)


@pytest.mark.parametrize("place", ["shop/tasks.py: send", NOWHERE])
def test_a_group_is_asked_for_so_that_an_earlier_release_refuses(place: str) -> None:
    wanted = Filter(task="t", error="shop.Refused", place=place)
    order = bulk.Order("delete", ["default"], [State.DEAD], wanted, Params(by="ada"), 1)

    raw = bulk.to_json(order)

    with pytest.raises(TypeError):
        Filter(**raw["wanted"])  # as that one reads it
    assert bulk.from_json(decode(encode(raw))) == order
