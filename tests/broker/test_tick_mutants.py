"""The tests of ticks are tested: with one line of a script changed, one of them has to fail."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker import broker as module
from django_taskq.broker.almanac import Almanac
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from tests.broker import test_ticks
from tests.broker.mutants import Mutant, check, each, laws
from tests.conftest import FakeTime

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
    Mutant("pauses-for-ever", "tick", "if ends == 0 or ends > now then return said end"),
    Mutant("pauses-too-long", "tick", "ends > now", "ends >= now"),
    Mutant("ends-a-pause-without-end", "tick", "ends == 0 or ends > now", "ends > now"),
    Mutant("keeps-what-is-over", "tick", "send('HDEL', pauses, ended)"),
    Mutant("reads-what-is-over", "agenda", "if is_over then found = pack_ticked(r) end"),
    Mutant("leaves-it-to-ticks", "agenda", "begins or is_over or", "begins or"),
    Mutant("keeps-a-note-for-ever", "agenda", "send('HDEL', pauses, over)"),
    Mutant("takes-an-old-end", "tick", "if last ~= r.last then return '' end"),
    Mutant("loses-an-end-with-the-times", "agenda", "send('HSET', pauses, said)"),
    Mutant("binds-nothing", "steer", "since, r.last) .. words", "since, 0) .. words"),
    Mutant(
        "believes-any-time",
        "agenda",
        "r.seen) >= FAR",
        "r.seen) < 0",
    ),
    Mutant("keeps-a-note-after-a-skip", "steer", "elseif paused == 0 then", "elseif false then"),
    Mutant("same-pause-with-an-end", "steer", "is_so = length == 0 and", "is_so ="),
    Mutant("same-pause-for-another-reason", "steer", "== words", "~= ''"),
    Mutant("keeps-a-pause-of-the-forgotten", "retire", "send('HDEL', pauses, old)"),
    Mutant("steers-twice", "steer", "if before then return before end"),
    Mutant("forgets-what-is-known", "retire", "< now - tonumber(ARGV[3])", "<= now"),
]


LAWS = list(laws(test_ticks, known=("almanac", "broker", "clock", "begun")))


def made(broker: Broker, clock: FakeTime, wanted: set[str]) -> dict[str, Any]:
    """What tests of ticks want besides."""
    almanac = Almanac(broker)
    if "begun" in wanted:
        almanac.agenda(test_ticks.QUEUE, [(test_ticks.NAME, test_ticks.PRINT)])
    return {"almanac": almanac, "begun": clock()}


def test_they_hold_without_a_mutant(server: Server) -> None:
    assert len(LAWS) > 20
    check(server, LAWS, made)


@each(MUTANTS)
def test_a_test_notices(mutant: Mutant, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load", mutant.load)

    with pytest.raises(AssertionError):
        check(server, LAWS, made)
