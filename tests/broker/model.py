"""A queue as it should be: what scripts do, in Python, without scores, records or sequences.

A priority is a list, a state is a word. tests/broker/test_model.py holds the scripts against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django_taskq.broker.broker import LOST_LIMIT
from tests.broker.helpers import DAY, LEASE, WINDOW

PRIORITIES = [-1, 0, 1]
RESTS = {"S": "succeeded", "R": "retrying", "D": "dead", "C": "cancelled", "Z": "scheduled"}
ENDED = {"succeeded", "dead", "cancelled"}
COUNTED = {"S", "R", "D", "C"}
KEEP = {"succeeded": 3, "dead": 2, "cancelled": 2}  # ended jobs, so few that some are trimmed
DEAD_RETENTION = 60_000  # ms


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
    claims: dict[str, tuple[int, int]] = field(default_factory=dict)  # request, ms
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

    def settle(
        self, holder: str, outcomes: list[tuple[str, int, str, int]], resent: bool, lean: bool
    ) -> str:
        """(id, fence, kind, delay) each."""
        verdicts, back, ends = "", [], set()
        for id, fence, kind, delay in outcomes:
            verdict = self.verdict(holder, id, fence, kind, resent)
            verdicts += verdict
            if verdict not in "OC":
                continue
            job = self.jobs[id]
            job.settled = fence
            job.attempt += kind in COUNTED
            job.valued |= kind == "S"
            job.failures += kind != "S"
            if job.asked:
                job.asked = False
                kind, delay = "C", delay if kind in "SDC" else DAY
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
        served, _ = self.claims.get(holder, (0, 0))
        if want and request <= served:
            mine = [id for id in self.running if self.jobs[id].request == (holder, request)]
            ids = mine if resent and request == served else []
        else:
            ids = self.line()[:want]
            if want:
                self.claims[holder] = request, self.now
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
        self.anew(job)
        self.to(id, "ready")
        return "O"

    def anew(self, job: Job) -> None:
        """As if it had never been run, but for its failures."""
        job.attempt = job.crashes = job.lost = job.parks = job.expires = job.ended = 0
        job.valued, job.record = False, True

    def postpone(self, id: str, due: int) -> str:
        job = self.jobs.get(id)
        if job is None:
            return "U"
        if job.state not in ENDED | {"retrying", "scheduled"}:
            return "E"
        if job.state != "scheduled":
            self.anew(job)
        self.to(id, "scheduled", due)
        return "O"

    def advance(self, id: str) -> str:
        job = self.jobs.get(id)
        if job is None or job.state not in ("scheduled", "retrying"):
            return "E"
        self.to(id, "ready")
        return "O"

    def withdraw(self, id: str) -> str:
        job = self.jobs.get(id)
        if job is not None and job.state == "running":
            return "R"
        return {"C": "O"}.get(letter := self.cancel(id), letter)

    def delete(self, id: str) -> str:
        job = self.jobs.get(id)
        if job is None:
            return "U"
        if job.state not in ENDED:
            return "E"
        if job.ended > self.now - WINDOW:
            job.due = min(job.due, job.ended + WINDOW)
            return "W"
        del self.jobs[id]
        self.trimmed += 1
        return "O"

    def promote(self) -> int:
        moved = 0
        for state in ("scheduled", "retrying"):
            for id in self.of(state):
                if self.jobs[id].due <= self.now:
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
                self.end(id, "cancelled", DAY)
            else:
                self.to(id, "waiting", self.now + min(1000 * 2**job.parks, 60_000))
                job.parks += 1
        return verdict

    def release(self) -> int:
        due = sorted(id for id in self.of("waiting") if self.jobs[id].due <= self.now)
        for id in due:
            self.to(id, "ready")
        return len(due)

    def reclaim(self, holder: str, died: bool, started: set[str]) -> set[str]:
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
                job.crashes = max(job.crashes, 1)
            if job.asked:
                job.asked = False
                self.end(id, "cancelled", DAY)
            elif job.lost > LOST_LIMIT:
                job.failures += 1
                self.end(id, "dead", DEAD_RETENTION)
            else:
                back.append(id)
        self.to_front(back)
        return set(held)

    def renew(self, holder: str) -> tuple[str, list[str]]:
        """The holder's letter, and the dead that may be reaped."""
        renewed = self.renewed or self.now
        if renewed > self.now:  # the clock was set back
            self.reap_after = self.now + max(self.reap_after - renewed, 0)
        if self.now - renewed > LEASE / 2:  # an outage
            self.reap_after = max(self.reap_after, self.now + LEASE)
        self.renewed = self.now
        letter = "U"
        if holder in self.leases:
            letter = "O" if self.leases[holder] > self.now else "L"
        if letter == "O":
            self.leases[holder] = self.now + LEASE
        if self.now < self.reap_after:
            return letter, []
        return letter, [each for each, until in self.leases.items() if until <= self.now]
