"""What operators read. Changes nothing.

``queues`` are queues, processes and weights, ``limits`` what keeps jobs waiting, ``jobs`` lists and
searches, ``one`` a single job with the reasons why it does not run, ``history`` what happened per
minute, hour or day, ``server`` the server itself. Every read is bounded however many jobs there
are, and makes one round trip unless it says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import redis

from ...job import State
from ..broker import HOUSEKEEPING, Broker
from ..calls import Call
from ..connection import value_of
from ..keys import QUEUE_KEYS
from ..roster import Roster, Worker, workers_in
from ..steering import Steering, Tally, tallies
from ..triage import Triage, Verdict, verdicts_in
from . import jobs, limits, one, server
from .history import Look, Step
from .jobs import Found, Match, Page, Place, Row
from .limits import Gate, Limits, LimitState
from .one import Door, Examined, Lock, Needs, Standing
from .queues import FEW, SAMPLES, Holder, QueueState, due_at, pairs, queue_state, weight_in
from .server import Replica, ServerState

__all__ = [
    "Door",
    "Examined",
    "Found",
    "Gate",
    "Holder",
    "Inspector",
    "LimitState",
    "Limits",
    "Lock",
    "Look",
    "Match",
    "Needs",
    "Newest",
    "Page",
    "Place",
    "QueueState",
    "Replica",
    "Row",
    "ServerState",
    "Standing",
    "Step",
    "due_at",
    "pairs",
    "queue_state",
]

Overview = list[tuple[QueueState, bytes]]  # a queue, and why it is paused


class Newest(NamedTuple):
    """The newest jobs of some states, what was decided about failures, and the server."""

    page: Page
    verdicts: Mapping[str, Verdict]
    server: ServerState


class Inspector:
    """The reads of one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def queues(self, names: Sequence[str], skip: int = 0) -> list[QueueState]:
        """The queues, each with HOUSEKEEPING of its holders after ``skip``; one round trip."""
        broker = self._broker
        calls = [broker.survey_call(name, skip, HOUSEKEEPING) for name in names]
        replies = broker.server.call_many(calls) if calls else []
        return [queue_state(name, reply) for name, reply in zip(names, replies, strict=True)]

    def manned(self, names: Sequence[str]) -> tuple[list[QueueState], tuple[int, list[Worker]]]:
        """The queues, and Redis' time with the workers that stand; one round trip."""
        broker = self._broker
        calls = [broker.survey_call(name, 0, HOUSEKEEPING) for name in names]
        *replies, roster = broker.server.call_many([*calls, Roster(broker).call()])
        states = [queue_state(name, reply) for name, reply in zip(names, replies, strict=True)]
        return states, workers_in(roster)

    def queue(self, name: str, skip: int = 0) -> QueueState:
        """One queue."""
        return self.queues([name], skip)[0]

    def holders(self, name: str) -> Iterator[Holder]:
        """Every holder of a queue, page by page, those whose leases end first at the front."""
        skip = 0
        while page := self.queue(name, skip).page:
            yield from page
            skip += len(page)

    def limits(self, name: str, wanted: Sequence[str] = ()) -> Limits:
        """The limits of a queue; ``wanted``: those that are looked for however many there are."""
        return limits.limits_in(self._broker.server.call(limits.call(self._broker, name, wanted)))

    def wrong_types(self, name: str) -> dict[str, str]:
        """Keys of a queue that are not what they should be -> what they are.

        With one of them every other read of the queue fails.
        """
        reply = self._broker.server.call(self._broker.types_call(name))
        types = {reply[at].decode(): reply[at + 1].decode() for at in range(0, len(reply), 2)}
        return {
            key: kind
            for key, kind in types.items()
            if kind not in ("none", QUEUE_KEYS[key].lower())
        }

    def weights(self, name: str) -> dict[str, int]:
        """Bytes per key of a queue, the heaviest first; {} where the server does not tell."""
        try:
            reply = self._broker.server.call(self._broker.weigh_call(name, SAMPLES))
        except redis.ResponseError:  # no right to MEMORY
            return {}
        sizes = pairs(reply)
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))

    def memory(self) -> tuple[int, int]:
        """Bytes that the server uses, and its maxmemory; 0 for none, or if it does not tell."""
        (reply,) = self._broker.server.call_each([server.CALL])
        return server.server_state(reply)[:2]

    # -- jobs ------------------------------------------------------------------------------------

    def page(
        self,
        queues: Sequence[str],
        state: State,
        after: Place | None = None,
        *,
        newest_first: bool = True,
        size: int = jobs.PAGE,
    ) -> Page:
        """A page of the jobs in one state, of several queues merged."""
        return jobs.page(self._broker, queues, state, after, newest_first=newest_first, size=size)

    def search(
        self,
        sizes: Mapping[tuple[str, State], int],
        matches: Sequence[Match],
        head: int = jobs.HEAD,
        tail: int = jobs.TAIL,
    ) -> Page:
        """The newest jobs that may match one of them; see jobs.search()."""
        return jobs.search(self._broker, sizes, matches, head, tail)

    def peek(self, queue: str, ids: Sequence[str]) -> list[Row]:
        """The jobs of these ids that there are, without their failures."""
        return jobs.peek(self._broker, {queue: ids})

    def states(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, State]:
        """id -> state of the jobs of these ids, by queue, that there are."""
        return {row.id: row.state for row in jobs.peek(self._broker, wanted, head=0)}

    def newest(
        self, sizes: Mapping[tuple[str, State], int], most: int, tail: int = jobs.TAIL
    ) -> Newest:
        """The newest jobs of several states and queues, ``most`` in all; one round trip.

        All of them, however large: one look has no more than it reads in any case.
        Of a Cluster no node speaks for all: there nothing is said of it.
        """
        asked = [
            jobs.Scan(queue, state, skip=skip, most=count, tail=tail, head=jobs.NAME)
            for (queue, state), share in jobs.shared_out(sizes, most).items()
            for skip, count in jobs.pieces(share, jobs.WHOLE)
        ]
        server_calls = [] if self._broker.server.is_cluster else [server.CALL]
        scans = [each.call(self._broker) for each in asked]
        calls = [Triage(self._broker).call(), *scans, *server_calls]
        verdicts, *replies = self._broker.server.call_each(calls)
        state = server.server_state(replies.pop()) if server_calls else ServerState()
        answers = [jobs.found(*pair) for pair in zip(asked, map(value_of, replies), strict=True)]
        rows = {(row.queue, row.id): row for answer in answers for row in answer.rows}
        page = Page(list(rows.values()), None, len(rows))
        return Newest(page, verdicts_in(value_of(verdicts)), state)

    def walk(
        self,
        queue: str,
        state: State,
        match: Match,
        head: int = jobs.HEAD,
        tail: int = jobs.TAIL,
    ) -> Iterator[Found]:
        """Every job of a state that may match, in chunks; one round trip each."""
        return jobs.walk(self._broker, queue, state, match, head, tail)

    def examine(self, queue: str, id: str) -> Examined:
        """One job as it is; up to two round trips."""
        return one.examine(self._broker, queue, id)

    # -- what else there is ----------------------------------------------------------------------

    def overview(self, names: Sequence[str]) -> Overview:
        """Each queue, and why it is paused as whoever paused it wrote it (b"" for nothing)."""
        return self.overview_with_past(names)[0]

    def overview_with_past(
        self, names: Sequence[str], *looks: Look, also: Sequence[Call] = ()
    ) -> tuple[Overview, list[list[Any]], list[Any]]:
        """``overview()``, and per look what its ``steps()`` and ``tasks()`` read; one trip.

        ``also``: what is to be read with it, the replies come last.
        """
        overview, past, others = self._overview(names, looks, also)
        return overview, past, [value_of(reply) for reply in others]

    def weighed_overview(
        self, names: Sequence[str], *looks: Look
    ) -> tuple[Overview, list[list[Any]], list[int | None]]:
        """The same, and the bytes that each takes; None where the server does not tell."""
        calls = [self._broker.weigh_call(name, FEW) for name in names]
        overview, past, weights = self._overview(names, looks, calls)
        return overview, past, [weight_in(reply) for reply in weights]

    def closeup(
        self, name: str, *looks: Look, also: Sequence[Call] = ()
    ) -> tuple[Overview, list[list[Any]], int | None, Limits, list[Any]]:
        """The same of one queue, and its limits."""
        calls = [self._broker.weigh_call(name, FEW), limits.call(self._broker, name), *also]
        overview, past, (weight, found, *others) = self._overview([name], looks, calls)
        read = [value_of(reply) for reply in others]
        return overview, past, weight_in(weight), limits.limits_in(value_of(found)), read

    def _overview(
        self, names: Sequence[str], looks: Sequence[Look], others: Sequence[Call]
    ) -> tuple[Overview, list[list[Any]], list[Any]]:
        """``others``: calls that are sent along; a reply or an error for each."""
        surveys = [self._broker.survey_call(name, 0, HOUSEKEEPING) for name in names]
        places = [
            self._broker.operator_call("position", name, ("", ""), timed=True) for name in names
        ]
        past = [look.call(self._broker, name) for look in looks for name in names]
        calls = [*surveys, *places, *past, *others]
        replies = self._broker.server.call_each(calls) if calls else []
        count = len(names)
        read = [value_of(reply) for reply in replies[: count * (2 + len(looks))]]
        overview = [
            (queue_state(name, survey), one.standing(place).pause_note)
            for name, survey, place in zip(
                names, read[:count], read[count : 2 * count], strict=True
            )
        ]
        looked = [read[at * count : (at + 1) * count] for at in range(2, 2 + len(looks))]
        return overview, looked, replies[len(read) :]

    def tallies(self, names: Sequence[str]) -> dict[str, list[Tally]]:
        """What jobs say that do something to many others, by the queue that they run in."""
        steering = Steering(self._broker)
        calls = [steering.tallies_call(name) for name in names]
        replies = self._broker.server.call_many(calls) if calls else []
        return {name: tallies(reply) for name, reply in zip(names, replies, strict=True)}

    def tasks(self, queues: Sequence[str], step: int, count: int) -> dict[str, Counter[str]]:
        """What happened to each task in ``count`` steps of ``step`` ms up to now; one trip."""
        look = Look(step, count, by_task=True)
        return look.tasks(self.past(queues, look)[0])

    def past(self, queues: Sequence[str], look: Look, *also: Call) -> tuple[list[Any], list[Any]]:
        """What a look's ``steps()`` and ``tasks()`` read, and the replies to ``also``; one trip."""
        calls = [look.call(self._broker, queue) for queue in queues]
        replies = self._all([*calls, *also])
        return replies[: len(calls)], replies[len(calls) :]

    def _all(self, calls: Sequence[Call]) -> list[Any]:
        """The replies; nobody is asked for none."""
        return self._broker.server.call_many(calls) if calls else []
