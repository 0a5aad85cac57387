"""All scripts together against a small model in Python: any calls, in any order, sent again.

The model says what a queue looks like after each call. It knows nothing of scores, packed records
or sequences: a priority is a list, a state is a word.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import count
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

from django_taskq.broker.broker import CRASH_LIMIT, LOST_LIMIT, Broker, Exchange
from django_taskq.broker.connection import Server
from django_taskq.broker.keys import QUEUE_KEYS
from django_taskq.job import FRESH, Grant, State
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    Child,
    draft,
    dump,
    live,
    outcome,
    parked,
    states,
    tokens,
)

IDS = [f"job-{letter}" for letter in "hgfedcba"]  # the order they come in is not that of names
PRIORITIES = [-1, 0, 1]
RESTS = {"S": "succeeded", "R": "retrying", "D": "dead", "C": "cancelled", "Z": "scheduled"}
ENDED = {"succeeded", "dead", "cancelled"}
COUNTED = {"S", "R", "D", "C"}


@dataclass
class Job:
    """What the model knows of a job."""

    priority: int
    state: str = "ready"
    due: int = 0
    fence: int = 0
    settled: int = 0
    attempt: int = 0
    crashes: int = 0
    lost: int = 0
    parks: int = 0
    request: tuple[str, int] | None = None  # holder and request that claimed it
    asked: bool = False  # to stop
    record: bool = False  # whether it has one, without which nothing can be settled


@dataclass
class Model:
    """A queue as it should be."""

    now: int = 1_800_000_000_000
    jobs: dict[str, Job] = field(default_factory=dict)
    ready: dict[int, list[str]] = field(default_factory=lambda: {p: [] for p in PRIORITIES})
    running: list[str] = field(default_factory=list)  # in the order of their claims
    leases: dict[str, int] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)

    # -- moves -------------------------------------------------------------------------------------

    def line(self) -> list[str]:
        """The ready jobs, the next first."""
        return [id for priority in sorted(PRIORITIES)[::-1] for id in self.ready[priority]]

    def to(self, id: str, state: str, due: int = 0) -> None:
        """Out of where it is, into ``state``: at the end of the line if that is ready."""
        job = self.jobs[id]
        for line in (*self.ready.values(), self.running):
            if id in line:
                line.remove(id)
        job.state, job.due = state, due
        if state == "ready":
            self.ready[job.priority].append(id)

    def to_front(self, ids: list[str]) -> None:
        """To the front of their priorities, in the order given."""
        for id in reversed(ids):
            self.to(id, "ready")
            line = self.ready[self.jobs[id].priority]
            line.insert(0, line.pop())

    # -- calls -------------------------------------------------------------------------------------

    def enqueue(self, id: str, priority: int, wait: int) -> str:
        if id in self.jobs:
            return "E"
        self.jobs[id] = Job(priority, record=priority != 0)
        self.to(id, "scheduled" if wait else "ready", self.now + wait)
        return "N"

    def verdict(self, holder: str, id: str, fence: int, kind: str, resent: bool) -> str:
        job = self.jobs.get(id)
        if job is None or not job.record:
            return "S"
        if job.fence != fence:
            return "D" if resent and fence <= job.settled else "S"
        if job.settled == fence:
            return "D"
        if job.request is None or job.request[0] != holder:
            return "S"
        return "C" if job.asked and kind != "C" else "O"

    def settle(self, holder: str, outcomes: list[tuple[str, int, str, int]], resent: bool) -> str:
        """(id, fence, kind, delay) each."""
        verdicts, back = "", []
        for id, fence, kind, delay in outcomes:
            verdict = self.verdict(holder, id, fence, kind, resent)
            verdicts += verdict
            if verdict not in "OC":
                continue
            job = self.jobs[id]
            job.settled = fence
            job.attempt += kind in COUNTED
            if kind != "G":
                job.crashes = job.parks = 0
            if job.asked:
                job.asked, kind = False, "C"
            if kind == "G":
                back.append(id)
                self.to(id, "running")  # until all are known
            else:
                self.to(id, RESTS[kind], self.now + delay)
        self.to_front(back)
        return verdicts

    def register(self, holder: str, first: bool) -> bool:
        """Whether the holder's lease holds."""
        if holder not in self.leases and first:
            self.leases[holder] = self.now + LEASE
        return self.leases.get(holder, 0) > self.now

    def claim(self, holder: str, request: int, want: int, resent: bool) -> list[tuple[str, int]]:
        served = self.claims.get(holder, 0)
        if want and request <= served:
            mine = [id for id in self.running if self.jobs[id].request == (holder, request)]
            ids = mine if resent and request == served else []
        else:
            ids = self.line()[:want]
            if want:
                self.claims[holder] = request
            for id in ids:
                job = self.jobs[id]
                job.fence += 1
                job.record, job.request = True, (holder, request)
                self.to(id, "running")
                self.running.append(id)
        return [(id, self.jobs[id].fence) for id in ids]

    def cancel(self, id: str) -> str:
        job = self.jobs.get(id)
        if job is None:
            return "U"
        if job.state in ENDED:
            return "E"
        if job.state == "running":
            job.asked = True
            return "R"
        job.record = True
        self.to(id, "cancelled")
        return "C"

    def retry(self, id: str) -> str:
        job = self.jobs.get(id)
        if job is None:
            return "U"
        if job.state not in ENDED | {"retrying"}:
            return "E"
        job.attempt = job.crashes = job.lost = job.parks = 0
        self.to(id, "ready")
        return "O"

    def promote(self) -> int:
        moved = 0
        for state in ("scheduled", "retrying"):
            due = [id for id, job in self.jobs.items() if job.state == state]
            due = [id for id in due if self.jobs[id].due <= self.now]
            for id in sorted(due, key=lambda id: (self.jobs[id].due, id)):
                self.to(id, "ready")
                moved += 1
        return moved

    def park(self, holder: str, id: str, fence: int) -> str:
        verdict = self.verdict(holder, id, fence, "P", False)
        if verdict in "OC":
            job = self.jobs[id]
            job.settled = fence
            if job.asked:
                job.asked = False
                self.to(id, "cancelled")
            else:
                self.to(id, "waiting", self.now + min(1000 * 2**job.parks, 60_000))
                job.parks += 1
        return verdict

    def release(self) -> int:
        due = [id for id, job in self.jobs.items() if job.state == "waiting"]
        due = sorted(id for id in due if self.jobs[id].due <= self.now)
        for id in due:
            self.to(id, "ready")
        return len(due)

    def reclaim(self, holder: str, died: bool, started: dict[str, bool]) -> set[str]:
        if holder not in self.leases or not (died or self.leases[holder] <= self.now):
            return set()
        del self.leases[holder]
        self.claims.pop(holder, None)
        held = [id for id in self.running if self.jobs[id].request[0] == holder]  # type: ignore[index]
        back = []
        for id in held:
            job = self.jobs[id]
            job.fence += 1
            job.settled = job.fence
            if not died:
                job.lost += 1
            elif id in started:
                job.crashes = max(job.crashes, 1) + started[id]
            if job.asked:
                job.asked = False
                self.to(id, "cancelled")
            elif job.crashes > CRASH_LIMIT or job.lost > LOST_LIMIT:
                self.to(id, "dead")
            else:
                back.append(id)
        self.to_front(back)
        return set(held)


