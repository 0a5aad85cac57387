"""Locks, places and gates hold whatever happens: any calls, in any order, sent again."""

from __future__ import annotations

import os
from itertools import count
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.keys import QUEUE_KEYS
from django_taskq.broker.steering import Steering
from django_taskq.job import Grant, State
from django_taskq.limits import Limit, Rate
from tests.broker.helpers import (
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    asked,
    at_once,
    draft,
    outcome,
    parked,
    per_time,
    put_asking,
    without_envelope,
)

LIMITS = {"one": 1, "two": 2, "both": 2}
GATES = {
    "one": at_once(1, "one"),
    "two": at_once(2, "two"),
    "rate": per_time("2/s", "rate"),
    "both": per_time("2/s", "both", most=2),
}
UNFINISHED = ("ready", "scheduled", "retrying", "waiting", "running")


class Wish:
    """What a job of the test asks for."""

    def __init__(self, lock: str, gates: tuple[str, ...], started: bool, ttl: int) -> None:
        self.lock, self.gates, self.started, self.ttl = lock, gates, started, ttl
        made = (GATES[name] for name in gates)
        self.ask = asked(*made, lock=lock, started=started, ttl=ttl, key=lock)


WISHES = st.builds(
    Wish,
    st.sampled_from(["", "", "x", "y"]),
    st.sampled_from(
        [(), ("one",), ("two",), ("one", "two"), ("rate",), ("two", "rate"), ("both",)]
    ),
    st.booleans(),
    st.sampled_from([0, 0, 5_000]),
)


