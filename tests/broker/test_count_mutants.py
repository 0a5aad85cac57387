"""The tests of counts are tested: with one line of a script changed, one of them has to fail."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from django_taskq.broker import broker as module
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.inspector import Inspector
from tests.broker import test_counts
from tests.broker.helpers import Child
from tests.broker.test_mutants import Mutant
from tests.conftest import FakeTime, delete_keys

MUTANTS = [
    Mutant("counts-nothing", "exchange", "  count_in(raised, now)\n"),
    Mutant(
        "counts-what-comes-back", "exchange", "if kind ~= 'G' then raised", "if true then raised"
    ),
    Mutant(
        "cancelled-as-it-came",
        "exchange",
        "kind, counted = 'C', 'C' .. string.sub(counted, 2)",
        "kind = 'C'",
    ),
    Mutant("no-quarantined", "exchange", "count_in({ Q = #broken }, now)"),
    Mutant("minute-never-ends", "exchange", "if minute > open or minute < open - 5", "if false"),
    Mutant("minute-stands", "exchange", "or minute < open - 5 then", "then"),
    Mutant("minute-kept", "exchange", "redis.call('DEL', counting)"),
    Mutant("adds-to-another-span", "exchange", "string.match(field, '^%d+') == number and"),
    Mutant("reads-another-span", "history", "or string.match(text, '^%d+') ~= numbers[i]"),
    Mutant("tasks-without-end", "exchange", "task ~= '*' and #lines < MOST_TASKS", "task ~= '*'"),
    Mutant("minute-without-end", "exchange", "if old[i] or room >= 0 then", "if true then"),
    Mutant(
        "loses-the-rest",
        "exchange",
        "'HINCRBY', counting, counter .. ' *', times",
        "'HLEN', counting",
    ),
    Mutant("names-of-any-length", "exchange", "bar + 1, bar + 200", "bar + 1"),
    Mutant("names-with-spaces", "exchange", "task = string.gsub(task, '%s', '_')"),
    Mutant("cancels-uncounted", "cancel", "  count_in(raised, now)\n"),
    Mutant("parks-uncounted", "park", "count_in(raised, now)\nkeep_rates", "keep_rates"),
    Mutant("reclaims-uncounted", "reclaim", "K = #hopeless, C = #called_off, X = crashed", ""),
]


def laws() -> list[Callable[..., None]]:
    """The tests of counts that need nothing but these arguments."""
    known = {"broker", "clock", "child", "inspector"}
    found = [
        test
        for name, test in vars(test_counts).items()
        if name.startswith("test_") and set(inspect.signature(test).parameters) <= known
    ]
    return [*found, *(weird_name(name) for name in ("a b", "a\nb 1", "é" * 300))]


def weird_name(name: str) -> Callable[..., None]:
    """That test with one of its names."""

    def law(child: Child, inspector: Inspector, clock: Any) -> None:
        test_counts.test_a_name_from_outside_does_no_harm(child, inspector, clock, name)

    return law


def break_one(server: Server) -> None:
    """Runs the tests until one fails."""
    for law in laws():
        clock = FakeTime()
        broker = Broker(server, f"t{uuid4().hex[:12]}", now=clock)
        values: dict[str, Any] = {"broker": broker, "clock": clock, "child": Child(broker)}
        values["inspector"] = Inspector(broker)
        try:
            law(**{name: values[name] for name in inspect.signature(law).parameters})
        finally:
            delete_keys(server, broker.prefix)


def test_they_hold_without_a_mutant(server: Server) -> None:
    assert len(laws()) > 20
    break_one(server)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_test_notices(mutant: Mutant, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load", mutant.load)

    with pytest.raises(AssertionError):
        break_one(server)
