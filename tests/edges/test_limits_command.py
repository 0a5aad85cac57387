"""``taskq limits``: who waits under which limit, and other numbers for one."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_taskq.backends import RedisBackend
from django_taskq.broker.audit import Audit
from django_taskq.broker.broker import HOUSEKEEPING
from django_taskq.broker.inspector import Inspector
from django_taskq.limits import Limit, Rate
from tests.broker.helpers import refuse_later
from tests.engine.support import Hand
from tests.engine.tasks import narrow, nothing, of_tenant, slow

NAME = f"task:{narrow.module_path}"


def taskq(*words: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("taskq", "limits", *words, stdout=out, no_color=True)
    assert left.value.code == 0
    return out.getvalue()


def read(*words: str) -> Any:
    return json.loads(taskq(*words, "--json"))


def by_hand(backend: RedisBackend, name: str = NAME) -> Limit | None:
    state = Inspector(backend.broker).limits("default").get(name)
    assert state
    return state.by_hand


@pytest.fixture
def waiting(hand: Hand) -> Hand:
    """Two jobs inside a limit of two, and three that wait."""
    narrow.enqueue_many([(n,) for n in range(5)])
    hand.claim()
    return hand


def test_a_limit_gets_another_number(backend: RedisBackend, waiting: Hand) -> None:
    said = taskq("default", NAME, "--concurrency", "4")

    assert said == f"{NAME}: concurrency 4. Let in: 2.\n"
    assert by_hand(backend) == Limit(4)
    (row,) = read()
    assert (row["concurrency"], row["by_hand"], row["numbers_of"]) == (4, "yes", NAME)
    (line,) = Audit(backend.broker).read(1)
    assert (line.deed.verb, line.deed.things) == ("limit", ["default"])
    assert line.deed.told["concurrency"] == 4


def test_what_is_not_said_stays(backend: RedisBackend, waiting: Hand) -> None:
    taskq("default", NAME, "--rate", "10/s", "--burst", "3")
    assert by_hand(backend) == Limit(2, Rate(10, 1, burst=3))
    taskq("default", NAME, "--concurrency", "7")
    assert by_hand(backend) == Limit(7, Rate(10, 1, burst=3))
    taskq("default", NAME, "--concurrency", "none")
    assert by_hand(backend) == Limit(None, Rate(10, 1, burst=3))
    taskq("default", NAME, "--rate", "none", "--concurrency", "1")
    assert by_hand(backend) == Limit(1)


def test_a_limit_is_released(backend: RedisBackend, waiting: Hand) -> None:
    taskq("default", NAME, "--concurrency", "1")

    answer = read("default", NAME, "--release")

    assert answer == {
        "limit": NAME,
        "concurrency": 2,
        "rate": None,
        "burst": None,
        "changed": True,
        "let_in": 0,
    }
    assert by_hand(backend) is None
    assert read("default", NAME, "--release")["changed"] is False


def test_what_was_done_in_part_is_written_down(
    backend: RedisBackend, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of many keys takes several calls."""
    of_tenant.enqueue_many([(tenant, n) for tenant in range(HOUSEKEEPING + 1) for n in range(2)])
    for _ in range(3):
        hand.claim(500)
    refuse_later(monkeypatch, "limit")

    with pytest.raises(CommandError, match="full"):
        call_command("taskq", "limits", "default", "key:tenant:{tenant}", "--concurrency", "2")

    assert by_hand(backend, "key:tenant:{tenant}") == Limit(2)
    (line,) = Audit(backend.broker).read(1)
    assert (line.deed.verb, line.deed.things) == ("limit", ["default"])
    assert line.deed.told["concurrency"] == 2
    assert line.deed.outcome == {"unsure": 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("default", NAME, "--rate", "fast"), "rate='fast': must be a number per time"),
        (("default", NAME, "--concurrency", "many"), "concurrency='many': must be a whole number"),
        (("default", NAME, "--concurrency", "0"), "concurrency=0: must be a whole number from 1"),
        (("default", NAME, "--burst", "3"), "burst: needs a rate"),
        (("default", NAME, "--concurrency", "none"), "a limit needs a number"),
        (("default", NAME, "--release", "--rate", "1/s"), "--release takes no numbers"),
        (("default", "task:other", "--rate", "1/s"), "ever came with the limit 'task:other'"),
        (("default", "--rate", "1/s"), "say the queue and the name"),
        (("--release",), "say the queue and the name"),
        (("nowhere",), "no queue of the name 'nowhere' has taken a job"),
    ],
)
def test_what_cannot_be_is_said(
    backend: RedisBackend, waiting: Hand, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        call_command("taskq", "limits", *words)

    assert by_hand(backend) is None
    assert Audit(backend.broker).read(1) == []


def test_the_limits_of_a_queue_or_one_of_them_are_listed(backend: RedisBackend, hand: Hand) -> None:
    for tenant in (1, 2):
        of_tenant.enqueue_many([(tenant, n) for n in range(2)])
    slow.enqueue(1)
    nothing.using(queue_name="low").enqueue()
    hand.claim()

    rows = {row["limit"]: row for row in read("default")}

    assert {*rows} == {"key:tenant:1", "key:tenant:2", f"task:{slow.module_path}"}
    assert rows["key:tenant:1"]["numbers_of"] == "key:tenant:{tenant}"
    assert rows["key:tenant:1"]["concurrency"] == 1
    assert read("low") == []
    assert [row["limit"] for row in read("default", "key:tenant:2")] == ["key:tenant:2"]
    assert len(read("default", "key:tenant:{tenant}")) == 2


def test_a_limit_that_nobody_uses_now_is_listed_too(backend: RedisBackend) -> None:
    narrow.using(run_after=3600).enqueue(1)

    (row,) = read()

    assert (row["limit"], row["waiting"], row["inside"], row["concurrency"]) == (NAME, 0, 0, 2)
    assert "-" in taskq().splitlines()[1]