class Asking(RuleBasedStateMachine):
    """A queue whose jobs ask for locks, places and rates."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.now = 1_800_000_000_000
        self.broker = Broker(server, f"t{uuid4().hex[:12]}", now=lambda: self.now)
        self.names = count()
        self.children = [Child(self.broker, "one"), Child(self.broker, "two")]
        self.wishes: dict[str, Wish] = {}
        self.grants: list[Grant] = []
        self.damaged = False
        self.most = dict(LIMITS)  # what counts now
        self.allowed = dict(LIMITS)  # who was inside before it was lowered may stay

    def teardown(self) -> None:
        try:
            self.everything_comes_to_an_end()
        finally:
            keys = [self.broker.key(QUEUE, name) for name in QUEUE_KEYS]
            self.broker.server.command("DEL", *keys)

    def everything_comes_to_an_end(self) -> None:
        """With a worker at hand every job ends: none waits for what does not come."""
        for _ in range(20 + 2 * len(self.wishes)):
            if not set(Snapshot(self.broker).homes.values()) & set(UNFINISHED):
                return
            self.forward(1_000)
            self.release()
            for child in (0, 1):
                self.work(child, 6, "S")
        raise AssertionError(f"unfinished: {Snapshot(self.broker).homes}")

    # -- calls -------------------------------------------------------------------------------------

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=4), priority=st.sampled_from([0, 0, 1]))
    def enqueue(self, wishes: list[Wish], priority: int) -> None:
        ids = [f"job-{next(self.names)}" for _ in wishes]
        jobs = [
            draft(id, priority)._replace(ask=wish.ask) for id, wish in zip(ids, wishes, strict=True)
        ]
        letters = self.broker.enqueue(QUEUE, jobs).partition(" ")[0]
        kept = [id for id, letter in zip(ids, letters, strict=True) if letter == "N"]
        again = self.broker.enqueue(QUEUE, [job for job in jobs if job.id in kept] or jobs[:0])
        assert set(again) <= {"E"}
        self.wishes |= {id: wish for id, wish in zip(ids, wishes, strict=True) if id in kept}

    @rule(wish=WISHES)
    def enqueue_later(self, wish: Wish) -> None:
        id = f"job-{next(self.names)}"
        if put_asking(self.broker, [id], wish.ask, due=-1_000) == "N":
            self.wishes[id] = wish

    @rule(child=st.integers(0, 1), want=st.integers(1, 6), kind=st.sampled_from("SRDCZGXK "))
    def work(self, child: int, want: int, kind: str) -> None:
        """Settles what this child holds, if a kind is given, and claims."""
        one = self.children[child]
        mine = [grant for grant in self.grants if grant.live.holder == one.holder]
        told = [outcome(grant, kind, b"1", delay=500) for grant in mine] if kind != " " else []
        answer = one.exchange(want, told)
        if told:
            self.grants = [grant for grant in self.grants if grant not in mine]
        self.grants += answer.grants
        again = one.again()
        assert {grant.id for grant in again.grants} == {grant.id for grant in answer.grants}

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def park(self, data: Any) -> None:
        grant = self.grants.pop(data.draw(st.integers(0, len(self.grants) - 1)))
        self.broker.park(QUEUE, [parked(grant)])

    @rule()
    def release(self) -> None:
        self.broker.release(QUEUE, TASK)

    @precondition(lambda self: self.wishes)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        id = data.draw(st.sampled_from(sorted(self.wishes)))
        self.broker.cancel(QUEUE, [(id, TASK)], FAILURE, 0)

    @precondition(lambda self: self.wishes)
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        self.broker.retry(QUEUE, [data.draw(st.sampled_from(sorted(self.wishes)))])

    @precondition(lambda self: any(wish.lock for wish in self.wishes.values()))
    @rule(data=st.data(), wish=WISHES, later=st.booleans())
    def replace(self, data: Any, wish: Wish, later: bool) -> None:
        id = data.draw(st.sampled_from(sorted(i for i, w in self.wishes.items() if w.lock)))
        new = Wish(self.wishes[id].lock, wish.gates, wish.started, wish.ttl)
        job = draft(id, due=-1_000 if later else 0)._replace(ask=new.ask)
        if self.broker.replace(QUEUE, [job]) == "O":
            self.wishes[id] = new

    @precondition(lambda self: self.wishes)
    @rule(data=st.data())
    def lose_an_envelope(self, data: Any) -> None:
        id = data.draw(st.sampled_from(sorted(self.wishes)))
        without_envelope(self.broker, id)
        self.damaged = True

    @rule(child=st.integers(0, 1))
    def die(self, child: int) -> None:
        one = self.children[child]
        self.broker.reclaim(QUEUE, one.holder, FAILURE, died=True)
        self.grants = [grant for grant in self.grants if grant.live.holder != one.holder]
        self.children[child] = Child(self.broker, f"child-{next(self.names)}")

    @rule(ms=st.sampled_from([100, 500, 1_000, WINDOW, -5_000]))
    def forward(self, ms: int) -> None:
        self.now += ms
        self.broker.renew([QUEUE], [child.holder for child in self.children], LEASE)
        self.broker.promote(QUEUE, "keeper")

    @rule(gate=st.sampled_from(sorted(LIMITS)), most=st.sampled_from([1, 2, 3, 5, None]))
    def limit(self, gate: str, most: int | None) -> None:
        """A person gives a limit another number, or back to the code."""
        rate = Rate(2, 1) if gate == "both" else None
        numbers = Limit(most, rate) if most else None
        done = Steering(self.broker).limit(QUEUE, gate, numbers)
        if done.letter != "U":
            self.most[gate] = most or LIMITS[gate]
            self.allowed[gate] = max(self.most[gate], self.allowed[gate])

    @rule()
    def trim(self) -> None:
        self.broker.trim(QUEUE)

    @rule()
    def sweep(self) -> None:
        found = {kind for chunk in self.broker.walk(QUEUE, mend=False) for kind in chunk.found}
        assert found <= {"remains"} | ({"hollow", "debris"} if self.damaged else set())

    # -- what holds --------------------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        seen = Snapshot(self.broker)
        self.places_are_those_of_running_jobs(seen)
        self.a_job_waits_at_one_of_its_gates_or_is_parked(seen)
        self.nobody_is_stranded(seen)
        self.locks_are_those_of_jobs_that_need_them(seen)

    def places_are_those_of_running_jobs(self, seen: Snapshot) -> None:
        running = {id for id, state in seen.homes.items() if state == "running"}
        assert seen.entered == {(gate, id) for id in running for gate in self.wishes[id].gates}
        inside = [gate for gate, _ in seen.entered]
        for gate, most in self.most.items():
            assert inside.count(gate) <= self.allowed[gate]
            self.allowed[gate] = max(most, inside.count(gate))

    def a_job_waits_at_one_of_its_gates_or_is_parked(self, seen: Snapshot) -> None:
        waiting = {id for id, state in seen.homes.items() if state == "waiting"}
        assert {id for _, id in seen.gated} == waiting - seen.parked
        assert len(seen.gated) == len({id for _, id in seen.gated})
        assert all(gate in self.wishes[id].gates for gate, id in seen.gated)

    def nobody_is_stranded(self, seen: Snapshot) -> None:
        """Where jobs wait at a gate something is going to let them in."""
        for gate in {gate for gate, _ in seen.gated}:
            in_line = any(
                state == "ready" and gate in self.wishes[id].gates
                for id, state in seen.homes.items()
            )
            full = sum(name == gate for name, _ in seen.entered) >= self.most.get(gate, 1 << 30)
            assert in_line or full or gate in seen.opens, f"jobs wait at {gate} for nothing"

    def locks_are_those_of_jobs_that_need_them(self, seen: Snapshot) -> None:
        for name, value in seen.locks.items():
            id, _, stays = value.partition(" ")
            if not stays:
                assert seen.homes.get(id) in UNFINISHED, f"{name!r} of {id}"
                assert self.wishes[id].lock == name
        for id, wish in self.wishes.items():
            if wish.lock and not wish.started and seen.homes.get(id) in UNFINISHED:
                assert seen.locks.get(wish.lock) == id


class Snapshot:
    """What a queue holds, read in one call."""

    LUA = """
        local reply = {}
        for i, key in ipairs(KEYS) do
          local hash = redis.call('TYPE', key).ok == 'hash'
          reply[i] = hash and redis.call('HGETALL', key) or redis.call('ZRANGE', key, 0, -1)
        end
        return reply"""

    def __init__(self, broker: Broker) -> None:
        names = [*map(str, State), "entered", "gated", "parked", "opens", "locks"]
        keys = [broker.key(QUEUE, name) for name in names]
        reply = broker.server.command("EVAL", self.LUA, len(keys), *keys)
        found = dict(zip(names, reply, strict=True))
        self.homes = {id.decode(): str(state) for state in State for id in found[str(state)]}
        self.entered = {pair(member, 0) for member in found["entered"]}
        self.gated = {pair(member, 8) for member in found["gated"]}
        self.parked = {name.decode().split(" ")[1] for name in found["parked"]}
        self.opens = {name.decode() for name in found["opens"]}
        words = [word.decode() for word in found["locks"]]
        self.locks = dict(zip(words[::2], words[1::2], strict=True))


def pair(member: bytes, skip: int) -> tuple[str, str]:
    """Gate and id of a member of ``entered`` or ``gated``."""
    gate, _, rest = member.partition(b"\0")
    return gate.decode(), rest[skip:].decode()


def run_asking(server: Server, examples: int, **more: Any) -> None:
    """Tries so many sequences of calls; raises where something does not hold."""
    run_state_machine_as_test(
        lambda: Asking(server),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_locks_places_and_gates_hold_whatever_happens(server: Server) -> None:
    run_asking(server, int(os.environ.get("TASKQ_MODEL_EXAMPLES", "80")))
