"""The tests of locks, limits and turns are tested: with one line of a script changed, one fails."""

from __future__ import annotations

import pytest
from hypothesis import Phase

from django_taskq.broker import broker as module
from django_taskq.broker.connection import Server
from tests.broker import test_gates, test_limits_by_hand, test_locks, test_replace, test_turns
from tests.broker.mutants import Mutant, check, each, laws
from tests.broker.test_asking import run_asking

EXAMPLES = 300  # sequences of calls, for a mutant that no law notices
pytestmark = pytest.mark.timeout(900)  # for one that lives long, where the machine is busy
OPENS = "redis.call('ZADD', opens, due, gate.name)\n    set_timer(timer, opens, due)"
LOCKED = "elseif lock and locked[lock] then"

MUTANTS = [
    # locks
    Mutant("lock-not-taken", "enqueue", "send('HSET', locks, taken)"),
    Mutant("lock-of-another", "enqueue", LOCKED, "elseif false then"),
    Mutant("lock-twice-in-a-call", "enqueue", "locked[lock] = id"),
    Mutant("lock-after-the-end", "exchange", "unlock(ended_ids, asked, now)"),
    Mutant(
        "lock-after-the-start",
        "exchange",
        "if next(asked) then unlock_started(ids, asked, now) end",
    ),
    Mutant("lock-of-a-broken-job", "exchange", "unlock(broken, asks_of(broken), now)"),
    Mutant("lock-after-a-cancel", "cancel", "unlock(freed, asked, now)"),
    Mutant("lock-after-a-reclaim", "reclaim", "unlock(list, asked, now)"),
    Mutant("lock-of-a-parked-job", "park", "unlock(called_off, asked, now)"),
    Mutant("no-lock-again", "exchange", "relock(again, asked, now)"),
    Mutant("no-lock-when-reclaimed", "reclaim", "relock(again, asked, now)"),
    Mutant("no-lock-when-parked", "park", "relock(aside, asked, now)"),
    Mutant("no-lock-when-retried", "retry", "send('HSET', locks, locks_taken)"),
    Mutant("two-retried-with-one-lock", "retry", "locked[lock] = id"),
    Mutant("lock-of-another-opened", "exchange", "elseif values[i] == owners[i] then", "else"),
    Mutant(
        "lock-of-another-taken",
        "exchange",
        "if not owner or owner == owners[i] then",
        "if true then",
    ),
    Mutant("no-time-after-the-end", "exchange", "values[i] == owners[i] and stays > now", "false"),
    Mutant("time-without-end", "exchange", "send('ZADD', lapses, times)"),
    Mutant("time-of-another", "trim", "if value and not locked_by(value, now)", "if value"),
    # places
    Mutant("place-not-taken", "exchange", "send('ZADD', entered, inside)"),
    Mutant(
        "place-not-counted", "exchange", "gate.inside = gate.inside + 1\n    members", "members"
    ),
    Mutant("place-counted-twice", "exchange", "named[string.match", "seen_gates[string.match"),
    Mutant("place-kept", "exchange", "send('ZREM', entered, members)"),
    Mutant("place-kept-when-reclaimed", "reclaim", "send('ZREM', entered, members)"),
    Mutant("place-kept-when-parked", "park", "leave(moved, asked, unused, now)"),
    # who is let in
    Mutant(
        "nobody-let-in",
        "exchange",
        "if gate.first then open_gate(gate, gate.most > 0 and count or given[name] or 0, now) end",
    ),
    Mutant("nobody-let-in-instead", "exchange", "turned_away[name] or 0", "0"),
    Mutant("nobody-let-in-after-a-cancel", "cancel", "step_out(freed, stood, asked, now)"),
    Mutant("nobody-let-in-after-a-replace", "replace", "step_out(moved, stood, before, now)"),
    Mutant(
        "all-but-one-turned-away",
        "exchange",
        "gate.first = gated_place(gate.name, members[count + 1])",
    ),
    Mutant("passes-who-waits", "exchange", "(gate.first and gate.first < score) or "),
    Mutant("gated-for-ever", "cancel", "send('ZREM', gated, members)"),
    Mutant("gated-and-in-line", "exchange", "redis.call('ZREM', gated, unpack(members))"),
    Mutant("waiting-and-in-line", "exchange", "redis.call('ZREM', waiting, unpack(ids))"),
    Mutant("let-in-asleep", "park", "set_wake(wake, ready)\n  return #members", "return #members"),
    # rates
    Mutant("rate-not-noted", "exchange", "keep_rates(now)\nnote(changed)"),
    Mutant("never-opens", "exchange", OPENS),
    Mutant("opens-untold", "exchange", "set_timer(timer, opens, due)"),
    Mutant("opens-for-ever", "promote", "redis.call('ZREM', opens, name)"),
    Mutant("share-kept", "exchange", "unused[id] = kind == 'G'"),
    Mutant("share-back-after-a-run", "exchange", "unused[id] = kind == 'G'", "unused[id] = true"),
    Mutant("share-kept-when-parked", "park", "unused[id] = true"),
    Mutant("burst-short", "exchange", "+ gate.slack + gate.interval / 100", "+ gate.slack"),
    Mutant("old-numbers", "exchange", "if numbers then gate.most,", "if false then gate.most,"),
    # numbers by hand
    Mutant("by-hand-undone", "enqueue", "by_hand(known) .. numbers[i]", "numbers[i]"),
    Mutant("by-hand-not-seen", "exchange", "#numbers >= NUMBERS", "#numbers == NUMBERS"),
    Mutant("code-not-noted", "enqueue", "if known ~= wanted then", "if not known then"),
    Mutant("raised-for-nobody", "limit", "left = let_in(gate, room)", "left = 0"),
    Mutant("raised-for-one-key", "limit", "cursor = '(' .. name .. '\\1'", "break"),
    Mutant(
        "raised-for-other-limits", "limit", "if limit_of(name, id) == limit then", "if true then"
    ),
    Mutant("raised-beyond-its-room", "limit", "math.min(room_of(gate, now), 1000000)", "1000000"),
    Mutant("raised-twice", "limit", "if before then return before end"),
    Mutant("raised-later", "limit", "\nremember(calls, answers, token, now, answer)\n", "\n"),
    Mutant(
        "goes-on-over-others",
        "limit",
        "if letter == 'O' and ARGV[5] ~= '' then return",
        "if false then return",
    ),
    Mutant(
        "never-given-back", "limit", "numbers .. string.sub(known, -NUMBERS)", "numbers .. known"
    ),
    # turns
    Mutant("turn-not-noted", "enqueue", "send('HSET', turns, flat)"),
    Mutant(
        "turn-behind-its-own",
        "enqueue",
        "math.max(band.turns[ask.key], line.head(priority))",
        "band.turns[ask.key]",
    ),
    Mutant(
        "turn-before-its-own",
        "enqueue",
        "math.max(band.turns[ask.key], line.head(priority))",
        "line.head(priority)",
    ),
    Mutant(
        "turns-at-one-place", "enqueue", "math.max(ask.cost, math.abs(priority) / 128)", "ask.cost"
    ),
    Mutant(
        "line-lost-at-gates", "exchange", "take_turns = serve(scores, turns)", "take_turns = true"
    ),
    Mutant("line-goes-back", "enqueue", "or redis.call('EXISTS', gated) == 0 then", "or true then"),
    Mutant("turns-without-end", "exchange", "redis.call('UNLINK', turns)"),
    Mutant(
        "turns-behind-plain-jobs", "enqueue", "line.last = math.max(line.last, math.ceil(turn))"
    ),
    # a replaced job
    Mutant("replaced-while-it-runs", "replace", "elseif not from then", "elseif false then"),
    Mutant(
        "replaced-by-name", "replace", "locked_by(values[i], now) ~= id or gone[id]", "gone[id]"
    ),
    Mutant("replaced-but-parked", "replace", "send('ZREM', parked, names)"),
    Mutant("replaced-with-failures", "replace", "redis.call('HDEL', errors, unpack(moved))"),
]


MODULES = (test_locks, test_gates, test_limits_by_hand, test_replace, test_turns)
LAWS = list(laws(*MODULES, known=("broker", "clock")))


def break_something(server: Server) -> None:
    """Runs them, and then any calls in any order."""
    check(server, LAWS)
    run_asking(server, EXAMPLES, phases=[Phase.generate], derandomize=True, database=None)


def test_they_hold_without_a_mutant(server: Server) -> None:
    assert len(LAWS) > 150
    break_something(server)


@each(MUTANTS)
def test_a_test_notices(mutant: Mutant, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load", mutant.load)

    with pytest.raises((AssertionError, IndexError, ValueError)):
        break_something(server)
