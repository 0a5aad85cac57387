"""What the tests of the scripts share: jobs to seed, calls to make, and a queue to compare."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from django_taskq.asks import ASK, UNTIL_STARTED, gate, text
from django_taskq.broker.broker import CHUNK, LOST_LIMIT, Broker, Draft, Exchange, chunks
from django_taskq.broker.calls import Call, Command
from django_taskq.broker.connection import Server
from django_taskq.broker.keys import QUEUE_KEYS
from django_taskq.broker.replies import Exchanged
from django_taskq.broker.triage import Triage, Verdict, verdicts_in
from django_taskq.exceptions import BrokerFull
from django_taskq.job import Grant, Kind, Live, Outcome, State
from django_taskq.limits import Rate, check_rate

QUEUE = "q"
TASK = "tests.noop"
ENVELOPE = b'["tests.noop",1]'
FAILURE = b'{"c":"tests.Boom"}'
LEASE = 30_000  # ms
WINDOW = 10_000  # ms in which a call may be sent again
DAY = 86_400_000  # ms

ENDINGS = {
    State.SUCCEEDED: (Kind.SUCCEEDED, b"1"),
    State.DEAD: (Kind.DEAD, FAILURE),
    State.CANCELLED: (Kind.CANCELLED, FAILURE),
    State.RETRYING: (Kind.RETRYING, FAILURE),
}


def refuse_later(monkeypatch: pytest.MonkeyPatch, script: str, after: int = 1) -> None:
    """From the next calls of a script ``after`` are carried out; the server is full then."""
    call, seen = Server.call, itertools.count()

    def counting(server: Server, each: Call) -> Any:
        ours = not isinstance(each, Command) and each.script.name == script
        if ours and next(seen) >= after:
            raise BrokerFull("full")
        return call(server, each)

    monkeypatch.setattr(Server, "call", counting)


def holder_id(name: str) -> str:
    """A holder's name is always 22 characters."""
    return name.ljust(22, "-")


_requests = itertools.count(1)  # a holder's numbers rise, whichever Child speaks for it


class Child:
    """A holder, as the scripts see one."""

    def __init__(self, broker: Broker, name: str = "child", queue: str = QUEUE) -> None:
        self.broker = broker
        self.holder = holder_id(name)
        self.queue = queue
        self.last: Exchange | None = None

    def exchange(
        self, want: int = 0, outcomes: Sequence[Outcome] = (), *, first: bool = True, **more: Any
    ) -> Exchanged:
        """Settles and claims; ``more``: resent, lean."""
        number, told = next(_requests), tuple(outcomes)
        return self._send(
            Exchange(self.queue, self.holder, LEASE, first, number, want, told, **more)
        )

    def again(self) -> Exchanged:
        """The last call once more."""
        assert self.last is not None
        return self._send(self.last._replace(resent=True))

    def claim(self, want: int = 1) -> list[Grant]:
        """The jobs that were granted."""
        return self.exchange(want).grants

    def settle(self, *outcomes: Outcome, **more: Any) -> str:
        """A letter per outcome."""
        return self.exchange(0, outcomes, **more).verdicts

    def _send(self, request: Exchange) -> Exchanged:
        self.last = request
        return self.broker.exchange([request])[0]


class ServerAs(Server):
    """The same server as another user, whose password is "secret"."""

    def __init__(self, url: str, user: str) -> None:
        super().__init__(url)
        self.user = user

    def connect(self, key: str = "") -> Any:
        connection = super().connect(key)
        connection.username, connection.password = self.user, "secret"
        return connection


# -- jobs ------------------------------------------------------------------------------------------


def draft(id: str, priority: int = 0, due: int = 0, expires_in: int = 0) -> Draft:
    return Draft(id, ENVELOPE, priority, due, expires_in)


def asked(
    *gates: bytes,
    lock: str = "",
    started: bool = False,
    ttl: int = 0,
    key: str = "",
    cost: float = 1.0,
) -> bytes:
    """What a job asks for; ``ttl``: ms."""
    return ASK.pack(ttl, UNTIL_STARTED * started, cost) + text(lock) + text(key) + b"".join(gates)


def at_once(most: int, name: str = "g") -> bytes:
    return gate(name, name, most, None)


def per_time(rate: str | Rate, name: str = "r", most: int | None = None) -> bytes:
    return gate(name, name, most, check_rate(rate, "rate_limit"))


