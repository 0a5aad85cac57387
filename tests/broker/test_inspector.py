"""The operator's reads: a queue at one moment, in bounded answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from django_taskq.asks import NOTHING, gate
from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.inspector import Gate, Holder, Inspector, Look, Replica, ServerState
from django_taskq.broker.inspector.server import server_state
from django_taskq.broker.keys import QUEUE_KEYS
from django_taskq.broker.releases import Releases, releases_in
from django_taskq.broker.scripts import load
from django_taskq.codec import encode_envelope
from django_taskq.job import Envelope, State
from django_taskq.limits import Limit, Rate
from tests.broker.helpers import (
    DAY,
    ENVELOPE,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    Child,
    Draft,
    ServerAs,
    dump,
    holder_id,
    outcome,
    parked,
    put,
    seed_all,
)


@pytest.fixture
def inspector(broker: Broker) -> Inspector:
    return Inspector(broker)


def test_a_queue_in_every_state(broker: Broker, inspector: Inspector, clock: Any) -> None:
    seed_all(broker)
    before = dump(broker)

    found = inspector.queue(QUEUE)

    assert dump(broker) == before
    assert (found.name, found.now) == (QUEUE, clock.now)
    assert found.states == dict.fromkeys(State, 1)
    assert found.unfinished == 5
    assert found.sizes["jobs"] == 8
    assert found.sizes["parked"] == 1
    assert found.next_job == "ready"
    assert found.page == [Holder(holder_id("seeder"), LEASE)]
    assert (found.holders, found.lapsed) == (1, 0)
    assert found.parked == {TASK: 1}
    assert found.paused is False


def test_an_empty_queue_has_nothing(inspector: Inspector) -> None:
    found = inspector.queue("never-used")

    assert found.states == dict.fromkeys(State, 0)
    assert (found.next_job, found.waits, found.late, found.page, found.parked) == ("", 0, 0, [], {})
    assert sum(inspector.weights("never-used").values()) == 0


@pytest.mark.parametrize("how", ["retry", "reclaim", "promote", "promoted retry", "return"])
def test_what_became_ready_by_another_way_waits_as_well(
    broker: Broker, inspector: Inspector, clock: Any, how: str
) -> None:
    """Whoever looks at the waiting time of a queue must see that it stands still."""
    envelope = encode_envelope(Envelope(t=TASK, e=clock.now), 1000)
    broker.enqueue(QUEUE, [Draft("a", envelope, due=-500 if how == "promote" else 0)])
    child = Child(broker, "a")
    if how != "promote":
        (grant,) = child.claim()
    if how == "retry":
        child.exchange(0, [outcome(grant, "D", FAILURE, DAY)])
        broker.retry(QUEUE, ["a"])
    elif how == "reclaim":
        broker.reclaim(QUEUE, child.holder, FAILURE, died=True)
    elif how == "return":
        child.exchange(0, [outcome(grant, "G")])
    elif how == "promoted retry":
        child.exchange(0, [outcome(grant, "R", FAILURE, 500)])
    if "promote" in how:
        clock.forward(500)
        broker.promote(QUEUE, "keeper")
    assert inspector.queue(QUEUE).next_job == "a"
    clock.forward(3000)

    assert inspector.queue(QUEUE).waits >= 3000


@pytest.mark.parametrize(
    ("enqueued", "run_after", "waits"), [(-500, 0, 500), (-DAY, -20, 20), (500, 0, 0)]
)
def test_how_long_the_next_job_has_been_due(
    broker: Broker, inspector: Inspector, clock: Any, enqueued: int, run_after: int, waits: int
) -> None:
    """Whatever the clock of the machine says that enqueued it, it is never less than nothing."""
    asked = Envelope(TASK, clock.now + enqueued, r=run_after and clock.now + run_after)
    broker.enqueue(QUEUE, [Draft("a", encode_envelope(asked, 1000))])

    assert inspector.queue(QUEUE).waits == waits


def test_what_cannot_be_read_is_no_error(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, [Draft("a", b"garbage")])

    assert inspector.queue(QUEUE).next_job == "a"


def test_what_is_late_is_seen(broker: Broker, inspector: Inspector, clock: Any) -> None:
    put(broker, "a", due=clock.now + 1000)
    assert inspector.queue(QUEUE).late == 0

    clock.forward(1500)

    assert inspector.queue(QUEUE).late == 500


def test_a_lease_that_is_over_is_seen(broker: Broker, inspector: Inspector, clock: Any) -> None:
    Child(broker, "old").claim()
    clock.forward(LEASE)
    Child(broker, "new").claim()

    found = inspector.queue(QUEUE)

    assert (found.holders, found.lapsed) == (2, 1)
    assert found.page == [Holder(holder_id("old"), 0), Holder(holder_id("new"), LEASE)]


def test_holders_come_in_pages(broker: Broker, inspector: Inspector, clock: Any) -> None:
    count = 2 * HOUSEKEEPING + 5
    names = [f"child-{number}" for number in range(count)]
    for name in names:
        Child(broker, name).claim()
        clock.forward(1)

    assert len(inspector.queue(QUEUE).page) == HOUSEKEEPING
    assert [holder.id for holder in inspector.holders(QUEUE)] == [holder_id(n) for n in names]


def test_of_many_parked_names_the_first_are_told(broker: Broker, inspector: Inspector) -> None:
    count = HOUSEKEEPING + 5
    put(broker, [f"job-{number}" for number in range(count + 2)])
    grants = Child(broker).claim(count + 2)
    names = [f"task{number:03}" for number in range(count)] + ["task000", "task001"]
    broker.park(QUEUE, [parked(grant, name) for grant, name in zip(grants, names, strict=True)])

    found = inspector.queue(QUEUE).parked

    assert len(found) == HOUSEKEEPING
    assert [found[f"task{number:03}"] for number in range(3)] == [2, 2, 1]


def test_several_queues_are_read_at_once(broker: Broker, inspector: Inspector) -> None:
    put(broker, "ab", "mail")
    put(broker, "c", "images")

    found = inspector.queues(["images", "mail", "none"])

    assert [(each.name, each.states[State.READY]) for each in found] == [
        ("images", 1),
        ("mail", 2),
        ("none", 0),
    ]
    assert inspector.queues([]) == []


def test_the_heaviest_key_comes_first(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, [Draft(f"job-{n}", b"x" * 10_000) for n in range(20)])

    weights = inspector.weights(QUEUE)

    assert next(iter(weights)) == "jobs"
    assert 200_000 <= weights["jobs"] < 400_000
    assert set(weights) <= set(QUEUE_KEYS)


def test_how_full_the_server_is(inspector: Inspector) -> None:
    used, most = inspector.memory()

    assert used > 100_000
    assert most >= 0


@pytest.fixture
def untold(server: Server, prefix: str) -> Iterator[Inspector]:
    """The reads of a user who may ask neither INFO nor MEMORY."""
    user = f"u{uuid4().hex[:12]}"
    rights = ("reset", "on", ">secret", "~*", "&*", "+@all", "-info", "-memory")
    server.command("ACL", "SETUSER", user, *rights)
    as_user = ServerAs(server.url, user)
    yield Inspector(Broker(as_user, prefix))
    as_user.close()
    server.command("ACL", "DELUSER", user)


def test_a_server_that_does_not_tell_is_no_error(broker: Broker, untold: Inspector) -> None:
    seed_all(broker)
    sizes = {(QUEUE, State.DEAD): 1}

    assert untold.weights(QUEUE) == {}
    assert untold.memory() == (0, 0)
    ((state, _),), _, memory = untold.weighed_overview([QUEUE])
    assert (state.states[State.DEAD], memory) == (1, [None])
    page, _, server = untold.newest(sizes, 10)
    assert (len(page.rows), server) == (1, ServerState())


def test_a_closeup_has_the_queue_its_weight_and_its_limits(
    broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue(QUEUE, limited("task:a", Limit(2), "a1"))

    ((state, note),), past, memory, limits, (releases,) = inspector.closeup(
        QUEUE, Look(60_000, 2), also=[Releases(broker).call()]
    )

    assert (state.name, note, len(past), releases_in(releases)) == (QUEUE, b"", 1, [])
    assert memory
    assert memory > 100
    assert [(each.name, each.numbers) for each in limits.found] == [("task:a", Limit(2))]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (b"used_memory:7\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", (7, 0, 0.0, False)),
        (b"used_memory:5\r\nmaxmemory:10\r\nmaxmemory_policy:noeviction", (5, 10, 50.0, False)),
        (b"used_memory:5\r\nmaxmemory:10\r\nmaxmemory_policy:allkeys-lru", (5, 10, 50.0, True)),
        (b"", (0, 0, 0.0, False)),
    ],
)
def test_a_server_that_has_a_limit_and_a_policy_evicts(said: bytes, state: Any) -> None:
    found = server_state(said)
    assert (found.used, found.most, found.share, found.evicts) == state


def test_replicas_say_how_far_they_are_behind() -> None:
    found = server_state(
        b"# Replication\r\nrole:master\r\nconnected_slaves:2\r\n"
        b"slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=11\r\n"
        b"slave1:ip=10.0.0.3,port=6380,state=wait_bgsave,offset=0,lag=0\r\n"
        b"slave_expires_tracked_keys:0\r\nevicted_keys:3\r\n"
    )
    assert found.replicas == (
        Replica("10.0.0.2:6379", is_online=True, lag=11),
        Replica("10.0.0.3:6380", is_online=False, lag=0),
    )
    assert found.evicted == 3


def test_a_key_of_another_type_is_named(broker: Broker, inspector: Inspector) -> None:
    seed_all(broker)
    broker.server.command("DEL", broker.key(QUEUE, "errors"))
    broker.server.command("SADD", broker.key(QUEUE, "errors"), "a")

    assert inspector.wrong_types(QUEUE) == {"errors": "set"}


def test_every_key_s_type_is_looked_at() -> None:
    assert {*load("types").keys} == {name for name, kind in QUEUE_KEYS.items() if kind != "CHANNEL"}


def limited(name: str, numbers: Limit, *ids: str) -> list[Draft]:
    ask = NOTHING + gate(name, name, *numbers)
    return [Draft(id, ENVELOPE, ask=ask) for id in ids]


def test_limits_with_those_that_wait_there_and_those_inside(
    broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue(QUEUE, limited("task:a", Limit(2), "a1", "a2", "a3", "a4", "a5"))
    broker.enqueue(QUEUE, limited("key:b c", Limit(5), "b1"))
    broker.enqueue(QUEUE, limited("queue", Limit(None, Rate(1, 10)), "c1", "c2"))
    Child(broker).claim(50)
    before = dump(broker)

    found = inspector.limits(QUEUE).gates

    assert dump(broker) == before
    assert found == [
        Gate("queue", "queue", 1, 1, 10_000),
        Gate("task:a", "task:a", 3, 2, -1),
        Gate("key:b c", "key:b c", 0, 1, -1),
    ]
    assert inspector.queue(QUEUE).at_limits == 4


def test_a_queue_without_limits_has_none(broker: Broker, inspector: Inspector) -> None:
    put(broker, "ab")
    Child(broker).claim(1)
    assert inspector.limits(QUEUE) == ([], [], 0)
    assert inspector.queue(QUEUE).at_limits == 0


def test_of_many_limits_a_hundred_are_named(broker: Broker, inspector: Inspector) -> None:
    for n in range(120):
        broker.enqueue(QUEUE, limited(f"key:{n}", Limit(1), f"a{n}", f"b{n}"))
    Child(broker).claim(400)
    found = inspector.limits(QUEUE).gates
    assert len({gate.name for gate in found}) == HOUSEKEEPING
    assert {(gate.waiting, gate.inside) for gate in found} == {(1, 1)}


@pytest.mark.parametrize("seal", [b"", b"~s1." + b"x" * 43 + b"."])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"a": ["x" * 100_000]},
        {"a": ["x" * 100_000], "r": 5_000},
        {"a": ["x" * 100_000], "o": {"q": "low"}, "r": 5_000, "c": {"trace": ["a", 1]}},
        {"x": "y" * 100_000, "o": {"q": "low"}, "r": 5_000},
        {"a": [list(range(30_000))], "k": {"b": 1}},
    ],
)
def test_how_long_the_next_job_waits_takes_a_part_of_it(
    broker: Broker, clock: Any, more: dict[str, Any], seal: bytes
) -> None:
    raw = seal + encode_envelope(Envelope('tests."noop"', 4_000, **{"a": [], **more}), 1 << 20)
    broker.enqueue(QUEUE, [Draft("a", raw)])
    reply = broker.server.call(broker.survey_call(QUEUE, 0, 100))
    assert sum(map(len, reply[4])) <= 8192
    assert Inspector(broker).queue(QUEUE).waits == clock() - more.get("r", 4_000)
