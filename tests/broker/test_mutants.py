"""The checker is checked: with one line of a script taken out, the model has to notice.

Each mutant is what a careless change could leave.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase

from django_taskq.broker import broker
from django_taskq.broker.connection import Server
from tests.broker.mutants import Mutant, each
from tests.broker.test_model import run_model

EXAMPLES = 400  # sequences of calls, 15 s; most mutants are found within the first ten
pytestmark = pytest.mark.timeout(900)  # for one that lives long, where the machine is busy


MUTANTS = [
    # the fence
    Mutant("settle-unfenced", "exchange", "if fence ~= told then", "if not raw then"),
    Mutant("park-unfenced", "park", "if not l or l.fence ~= fence then", "if not l then"),
    Mutant("claim-keeps-fence", "exchange", "l.fence + 1, now, request", "l.fence, now, request"),
    Mutant("reclaim-keeps-fence", "reclaim", "l.fence = l.fence + 1"),
    # a call that is sent again
    Mutant("settle-twice", "exchange", "elseif settled == fence or seen[id]", "elseif seen[id]"),
    Mutant(
        "settle-twice-in-a-call", "exchange", "settled == fence or seen[id]", "settled == fence"
    ),
    Mutant("settle-forgets", "exchange", "(settled and resent and told <= settled)", "false"),
    Mutant("settle-for-others", "exchange", "string.sub(tail, 1, 22) ~= holder", "false"),
    Mutant("park-twice", "park", "elseif l.settled == fence then", "elseif false then"),
    Mutant("claim-forgets", "exchange", "if resent and request == last and", "if false and"),
    Mutant("claim-again", "exchange", "if want > 0 and request <= last then want = 0 end"),
    Mutant(
        "claim-unnoted",
        "exchange",
        "redis.call('HSET', claims, holder, struct.pack('>I8I8', request, now))",
    ),
    Mutant("enqueue-twice", "enqueue", "if known[i] or seen[id] then", "if seen[id] then"),
    Mutant("enqueue-twice-in-a-call", "enqueue", "if known[i] or seen[id]", "if known[i]"),
    Mutant(
        "enqueue-one-twice",
        "enqueue",
        "redis.call('HSETNX', jobs, ARGV[2], ARGV[3]) == 0",
        "redis.call('HSET', jobs, ARGV[2], ARGV[3]) < 0",
    ),
    # leases
    Mutant(
        "claim-without-lease",
        "exchange",
        "elseif not until_ms or tonumber(until_ms) <= now then",
        "elseif not until_ms then",
    ),
    Mutant("claim-unregistered", "exchange", "not until_ms and ARGV[4] == '1'", "not until_ms"),
    Mutant("claim-unheld", "exchange", "redis.call('ZADD', holders, now + lease, holder)"),
    Mutant("renew-revives", "renew", "elseif tonumber(until_ms) <= now then", "elseif false then"),
    Mutant("renew-nothing", "renew", "redis.call('ZADD', holders, now + lease, ARGV[i])"),
    Mutant("renew-no-outage", "renew", "if now - renewed > lease / 2 then", "if false then"),
    Mutant("renew-unnoted", "renew", "redis.call('HSET', meta, 'renewed', now)"),
    Mutant(
        "reap-the-living", "reclaim", "if how == 'reap' and tonumber(until_ms) > now", "if false"
    ),
    Mutant("reap-no-end", "reclaim", "redis.call('ZREM', holders, holder)"),
    Mutant("reap-keeps-claims", "reclaim", "redis.call('HDEL', claims, holder)"),
    # a move that is half done
    Mutant("settle-stays", "exchange", "send('ZREM', running, moved)"),
    Mutant("claim-nowhere", "exchange", "send('ZADD', running, claimed)"),
    Mutant("reclaim-stays", "reclaim", "redis.call('ZREM', running, unpack(taken))"),
    Mutant("promote-stays", "promote", "redis.call('ZREM', set, unpack(ids))"),
    Mutant("release-stays", "release", "redis.call('ZREM', waiting, unpack(gone))"),
    Mutant("cancel-nowhere", "cancel", "send('ZADD', cancelled, places)"),
    Mutant("retry-keeps-value", "retry", "send('HDEL', results, moved)"),
    Mutant("trim-keeps-record", "trim", "redis.call('HDEL', live, unpack(ids))"),
    Mutant("trim-keeps-value", "exchange", "redis.call('HDEL', results, unpack(ids))"),
    Mutant("trim-too-early", "trim", ".ended <= now - RESEND_WINDOW", ".ended <= now"),
    Mutant("end-too-early", "exchange", "math.max(ms, heard and LISTENED or RESEND_WINDOW)", "ms"),
    # the token
    Mutant(
        "wake-stays",
        "exchange",
        "if left == 0 then\n    redis.call('DEL', wake)",
        "if left == 0 then",
    ),
    Mutant("wake-missing", "reclaim", "redis.call('RPUSH', wake, '1')"),
    # what an operator does
    Mutant("delete-too-early", "delete", "elseif ended > now - RESEND_WINDOW", "elseif false"),
    Mutant("withdraw-the-running", "cancel", "order == 'cancel' and not is_asked", "not is_asked"),
    Mutant(
        "advance-unwoken", "advance", "unpack(places))\n  set_wake(wake, ready)", "unpack(places))"
    ),
]


def look_twice(server: Server) -> None:
    """The second time longer: the order of Lua's tables is the server's own."""
    for examples in (EXAMPLES, 5 * EXAMPLES):
        run_model(server, examples, phases=[Phase.generate], derandomize=True, database=None)


@each(MUTANTS)
def test_the_model_notices(mutant: Mutant, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "load", mutant.load)
    with pytest.raises(AssertionError):
        look_twice(server)