def put_asking(broker: Broker, ids: Iterable[str], ask: bytes, **options: int) -> str:
    """Enqueues a job per id that asks for the same; ``options`` as ``put()``."""
    return broker.enqueue(QUEUE, [draft(id, **options)._replace(ask=ask) for id in ids])


def claimed(child: Child, want: int = 10) -> list[str]:
    """The ids of the jobs that were granted."""
    return [grant.id for grant in child.claim(want)]


def put(broker: Broker, ids: Iterable[str], queue: str = QUEUE, **options: int) -> str:
    """Enqueues a job per id; ``options``: priority, due, expires_in."""
    drafts = [draft(id, **options) for id in ids]
    return "".join(broker.enqueue(queue, chunk) for chunk in chunks(drafts, CHUNK))


def outcome(grant: Grant, kind: str, blob: bytes = b"", delay: int = 0, **more: Any) -> Outcome:
    """What came of a grant; ``more``: started, task."""
    return Outcome(grant, Kind(kind), blob, delay, **more)


def parked(grant: Grant, task: str = TASK, reason: bytes = b"unknown task") -> Outcome:
    return Outcome(grant, Kind.PARKED, reason, task=task)


def seed(broker: Broker, **wanted: str) -> dict[str, Grant]:
    """Brings jobs into states by the scripts alone; the grants of those that were claimed.

    ``seed(broker, running="a b", dead="c", ready="d")``. What is not ready has a delay, or is
    kept, for a day. The queue has no ready jobs before.
    """
    plan = {State(state): ids.split() for state, ids in wanted.items()}
    child = Child(broker, "seeder")
    grants: dict[str, Grant] = {}
    for state in (State.RUNNING, State.WAITING, *ENDINGS):
        for id in plan.get(state, ()):
            put(broker, [id])
            (grant,) = child.claim()
            assert grant.id == id, "there were ready jobs"
            grants[id] = grant
            if state is State.WAITING:
                broker.park(QUEUE, [parked(grant)])
            elif state is not State.RUNNING:
                kind, blob = ENDINGS[state]
                child.settle(outcome(grant, kind, blob, DAY))
    put(broker, plan.get(State.SCHEDULED, ()), due=-DAY)
    put(broker, plan.get(State.READY, ()))
    return grants


def seed_all(broker: Broker) -> dict[str, Grant]:
    """A job in every state, named as its state."""
    return seed(broker, **{state.value: state.value for state in State})


def vanish(broker: Broker, clock: Any, times: int, failure: bytes = FAILURE) -> None:
    """So many workers, one after the other, claim what is ready and are never heard of again."""
    for number in range(times):
        child = Child(broker, f"gone-{number}")
        child.claim(9)
        clock.forward(LEASE)
        broker.reclaim(QUEUE, child.holder, failure)


def give_up(broker: Broker, clock: Any, failure: bytes = FAILURE) -> None:
    """What is ready is given up: one worker too many vanished with it."""
    vanish(broker, clock, LOST_LIMIT + 1, failure)


def without_envelope(broker: Broker, *ids: str) -> None:
    """The damage a person or a bug can do."""
    broker.server.command("HDEL", broker.key(QUEUE, "jobs"), *ids)


def corrupt(broker: Broker) -> None:
    """A queue with one of everything that the sweep looks for; ids are named after the check."""
    command, key = broker.server.command, partial(broker.key, QUEUE)
    seed(
        broker,
        running="unheld",
        succeeded="remains",
        waiting="unparked nameless",
        ready="hollow double",
    )
    command("ZREM", key("parked"), f"{TASK} nameless")
    put(broker, ["lost"])
    command("ZREM", key("ready"), "lost")
    command("ZREM", key("succeeded"), "remains")
    without_envelope(broker, "hollow")
    command("ZADD", key("scheduled"), 1, "double")
    command("HSET", key("errors"), "debris", FAILURE)
    command("ZREM", key("waiting"), "unparked")
    command("ZADD", key("ready"), 1, "unparked")
    command("HSET", key("cancels"), "unasked", "cancel")
    command("ZREM", key("holders"), holder_id("seeder"))
    put_asking(broker, ["asking"], asked(at_once(1), lock="lock"))
    command("HSET", key("locks"), "left", "unknown")
    command("ZADD", key("entered"), 0, b"g\0entered")
    command("ZADD", key("gated"), 0, b"g\0........ungated")
    command("ZADD", key("waiting"), 1, "stranded")
    command("HSET", key("jobs"), "stranded", ENVELOPE)
    command("DEL", key("wake"))


