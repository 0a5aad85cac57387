"""Whatever a worker that lost its lease could still write, said for it: all of it is refused.

Its own processes say some of it when they wake, by chance of what they were about to do. This
says the rest in their words: outcomes of every kind, a park, a renewal, a claim.
"""

from __future__ import annotations

from collections.abc import Sequence

from django_taskq.broker.broker import Broker, Exchange
from django_taskq.job import Grant, Kind, Live, Outcome

QUEUE = "default"
SETTLED = "SRDCZGXK"  # kinds of outcomes
LEASE = 5_000  # ms
LAST_REQUEST = 1 << 40  # behind any that a worker counted to


class LateWriter:
    """What jobs' holders may write until others take the jobs over, and should not after that."""

    def __init__(self, broker: Broker, ids: Sequence[str]) -> None:
        self._broker = broker
        self._grants = [Grant(QUEUE, id, b"", live) for id, live in self._lives(ids).items()]
        self.refused = 0
        self.accepted: list[str] = []  # what was, and should not

    def write(self) -> None:
        """All of it at once."""
        now = self._lives([grant.id for grant in self._grants])
        for holder in {grant.live.holder for grant in self._grants}:
            self._renew(holder)
            self._claim(holder)
        for grant in self._grants:
            # Also with the name of who has it now: a holder may get the same job a second time,
            # and then only the fence tells what it said of the first.
            for holder in {grant.live.holder, now[grant.id].holder}:
                self._settle(grant, holder)

    def _lives(self, ids: Sequence[str]) -> dict[str, Live]:
        return {
            id: stored.live for id, stored in zip(ids, self._broker.fetch(QUEUE, ids), strict=True)
        }

    def _renew(self, holder: str) -> None:
        answer = self._broker.renew([QUEUE], [holder], LEASE)[QUEUE]
        self._note(answer.holders[holder] != "O", f"a renewal of {holder}")

    def _claim(self, holder: str) -> None:
        (answer,) = self._broker.exchange(
            [Exchange(QUEUE, holder, LEASE, False, LAST_REQUEST, want=1)]
        )
        self._note(not answer.alive and not answer.grants, f"a claim of {holder}")

    def _settle(self, grant: Grant, holder: str) -> None:
        for kind in SETTLED:
            outcome = Outcome(grant, Kind(kind), b'"too late"')
            (answer,) = self._broker.exchange(
                [Exchange(QUEUE, holder, LEASE, False, LAST_REQUEST, 0, [outcome])]
            )
            self._note(answer.verdicts == "S", f"outcome {kind} of {grant.id}")
        held = grant._replace(live=grant.live._replace(holder=holder))
        verdicts = self._broker.park(QUEUE, [Outcome(held, Kind.PARKED, b"late", task="late")])
        self._note(verdicts == "S", f"a park of {grant.id}")

    def _note(self, refused: bool, what: str) -> None:
        if refused:
            self.refused += 1
        else:
            self.accepted.append(what)
