"""Failures that are the same as one: how often, since when, and what was decided about them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .broker.inspector import Row
from .broker.triage import Decision, Verdict
from .codec import OPEN, Seals
from .frames import Fingerprint, fingerprint
from .job import Failure
from .showing import envelope_in, last_failure


class Member(NamedTuple):
    """A job of a group.

    ``at``: when it failed, see ``failed_at()``; ``message``: what it said; ``release``: of the
    project that failed, "" unknown.
    """

    at: int
    row: Row
    message: str
    release: str = ""


class Group(NamedTuple):
    """Failures that are the same.

    ``members``: the job that failed last is the last; none for a group of which no failure was
    seen, only its verdict. ``decision``: OPEN unless the verdict holds.
    """

    fingerprint: Fingerprint
    members: Sequence[Member] = ()
    verdict: Verdict | None = None
    decision: Decision = Decision.OPEN

    @property
    def jobs(self) -> int:
        return len(self.members)

    @property
    def first(self) -> int:
        return self.members[0].at if self.members else 0

    @property
    def last(self) -> int:
        return self.members[-1].at if self.members else 0

    @property
    def sample(self) -> Row | None:
        return self.members[-1].row if self.members else None

    @property
    def message(self) -> str:
        return self.members[-1].message if self.members else ""

    @property
    def releases(self) -> list[str]:
        """Of the first and of the last failure, where they are known; one if it is the same."""
        ends = [*self.members[:1], *self.members[-1:]]
        return list(dict.fromkeys(member.release for member in ends if member.release))

    @property
    def states(self) -> dict[str, int]:
        """How many are in which state."""
        return dict(Counter(str(member.row.state) for member in self.members))

    @property
    def queues(self) -> list[str]:
        return sorted({member.row.queue for member in self.members})

    @property
    def back(self) -> int:
        """How many failed after the group was resolved; 0 for one that was not."""
        if self.verdict is None or self.verdict.decision is not Decision.RESOLVED:
            return 0
        return self.since(self.verdict.at)

    def since(self, moment: int) -> int:
        """How many failed later than that (ms)."""
        return self.jobs - bisect_right(self.members, moment, key=lambda member: member.at)


def groups(
    rows: Iterable[Row],
    seals: Seals | None,
    verdicts: Mapping[str, Verdict] | None = None,
    now: int = 0,
) -> list[Group]:
    """The failures of jobs by exception, task and the project's innermost frame; largest first.

    Behind them what is ignored or resolved and has no failure among these, by ``verdicts``: digest
    of a fingerprint -> what was decided. ``now``: ms of Redis' clock.
    """
    verdicts = verdicts or {}
    made = [
        judged(key, sorted(members, key=lambda member: member.at), verdicts.get(key.digest), now)
        for key, members in gathered(rows, seals or OPEN).items()
    ]
    made.sort(key=lambda group: (-group.jobs, -group.last))
    seen = {group.fingerprint for group in made}
    others = [
        judged(verdict.fingerprint, (), verdict, now)
        for verdict in sorted(verdicts.values(), key=lambda verdict: -verdict.at)
        if verdict.fingerprint not in seen and verdict.holds(0, now)
    ]
    return [*made, *others]


def gathered(rows: Iterable[Row], seals: Seals) -> dict[Fingerprint, list[Member]]:
    """The jobs that failed, by what their last failures have in common."""
    found: dict[Fingerprint, list[Member]] = {}
    for row in rows:
        failure = last_failure(row, seals)
        if failure.c:
            key = fingerprint(failure.c, envelope_in(row, seals).t, failure.b)
            member = Member(failed_at(row, failure), row, failure.m, failure.r)
            found.setdefault(key, []).append(member)
    return found


def judged(key: Fingerprint, members: Sequence[Member], verdict: Verdict | None, now: int) -> Group:
    """The group with its verdict, unless that is over."""
    if verdict is None or verdict.is_over(now):
        return Group(key, members)
    last = members[-1].at if members else 0
    decision = verdict.decision if verdict.holds(last, now) else Decision.OPEN
    return Group(key, members, verdict, decision)


def failed_at(row: Row, failure: Failure) -> int:
    """When a job failed (ms): of one that has ended by Redis' clock, as verdicts are.

    Of one that backs off only its worker says it.
    """
    return row.live.ended or failure.f or row.live.started
