"""The log of who did what, as Redis keeps it."""

from __future__ import annotations

import pytest

from django_taskq.broker import audit as module
from django_taskq.broker.audit import Audit, Line
from django_taskq.broker.broker import Broker
from django_taskq.broker.keys import global_key
from django_taskq.exceptions import BrokerError


def verbs(lines: list[Line]) -> list[str]:
    return [line.deed.verb for line in lines]


def test_what_was_done_last_is_read_first(broker: Broker) -> None:
    audit = Audit(broker)
    audit.write("ada", "pause", "queue", ["mail"], {"why": "moving"})
    audit.write("cron@host", "run", "schedule", ["nightly"], outcome={"done": 1})

    last, first = audit.read(10)

    assert (first.deed.by, first.deed.verb, first.deed.kind) == ("ada", "pause", "queue")
    assert (first.deed.things, first.deed.told, first.deed.outcome) == (
        ["mail"],
        {"why": "moving"},
        {},
    )
    assert (last.deed.by, last.deed.outcome) == ("cron@host", {"done": 1})
    assert last.at >= first.at > 1_700_000_000_000


def test_a_page_goes_on_where_the_one_before_ended(broker: Broker) -> None:
    audit = Audit(broker)
    for number in range(5):
        audit.write("ada", str(number), "job", [])

    page = audit.read(2)

    assert verbs(page) == ["4", "3"]
    assert verbs(audit.read(2, page[-1].place)) == ["2", "1"]
    assert verbs(audit.read(9, audit.read(9)[-1].place)) == []


def test_a_deed_to_many_names_the_first_and_says_how_many(broker: Broker) -> None:
    Audit(broker).write("ada", "retry", "job", [f"id{n}" for n in range(250)])

    (line,) = Audit(broker).read(1)

    assert (line.deed.count, len(line.deed.things), line.deed.things[99]) == (250, 100, "id99")


def test_long_texts_are_cut(broker: Broker) -> None:
    Audit(broker).write("a" * 900, "pause", "queue", [], {"why": "b" * 900, "minutes": 5})

    (line,) = Audit(broker).read(1)

    assert line.deed.by == "a" * 500
    assert line.deed.told == {"why": "b" * 500, "minutes": 5}


def test_a_log_of_another_kind_is_said_in_the_brokers_words(broker: Broker) -> None:
    broker.server.command("SET", global_key(broker.prefix, "audit"), "what a person did")

    with pytest.raises(BrokerError, match="cannot be read"):
        Audit(broker).read(1)
    with pytest.raises(BrokerError, match="takes no lines"):
        Audit(broker).write("ada", "pause", "queue", [])


def test_whatever_a_form_said_a_line_is_bounded(broker: Broker) -> None:
    Audit(broker).write(
        "ada", "retry", "job", ["x" * 5_000] * 200, {"all": {"q": "y" * 5_000}}, {"done": 1}
    )

    (line,) = Audit(broker).read(1)

    assert {len(thing) for thing in line.deed.things} == {500}
    assert line.deed.told == {"all": {"q": "y" * 500}}
    assert line.deed.outcome == {"done": 1}


def test_only_the_last_lines_are_kept(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are cut in whole nodes of 100 entries."""
    monkeypatch.setattr(module, "KEPT", 100)
    for number in range(450):
        Audit(broker).write("ada", str(number), "job", [])

    left = Audit(broker).read(1_000)

    assert 100 <= len(left) <= 201
    assert left[0].deed.verb == "449"


def test_a_line_that_cannot_be_read_is_left_out(broker: Broker) -> None:
    audit = Audit(broker)
    audit.write("ada", "pause", "queue", ["mail"])
    key = global_key(broker.prefix, "audit")
    broker.server.command("XADD", key, "*", "token", "t", "deed", "{")
    broker.server.command("XADD", key, "*", "other", "[]")
    broker.server.command("XADD", key, "*", "deed", b'{"by":"\xff"}')

    assert verbs(audit.read(10)) == ["pause"]