class Queue(RuleBasedStateMachine):
    """Every call is made in Redis and in the model; replies and all that is stored must agree."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.model = Model()
        self.broker = Broker(server, f"t{uuid4().hex[:12]}", now=lambda: self.model.now)
        self.names = count()
        self.children: list[Child] = []
        self.grants: list[Grant] = []  # everything that was ever granted, stale or not
        self.told: dict[str, list[tuple[str, int, str, int]]] = {}  # holder -> its last outcomes

    def teardown(self) -> None:
        keys = [self.broker.key(QUEUE, name) for name in QUEUE_KEYS]
        self.broker.server.command("DEL", *keys)

    @initialize()
    def start(self) -> None:
        self.children = [self.new_child(), self.new_child()]

    def new_child(self) -> Child:
        return Child(self.broker, f"child-{next(self.names)}")

    def answered(self, child: Child, answer: Any) -> None:
        """Lets the model do the exchange that ``child`` sent last, and compares the answers."""
        request: Exchange = child.last  # type: ignore[assignment]
        resent = request.resent > 0
        model = self.model
        verdicts = model.settle(child.holder, self.told[child.holder], resent)
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
        times=st.sampled_from([1, 1, 2]),
    )
    def enqueue(self, ids: list[str], priority: int, wait: int, times: int) -> None:
        for _ in range(times):
            letters = self.broker.enqueue(QUEUE, [draft(id, priority, -wait) for id in ids])
            assert letters == "".join(self.model.enqueue(id, priority, wait) for id in ids)

    @rule(
        who=st.integers(0, 1),
        want=st.integers(0, 3),
        picks=st.lists(st.tuples(st.integers(0, 99), st.sampled_from("SSRDCZG")), max_size=3),
        delay=st.sampled_from([0, 50, 3000]),
    )
    def exchange(self, who: int, want: int, picks: list[tuple[int, str]], delay: int) -> None:
        """Settles what was granted to anybody at any time, late ones too, and claims."""
        child = self.children[who]
        told, outcomes = [], []
        for pick, kind in picks if self.grants else []:
            grant = self.grants[-1 - pick % len(self.grants)]
            keep = DAY if kind in "SDC" else delay
            told.append((grant.id, grant.live.fence, kind, keep))
            outcomes.append(outcome(grant, kind, b"1", keep))
        self.told[child.holder] = told
        self.answered(child, child.exchange(want, outcomes))

    @precondition(lambda self: self.told)
    @rule(who=st.integers(0, 1), age=st.integers(1, 500))
    def send_again(self, who: int, age: int) -> None:
        """The reply was lost; others may have called in the meantime."""
        child = self.children[who]
        if child.last is not None:
            self.model.now += age
            self.answered(child, child.again())

    @rule(id=st.sampled_from(IDS))
    def cancel(self, id: str) -> None:
        (answer,) = self.broker.cancel(QUEUE, [(id, TASK)], FAILURE, DAY)
        assert answer.verdict == self.model.cancel(id)

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True))
    def retry(self, ids: list[str]) -> None:
        assert self.broker.retry(QUEUE, ids) == "".join(self.model.retry(id) for id in ids)

    @rule(step=st.sampled_from([0, 1, 50, 3000, LEASE // 2]))
    def promote(self, step: int) -> None:
        self.model.now += step
        assert self.broker.promote(QUEUE, "keeper").moved == self.model.promote()

    @precondition(lambda self: self.model.running)
    @rule(pick=st.integers(0, 99))
    def park(self, pick: int) -> None:
        grant = self.grants[-1 - pick % len(self.grants)]
        expected = self.model.park(grant.live.holder, grant.id, grant.live.fence)
        assert self.broker.park(QUEUE, [parked(grant)]) == expected

    @rule()
    def release(self) -> None:
        assert self.broker.release(QUEUE, TASK) == self.model.release()

    @rule(who=st.integers(0, 1))
    def renew(self, who: int) -> None:
        holder, model = self.children[who].holder, self.model
        answer = self.broker.renew([QUEUE], [holder], LEASE)[QUEUE]
        if holder not in model.leases:
            assert answer.holders[holder] == "U"
        elif model.leases[holder] <= model.now:
            assert answer.holders[holder] == "L"
        else:
            assert answer.holders[holder] == "O"
            model.leases[holder] = model.now + LEASE

    @rule(
        who=st.integers(0, 1),
        died=st.booleans(),
        marks=st.dictionaries(st.sampled_from(IDS), st.booleans(), max_size=4),
    )
    def reclaim(self, who: int, died: bool, marks: dict[str, bool]) -> None:
        child = self.children[who]
        expected = self.model.reclaim(child.holder, died, marks)
        taken, _ = self.broker.reclaim(QUEUE, child.holder, FAILURE, died=died, started=marks)
        assert set(taken) == expected
        if child.holder not in self.model.leases:
            self.children[who] = self.new_child()  # a holder's name is never used again

    # -- what must always hold ---------------------------------------------------------------------

    @invariant()
    def every_job_is_where_the_model_has_it(self) -> None:
        found = states(self.broker)
        jobs = self.model.jobs
        assert sorted(id for ids in found.values() for id in ids) == sorted(jobs)
        assert {id: state for state, ids in found.items() for id in ids} == {
            id: job.state for id, job in jobs.items()
        }
        assert found.get("ready", []) == self.model.line()
        for state in {State.SCHEDULED, State.RETRYING} & found.keys():
            assert sorted(found[state]) == sorted(
                id for id, job in jobs.items() if job.state == state
            )

    @invariant()
    def every_record_says_what_the_model_says(self) -> None:
        for id, job in self.model.jobs.items():
            record = live(self.broker, id)
            assert (record is not FRESH) == job.record
            assert (
                record.fence,
                record.settled,
                record.attempt,
                record.crashes,
                record.lost,
                record.parks,
                record.priority,
                bool(record.ended),
            ) == (
                job.fence,
                job.settled,
                job.attempt,
                job.crashes,
                job.lost,
                job.parks,
                job.priority,
                job.state in ENDED,
            )

    @invariant()
    def nothing_is_left_over(self) -> None:
        found = dump(self.broker)
        jobs = self.model.jobs
        waiting = [id for id, job in jobs.items() if job.state == "waiting"]
        asked = [id for id, job in jobs.items() if job.asked]
        assert set(found["cancels"]) == {id.encode() for id in asked}
        assert sorted(found["parked"][::2]) == sorted(f"{TASK} {id}".encode() for id in waiting)
        assert len(found["jobs"]) == len(jobs)
        assert tokens(self.broker) == bool(self.model.line())
        assert set(found["holders"][::2]) == {holder.encode() for holder in self.model.leases}


def test_scripts_and_model_agree_whatever_is_called(server: Server) -> None:
    run_state_machine_as_test(
        lambda: Queue(server),
        settings=settings(
            max_examples=int(os.environ.get("TASKQ_MODEL_EXAMPLES", "30")),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