# -- looking ---------------------------------------------------------------------------------------


def states(broker: Broker, queue: str = QUEUE) -> dict[str, list[str]]:
    """state -> ids in the order of the set, of the states that have jobs."""
    found = {state.value: members(broker, state.value, queue) for state in State}
    return {state: ids for state, ids in found.items() if ids}


def state_of(broker: Broker, id: str, queue: str = QUEUE) -> str:
    """The one state that the job is in; "" for none."""
    homes = [state for state, ids in states(broker, queue).items() if id in ids]
    assert len(homes) <= 1, f"{id} is in {homes}"
    return homes[0] if homes else ""


def ready(broker: Broker, queue: str = QUEUE) -> list[str]:
    return members(broker, "ready", queue)


def members(broker: Broker, name: str, queue: str = QUEUE) -> list[str]:
    """The members of a ZSET of the queue, in order."""
    return [id.decode() for id in broker.server.command("ZRANGE", broker.key(queue, name), 0, -1)]


def scores(broker: Broker, name: str, queue: str = QUEUE) -> dict[str, float]:
    """member -> score of a ZSET of the queue."""
    flat = broker.server.command("ZRANGE", broker.key(queue, name), 0, -1, "WITHSCORES")
    return {flat[at].decode(): float(flat[at + 1]) for at in range(0, len(flat), 2)}


def live(broker: Broker, id: str, queue: str = QUEUE) -> Live:
    """The job's record."""
    return Live.decode(broker.server.command("HGET", broker.key(queue, "live"), id))


def meta(broker: Broker, field: str, queue: str = QUEUE) -> int:
    """A number of the queue's meta; 0 when there is none."""
    return int(broker.server.command("HGET", broker.key(queue, "meta"), field) or 0)


def tokens(broker: Broker, name: str = "wake", queue: str = QUEUE) -> int:
    """How many tokens lie in ``wake`` or ``timer``."""
    return int(broker.server.command("LLEN", broker.key(queue, name)))


def take_token(broker: Broker, name: str = "wake", queue: str = QUEUE) -> bool:
    """Takes one as a blocked reader does; whether there was one."""
    return broker.server.command("LPOP", broker.key(queue, name)) is not None


READ: Mapping[str, tuple[str, tuple[str | int, ...]]] = {
    "HASH": ("HGETALL", ()),
    "ZSET": ("ZRANGE", (0, -1, "WITHSCORES")),
    "LIST": ("LRANGE", (0, -1)),
    "SET": ("SMEMBERS", ()),
}


def dump(broker: Broker, *leave_out: str, queue: str = QUEUE) -> dict[str, Any]:
    """Everything that Redis has of a queue, to compare before and after."""
    found = {}
    for name, kind in QUEUE_KEYS.items():
        if kind in READ and name not in leave_out:
            command, args = READ[kind]
            reply = broker.server.command(command, broker.key(queue, name), *args)
            if kind == "HASH":
                reply = dict(zip(reply[::2], reply[1::2], strict=True))
            elif kind == "SET":
                reply = sorted(reply)
            found[name] = reply
    return found


def traces(broker: Broker, id: str, queue: str = QUEUE) -> list[str]:
    """The keys of the queue in which something of the job is left."""
    word = id.encode()
    return [
        name
        for name, value in dump(broker, queue=queue).items()
        if any(word == part or part.endswith(b" " + word) for part in value)
    ]


class Endings:
    """What is published about ended jobs from here on."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._connection = server.connect()
        self._connection.send_command("SSUBSCRIBE", channel)
        self._connection.read_response()

    def next(self) -> list[str]:
        """The ids of the next message."""
        return [id.decode() for id in self._connection.read_response()[2].split()]

    def nothing(self) -> bool:
        """Whether no further message came: the next one is our own."""
        self._server.command("SPUBLISH", self._channel, "our-own")
        return self.next() == ["our-own"]

    def close(self) -> None:
        self._connection.disconnect()


@contextmanager
def endings(broker: Broker, queue: str = QUEUE) -> Iterator[Endings]:
    """A subscriber of the queue's ended jobs."""
    subscriber = Endings(broker.server, broker.key(queue, "ended"))
    try:
        yield subscriber
    finally:
        subscriber.close()


def verdicts(triage: Triage) -> dict[str, Verdict]:
    """What was decided, over or not, by the digests of what it is about."""
    return verdicts_in(triage._broker.server.call(triage.call()))
