"""All scripts together against a small model in Python: any calls, in any order, sent again.

Replies are lost and calls made again, at once or late; calls that were given up arrive after all;
clocks are set. After each step everything that Redis holds is compared with the model.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import count
from struct import unpack
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_taskq.broker.broker import Broker, Exchange, Limits
from django_taskq.broker.connection import Server
from django_taskq.broker.keys import QUEUE_KEYS
from django_taskq.broker.steering import Steering
from django_taskq.job import Grant, Live, State
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    draft,
    dump,
    outcome,
    parked,
)
from tests.broker.model import DEAD_RETENTION, KEEP, PRIORITIES, Model

IDS = [f"job-{letter}" for letter in "hgfedcba"]  # the order they come in is not that of names
COUNTERS = ["fence", "settled", "attempt", "crashes", "lost", "parks"]
RECORDED = [*COUNTERS, "priority", "expires", "ended"]  # in `live`


class Queue(RuleBasedStateMachine):
    """Every call is made in Redis and in the model; replies and all that is stored must agree."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.model = Model()
        limits = Limits(*KEEP.values(), dead_retention=DEAD_RETENTION)
        self.broker = Broker(server, f"t{uuid4().hex[:12]}", limits, now=lambda: self.model.now)
        self.names = count()
        self.children: list[Child] = []
        self.gone: list[Child] = []  # whose holders were reclaimed
        self.known: set[str] = set()  # holders that are registered, as they believe
        self.grants: list[Grant] = []  # everything that was ever granted, stale or not
        self.told: dict[str, list[tuple[str, int, str, int]]] = {}  # holder -> its last outcomes

    def teardown(self) -> None:
        keys = [self.broker.key(QUEUE, name) for name in QUEUE_KEYS]
        self.broker.server.command("DEL", *keys)

    @initialize(kinds=st.sampled_from(["", "SSS", "SDC", "GS"]), keep=st.sampled_from([0, DAY]))
    def start(self, kinds: str, keep: int) -> None:
        """An empty queue, or one in which a child has settled some jobs and runs others."""
        self.children = [self.new_child(), self.new_child()]
        if kinds:
            self.enqueue(IDS[:6], 0, 0, 0, 1)
            self.call(self.children[0], len(kinds), [], 0, keep)
            self.work(0, 1, list(kinds), 0, keep)

    def new_child(self) -> Child:
        return Child(self.broker, f"child-{next(self.names)}")

    def answered(self, child: Child, answer: Any) -> None:
        """Lets the model do the exchange that ``child`` sent last, and compares the answers."""
        request: Exchange = child.last  # type: ignore[assignment]
        resent = request.resent
        model = self.model
        if answer.alive and request.first:
            self.known.add(child.holder)
        verdicts = model.settle(child.holder, self.told[child.holder], resent, request.lean)
        alive = model.register(child.holder, request.first)
        granted = []
        if alive:
            granted = model.claim(child.holder, request.request, request.want, resent)
        assert answer.verdicts == verdicts
        assert answer.alive == alive
        assert [(grant.id, grant.live.fence) for grant in answer.grants] == granted
        assert answer.left == len(model.line())
        self.grants += [grant for grant in answer.grants if grant not in self.grants]

    # -- rules -------------------------------------------------------------------------------------

    @rule(
        ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4),
        priority=st.sampled_from(PRIORITIES),
        wait=st.sampled_from([0, 0, 50, 3000]),
        expires=st.sampled_from([0, 0, 1000]),
        times=st.sampled_from([1, 1, 2]),
    )
    def enqueue(self, ids: list[str], priority: int, wait: int, expires: int, times: int) -> None:
        """New jobs, and the same ones again: at once, or long after."""
        for _ in range(times):
            letters = self.broker.enqueue(
                QUEUE, [draft(id, priority, -wait, expires) for id in ids]
            )
            assert letters == "".join(self.model.enqueue(id, priority, wait, expires) for id in ids)

    @rule(
        who=st.integers(0, 1),
        want=st.integers(0, 3),
        picks=st.lists(st.tuples(st.integers(0, 99), st.sampled_from("SSRDCZG")), max_size=3),
        delay=st.sampled_from([0, 50, 3000]),
        keep=st.sampled_from([0, 3000, DAY]),
    )
    def exchange(
        self, who: int, want: int, picks: list[tuple[int, str]], delay: int, keep: int
    ) -> None:
        """Settles what was granted to anybody at any time, late ones too, and claims."""
        some = [
            (self.grants[-1 - pick % len(self.grants)], kind) for pick, kind in picks if self.grants
        ]
        self.call(self.children[who], want, some, delay, keep)

    @rule(
        who=st.integers(0, 1),
        want=st.integers(1, 3),
        kinds=st.lists(st.sampled_from("SSRDCZG"), min_size=1, max_size=3),
        delay=st.sampled_from([0, 50]),
        keep=st.sampled_from([0, DAY]),
    )
    def work(self, who: int, want: int, kinds: list[str], delay: int, keep: int) -> None:
        """Settles what this child runs, as a child does."""
        child, jobs = self.children[who], self.model.jobs
        mine = [
            grant
            for grant in self.grants
            if grant.live.holder == child.holder
            and grant.id in self.model.running
            and jobs[grant.id].fence == grant.live.fence
        ]
        self.call(child, want, list(zip(mine, kinds, strict=False)), delay, keep)

    def call(
        self, child: Child, want: int, some: list[tuple[Grant, str]], delay: int, keep: int
    ) -> None:
        told, outcomes = [], []
        for grant, kind in some:
            rest = keep if kind in "SDC" else delay
            told.append((grant.id, grant.live.fence, kind, rest))
            outcomes.append(outcome(grant, kind, b"1", rest))
        self.told[child.holder] = told
        first = child.holder not in self.known
        answer = child.exchange(want, outcomes, first=first, lean=len(told) > 1)
        self.answered(child, answer)

    @precondition(lambda self: self.told)
    @rule(who=st.integers(0, 1), age=st.integers(1, 500))
    def send_again(self, who: int, age: int) -> None:
        """The reply was lost; others may have called in the meantime."""
        child = self.children[who]
        if child.last is not None:
            self.model.now += age
            self.answered(child, child.again())

    @precondition(lambda self: self.told)
    @rule(who=st.integers(0, 9))
    def arrive_late(self, who: int) -> None:
        """A call that was given up reaches Redis after all, maybe when its holder is gone."""
        sent = [child for child in self.children + self.gone if child.last is not None]
        if sent:
            child = sent[who % len(sent)]
            assert child.last is not None
            self.answered(child, child._send(child.last._replace(resent=False)))
            if child in self.gone and child.holder in self.model.leases:
                self.reclaim_of(child, died=True, started=set())

    @rule(step=st.sampled_from([1, 5_000, -700, -5_000, WINDOW, WINDOW, LEASE]))
    def step_clock(self, step: int) -> None:
        """Time passes, or somebody sets the clock."""
        self.model.now += step

    @rule()
    def trim(self) -> None:
        ends = ("succeeded", "dead", "cancelled")
        assert self.broker.trim(QUEUE) == sum(self.model.trim(state, 100) for state in ends)

    @rule(id=st.sampled_from(IDS))
    def cancel(self, id: str) -> None:
        (answer,) = self.broker.cancel(QUEUE, [(id, TASK)], FAILURE, DAY)
        assert answer.verdict == self.model.cancel(id)

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=3, max_size=8, unique=True))
    def retry(self, ids: list[str]) -> None:
        assert self.broker.retry(QUEUE, ids) == "".join(self.model.retry(id) for id in ids)

    @rule(
        verb=st.sampled_from(["delete", "advance", "postpone", "withdraw"]),
        ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True),
        wait=st.sampled_from([-1, 50, 3000]),
        step=st.sampled_from([0, 0, WINDOW]),
    )
    def operate(self, verb: str, ids: list[str], wait: int, step: int) -> None:
        """What an operator does by hand; the call is sent twice."""
        self.model.now += step
        due = self.model.now + wait
        pairs = [(id, TASK) for id in ids]
        call = {
            "delete": lambda: Steering(self.broker)._moving("delete", QUEUE, (), ids),
            "advance": lambda: Steering(self.broker)._moving("advance", QUEUE, (), ids),
            "postpone": lambda: self.broker.retry_call(QUEUE, ids, due),
            "withdraw": lambda: self.broker.cancel_call(QUEUE, pairs, FAILURE, DAY, "spare"),
        }[verb]()
        answer = self.broker.server.call(call).decode()
        letters = answer
        if verb == "withdraw":
            letters = "".join(word[0] for word in answer.split()).replace("C", "O")
        move = partial(self.model.postpone, due=due)
        act = move if verb == "postpone" else getattr(self.model, verb)
        assert letters == "".join(act(id) for id in ids)
        if set(letters) & {"O", "W"}:  # only what moved something is remembered
            assert self.broker.server.call(call).decode() == answer

    @rule(step=st.sampled_from([0, 1, 50, 3000, LEASE // 2]))
    def promote(self, step: int) -> None:
        self.model.now += step
        answer = self.broker.promote(QUEUE, "keeper")
        assert answer.moved == self.model.promote()
        assert answer.wait == self.next_due()

    @precondition(lambda self: self.model.running)
    @rule(pick=st.integers(0, 99))
    def park(self, pick: int) -> None:
        grant = self.grants[-1 - pick % len(self.grants)]
        expected = self.model.park(grant.live.holder, grant.id, grant.live.fence)
        assert self.broker.park(QUEUE, [parked(grant)]) == expected

    @rule(step=st.sampled_from([0, 1_000, 4_000]))
    def release(self, step: int) -> None:
        self.model.now += step
        assert self.broker.release(QUEUE, TASK) == self.model.release()

    @rule(who=st.integers(0, 1))
    def renew(self, who: int) -> None:
        holder, model = self.children[who].holder, self.model
        answer = self.broker.renew([QUEUE], [holder], LEASE)[QUEUE]
        letter, lapsed = model.renew(holder)
        assert answer.holders[holder] == letter
        assert sorted(answer.lapsed) == sorted(lapsed)
        assert answer.next_due == self.next_due()
        assert answer.parked == [TASK] * bool(model.of("waiting"))
        assert {told[:3] for told in answer.stops} == {
            (holder, id, model.jobs[id].fence)
            for id in model.running
            if model.jobs[id].asked and model.jobs[id].request[0] == holder  # type: ignore[index]
        }

    def next_due(self) -> int:
        """ms until the next job is due, -1 for none."""
        due = [self.model.jobs[id].due for id in self.model.of("scheduled", "retrying")]
        return max(min(due) - self.model.now, 0) if due else -1

    @rule(
        who=st.integers(0, 1),
        died=st.booleans(),
        started=st.sets(st.sampled_from(IDS), max_size=4),
    )
    def reclaim(self, who: int, died: bool, started: set[str]) -> None:
        child = self.children[who]
        self.reclaim_of(child, died, started)
        if child.holder not in self.model.leases:
            self.gone.append(child)
            self.children[who] = self.new_child()  # a holder's name is never used again

    def reclaim_of(self, child: Child, died: bool, started: set[str]) -> None:
        expected = self.model.reclaim(child.holder, died, started)
        taken, _ = self.broker.reclaim(QUEUE, child.holder, FAILURE, died=died, started=started)
        assert set(taken) == expected

    # -- what must always hold ---------------------------------------------------------------------

    @invariant()
    def redis_is_as_the_model_says(self) -> None:
        found = dump(self.broker)
        zsets = {
            name: dict(zip(map(bytes.decode, flat[::2]), map(float, flat[1::2]), strict=True))
            for name, flat in found.items()
            if QUEUE_KEYS[name] == "ZSET"
        }
        self.jobs_are_where_they_should_be(zsets)
        self.records_say_what_they_should(found)
        self.nothing_is_left_over(found)
        assert sorted(zsets["parked"]) == sorted(f"{TASK} {id}" for id in self.model.of("waiting"))
        assert zsets["holders"] == self.model.leases

    def jobs_are_where_they_should_be(self, zsets: dict[str, dict[str, float]]) -> None:
        jobs = self.model.jobs
        for state in State:
            expected = self.model.of(state)
            if state in ("ready", "running"):  # the scores are the script's own affair
                assert sorted(zsets[state]) == sorted(expected)
            else:
                assert zsets[state] == {id: jobs[id].due for id in expected}
        assert list(zsets["ready"]) == self.model.line()

    def records_say_what_they_should(self, found: dict[str, Any]) -> None:
        jobs = self.model.jobs
        assert set(found["live"]) == {id.encode() for id in jobs if jobs[id].record}
        for id, raw in found["live"].items():
            record, job = Live.decode(raw), jobs[id.decode()]
            for name in RECORDED:
                assert getattr(record, name) == getattr(job, name), name

    def nothing_is_left_over(self, found: dict[str, Any]) -> None:
        jobs = {id.encode(): job for id, job in self.model.jobs.items()}
        assert set(found["jobs"]) == set(jobs)
        assert set(found["results"]) == {id for id, job in jobs.items() if job.valued}
        failures = {id: len(lines.split(b"\n")) for id, lines in found["errors"].items()}
        assert failures == {id: job.failures for id, job in jobs.items() if job.failures}
        assert sorted(found["cancels"]) == sorted(id for id, job in jobs.items() if job.asked)
        for name in ("trimmed", "renewed", "reap_after"):
            assert int(found["meta"].get(name.encode(), 0)) == getattr(self.model, name), name
        claims = {name.decode(): unpack(">QQ", n) for name, n in found["claims"].items()}
        assert claims == self.model.claims
        assert len(found["wake"]) == bool(self.model.line())


def run_model(server: Server, examples: int, **more: Any) -> None:
    """Tries so many sequences of calls; raises where Redis and the model differ."""
    run_state_machine_as_test(
        lambda: Queue(server),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_scripts_and_model_agree_whatever_is_called(server: Server) -> None:
    run_model(server, int(os.environ.get("TASKQ_MODEL_EXAMPLES", "30")))
