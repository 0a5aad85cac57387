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

from django_taskq.broker.broker import CRASH_LIMIT, LOST_LIMIT, Broker, Exchange, Limits
from django_taskq.broker.connection import Server
from django_taskq.broker.keys import QUEUE_KEYS
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

IDS = [f"job-{letter}" for letter in "hgfedcba"]  # the order they come in is not that of names
PRIORITIES = [-1, 0, 1]
RESTS = {"S": "succeeded", "R": "retrying", "D": "dead", "C": "cancelled", "Z": "scheduled"}
ENDED = {"succeeded", "dead", "cancelled"}
COUNTED = {"S", "R", "D", "C"}
KEEP = {"succeeded": 3, "dead": 2, "cancelled": 2}  # ended jobs, so few that some are trimmed
DEAD_RETENTION = 60_000  # ms
COUNTERS = ["fence", "settled", "attempt", "crashes", "lost", "parks"]
RECORDED = [*COUNTERS, "priority", "expires", "ended"]  # in `live`


@dataclass
class Job:
    """What the model knows of a job."""

    priority: int
    state: str = "ready"
    due: int = 0  # of an ended job: when it may be trimmed
    expires: int = 0
    fence: int = 0
    settled: int = 0
    attempt: int = 0
    crashes: int = 0
    lost: int = 0
    parks: int = 0
    ended: int = 0
    valued: bool = False  # whether a value is stored
    failures: int = 0  # that are stored
    request: tuple[str, int] | None = None  # holder and request that claimed it
    claimed: tuple[int, int, int] = (0, 0, 0)  # when, by which request, at which place of it
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
    renewed: int = 0
    reap_after: int = 0
    trimmed: int = 0

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

    def end(self, id: str, state: str, keep: int) -> None:
        """To its end, where it stays for ``keep`` ms, but for so long as a call may come again."""
        self.to(id, state, self.now + max(keep, WINDOW))
        self.jobs[id].ended = self.now

    def of(self, *wanted: str) -> list[str]:
        """The jobs in these states, by their times."""
        ids = [id for id, job in self.jobs.items() if job.state in wanted]
        return sorted(ids, key=lambda id: (self.jobs[id].due, id))

    def trim(self, state: str, most: int) -> int:
        """Deletes ended jobs that are over their time, else those that are too many."""
        here = self.of(state)
        gone = [id for id in here if self.jobs[id].due <= self.now][:most]
        if not gone:
            over = here[: max(min(len(here) - KEEP[state], most), 0)]
            gone = [id for id in over if self.jobs[id].ended <= self.now - WINDOW]
        for id in gone:
            del self.jobs[id]
        self.trimmed += len(gone)
        return len(gone)

    def to_front(self, ids: list[str]) -> None:
        """To the front of their priorities, in the order given."""
        for id in reversed(ids):
            self.to(id, "ready")
            line = self.ready[self.jobs[id].priority]
            line.insert(0, line.pop())

    # -- calls -------------------------------------------------------------------------------------

    def enqueue(self, id: str, priority: int, wait: int, expires: int) -> str:
        if id in self.jobs:
            return "E"
        self.jobs[id] = Job(priority, record=bool(priority or expires))
        self.jobs[id].expires = expires and self.now + expires
        self.to(id, "scheduled" if wait else "ready", self.now + wait)
        return "N"

    def verdict(self, id: str, fence: int, kind: str, resent: bool) -> str:
        job = self.jobs.get(id)
        if job is None or not job.record:
            return "S"
        if job.fence != fence:
            return "D" if resent and fence <= job.settled else "S"
        if job.settled == fence:
            return "D"
        return "C" if job.asked and kind != "C" else "O"

    def settle(self, outcomes: list[tuple[str, int, str, int]], resent: bool, lean: bool) -> str:
        """(id, fence, kind, delay) each."""
        verdicts, back, ends = "", [], set()
        for id, fence, kind, delay in outcomes:
            verdict = self.verdict(id, fence, kind, resent)
            verdicts += verdict
            if verdict not in "OC":
                continue
            job = self.jobs[id]
            job.settled = fence
            job.valued |= kind == "S"
            job.failures += kind != "S"
            if job.asked:
                job.asked = False
                kind, delay = "C", delay if kind in "SDC" else DAY
            job.attempt += kind in COUNTED
            if kind == "G":
                back.append(id)
                self.to(id, "running")  # until all are known
                continue
            job.crashes = job.parks = 0
            if kind in "SDC":
                ends.add(RESTS[kind])
                self.end(id, RESTS[kind], delay)
            else:
                self.to(id, RESTS[kind], self.now + delay)
        self.to_front(back)
        budget = len(outcomes) * (4 if lean else 2)
        for state in ends:  # in any order: the tests leave room for all of several
            budget -= self.trim(state, budget)
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
            for place, id in enumerate(ids):
                job = self.jobs[id]
                job.fence += 1
                job.record, job.request = True, (holder, request)
                job.claimed = self.now, request, place
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
        job.failures += 1
        self.end(id, "cancelled", DAY)
        return "C"

    def retry(self, id: str) -> str:
        job = self.jobs.get(id)
        if job is None:
            return "U"
        if job.state not in ENDED | {"retrying"}:
            return "E"
        job.attempt = job.crashes = job.lost = job.parks = job.expires = job.ended = 0
        job.valued, job.record = False, True
        self.to(id, "ready")
        return "O"

    def promote(self) -> int:
        moved = 0
        for state in ("scheduled", "retrying"):
            for id in self.of(state):
                if self.jobs[id].due <= self.now:
                    self.to(id, "ready")
                    moved += 1
        return moved

    def park(self, id: str, fence: int) -> str:
        verdict = self.verdict(id, fence, "P", False)
        if verdict in "OC":
            job = self.jobs[id]
            job.settled = fence
            if job.asked:
                job.asked = False
                self.end(id, "cancelled", DEAD_RETENTION)
            else:
                self.to(id, "waiting", self.now + min(1000 * 2**job.parks, 60_000))
                job.parks += 1
        return verdict

    def release(self) -> int:
        due = sorted(id for id in self.of("waiting") if self.jobs[id].due <= self.now)
        for id in due:
            self.to(id, "ready")
        return len(due)

    def reclaim(self, holder: str, died: bool, started: dict[str, bool]) -> set[str]:
        if holder not in self.leases or not (died or self.leases[holder] <= self.now):
            return set()
        del self.leases[holder]
        self.claims.pop(holder, None)
        held = [id for id in self.running if self.jobs[id].request[0] == holder]  # type: ignore[index]
        held.sort(key=lambda id: self.jobs[id].claimed)
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
                self.end(id, "cancelled", DEAD_RETENTION)
            elif job.crashes > CRASH_LIMIT or job.lost > LOST_LIMIT:
                job.failures += 1
                self.end(id, "dead", DEAD_RETENTION)
            else:
                back.append(id)
        self.to_front(back)
        return set(held)

    def renew(self, holder: str) -> tuple[str, list[str]]:
        """The holder's letter, and the dead that may be reaped."""
        if self.renewed and self.now - self.renewed > LEASE / 2:  # an outage
            self.reap_after = self.now + LEASE
        self.renewed = self.now
        letter = "U"
        if holder in self.leases:
            letter = "O" if self.leases[holder] > self.now else "L"
        if letter == "O":
            self.leases[holder] = self.now + LEASE
        if self.now < self.reap_after:
            return letter, []
        return letter, [each for each, until in self.leases.items() if until <= self.now]


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
        self.sent: dict[str, int] = {}  # holder -> when it sent them first

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
        if answer.alive and request.first:
            self.known.add(child.holder)
        verdicts = model.settle(self.told[child.holder], resent, request.lean)
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
        self.sent[child.holder] = self.model.now
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
            self.answered(child, child.again(self.model.now - self.sent[child.holder]))

    @precondition(lambda self: self.told)
    @rule(who=st.integers(0, 9))
    def arrive_late(self, who: int) -> None:
        """A call that was given up reaches Redis after all, maybe when its holder is gone."""
        sent = [child for child in self.children + self.gone if child.last is not None]
        if sent:
            child = sent[who % len(sent)]
            self.answered(child, child.again(0))
            if child in self.gone and child.holder in self.model.leases:
                self.reclaim_of(child, died=True, marks={})

    @rule(step=st.sampled_from([1, 700, -700, -5_000, WINDOW, WINDOW, LEASE]))
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

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=3, max_size=6, unique=True))
    def retry(self, ids: list[str]) -> None:
        assert self.broker.retry(QUEUE, ids) == "".join(self.model.retry(id) for id in ids)

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
        expected = self.model.park(grant.id, grant.live.fence)
        assert self.broker.park(QUEUE, [parked(grant)]) == expected

    @rule()
    def release(self) -> None:
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
        assert {told[:3] for told in answer.cancels} == {
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
        marks=st.dictionaries(st.sampled_from(IDS), st.booleans(), max_size=4),
    )
    def reclaim(self, who: int, died: bool, marks: dict[str, bool]) -> None:
        child = self.children[who]
        self.reclaim_of(child, died, marks)
        if child.holder not in self.model.leases:
            self.gone.append(child)
            self.children[who] = self.new_child()  # a holder's name is never used again

    def reclaim_of(self, child: Child, died: bool, marks: dict[str, bool]) -> None:
        expected = self.model.reclaim(child.holder, died, marks)
        taken, _ = self.broker.reclaim(QUEUE, child.holder, FAILURE, died=died, started=marks)
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
        assert int(found["meta"].get(b"trimmed", 0)) == self.model.trimmed
        assert {name.decode(): int(n) for name, n in found["claims"].items()} == self.model.claims
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
