"""The tests of counts are tested: with one line of a script changed, one of them has to fail."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker import broker as module
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.inspector import Inspector
from tests.broker import test_counts
from tests.broker.helpers import Child
from tests.broker.mutants import Mutant, check, each, laws
from tests.conftest import FakeTime

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
    Mutant("backlog-lost", "measure", "whole[name] = (whole[name] or 0) + count"),
    Mutant("backlog-unsampled", "measure", "N = 1", "N = 0"),
    Mutant("empty-tasks-kept", "measure", "if next(tasks) then", "if true then"),
    Mutant("reclaims-uncounted", "reclaim", "K = #hopeless, C = #called_off, X = crashed", ""),
]


LAWS = list(laws(test_counts, known=("broker", "clock", "child", "inspector")))


def made(broker: Broker, clock: FakeTime, wanted: set[str]) -> dict[str, Any]:
    """What tests of counts want besides."""
    return {"child": Child(broker), "inspector": Inspector(broker)}


def test_they_hold_without_a_mutant(server: Server) -> None:
    assert len(LAWS) > 20
    check(server, LAWS, made)


@each(MUTANTS)
def test_a_test_notices(mutant: Mutant, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load", mutant.load)

    with pytest.raises(AssertionError):
        check(server, LAWS, made)
