"""The tests of ticks are tested: with one line of a script changed, one of them has to fail."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from django_taskq.broker import broker as module
from django_taskq.broker.almanac import Almanac
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from tests.broker import test_ticks
from tests.broker.test_mutants import Mutant
from tests.conftest import FakeTime, delete_keys

MUTANTS = [
    Mutant("fired-twice", "tick", "elseif due <= r.last then", "elseif false then"),
    Mutant("fired-early", "tick", "tonumber(ARGV[at + 2]) > now", "false"),
    Mutant("fired-while-paused", "tick", "elseif r.flags % 2 == 1 then", "elseif false then"),
    Mutant("skips-for-ever", "tick", "if letter == 'K' then r.flags = r.flags - 2 end"),
    Mutant("skips-never", "tick", "elseif r.flags >= 2 then", "elseif false then"),
    Mutant("overlaps", "tick", "elseif overlap == 'skip' and open[id] then", "elseif false then"),
    Mutant("overlaps-in-a-call", "tick", "open[ARGV[at + 5]] = ready"),
    Mutant("replaces-unasked", "tick", "elseif overlap == 'replace' and open[id]", "elseif false"),
    Mutant("replaces-never", "tick", "or redis.call('HEXISTS', cancels, id) == 0)", "or true)"),
    Mutant("goes-on-behind-a-stop", "tick", "stopped[name] = true"),
    Mutant("stands-still", "tick", "r.last, r.tick = due, due"),
    Mutant("forgets-the-job", "tick", "if letter == 'N' and due ~= '0' then r.id = detail end"),
    Mutant("history-without-end", "tick", "if #text > LOG then", "if false then"),
    Mutant("job-overwritten", "tick", "if known[i] or seen[id] then", "if seen[id] then"),
    Mutant("never-begins", "agenda", "if begins then r.last = math.max(r.last, now) end"),
    Mutant("begins-earlier", "agenda", "math.max(r.last, now)", "now"),
    Mutant("begins-always", "agenda", "local begins = r.print ~= print", "local begins = true"),
    Mutant("steers-twice", "steer", "if before then return before end"),
    Mutant("forgets-what-is-known", "retire", "< now - tonumber(ARGV[3])", "<= now"),
]


def laws() -> list[Callable[..., None]]:
    """The tests of ticks that need nothing but these arguments."""
    known = {"almanac", "broker", "clock", "begun"}
    return [
        test
        for name, test in vars(test_ticks).items()
        if name.startswith("test_") and set(inspect.signature(test).parameters) <= known
    ]


def break_one(server: Server) -> None:
    """Runs the tests until one fails."""
    for law in laws():
        clock = FakeTime()
        broker = Broker(server, f"t{uuid4().hex[:12]}", now=clock)
        values: dict[str, Any] = {"broker": broker, "clock": clock, "almanac": Almanac(broker)}
        try:
            if "begun" in inspect.signature(law).parameters:
                values["almanac"].agenda(test_ticks.QUEUE, [(test_ticks.NAME, test_ticks.PRINT)])
                values["begun"] = clock()
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
