"""What operators read. Changes nothing.

``queues`` are queues, processes and weights, ``jobs`` lists and searches, ``one`` a single job with
the reasons why it does not run, ``history`` what happened per minute, hour or day. Every read is
bounded however many jobs there are, and makes one round trip unless it says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis

from ...job import State
from ..broker import HOUSEKEEPING, Broker
from ..calls import Command
from ..keys import QUEUE_KEYS
from ..replies import text
from ..roster import Roster, Worker, workers_in
from ..steering import Steering, Tally, tallies
from . import jobs, one
from .history import Look, Step
from .jobs import Found, Match, Page, Place, Row
from .one import Examined, Standing
from .queues import SAMPLES, Gate, Holder, QueueState, due_at, pairs, queue_state

__all__ = [
    "Examined",
    "Found",
    "Gate",
    "Holder",
    "Inspector",
    "Look",
    "Match",
    "Page",
    "Place",
    "QueueState",
    "Row",
    "Standing",
    "Step",
    "due_at",
    "pairs",
    "queue_state",
]


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

    def gates(self, name: str) -> list[Gate]:
        """Up to HOUSEKEEPING limits of a queue, those at which jobs wait at the front."""
        reply = self._broker.server.call(self._broker.gates_call(name, HOUSEKEEPING))
        return [Gate(text(reply[at]), *reply[at + 1 : at + 4]) for at in range(0, len(reply), 4)]

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
        try:
            return memory_in(self._broker.server.command("INFO", "memory"))
        except redis.ResponseError:  # no right to INFO
            return 0, 0

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
    ) -> tuple[Page, tuple[int, int]]:
        """The newest jobs of several states and queues, ``most`` in all, and ``memory()``.

        Of a Cluster no node speaks for all: there the memory is (0, 0).
        """
        asked = [
            jobs.Scan(queue, state, skip=skip, most=count, tail=tail, head=jobs.NAME)
            for (queue, state), share in jobs.shared_out(sizes, most).items()
            for skip, count in jobs.pieces(share)
        ]
        server = self._broker.server
        calls = [each.call(self._broker) for each in asked]
        if not server.is_cluster:
            calls.append(Command("INFO", "memory"))
        replies = server.call_many(calls) if calls else []
        memory = (0, 0) if server.is_cluster else memory_in(replies[-1])
        answers = [jobs.found(each, reply) for each, reply in zip(asked, replies, strict=False)]
        rows = [row for answer in answers for row in answer.rows]
        return Page(rows, None, sum(answer.looked for answer in answers)), memory

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

    def overview(self, names: Sequence[str]) -> list[tuple[QueueState, bytes]]:
        """Each queue, and why it is paused as whoever paused it wrote it (b"" for nothing)."""
        return self.overview_with_past(names)[0]

    def overview_with_past(
        self, names: Sequence[str], *looks: Look
    ) -> tuple[list[tuple[QueueState, bytes]], list[list[Any]]]:
        """``overview()``, and per look what its ``steps()`` and ``tasks()`` read; one trip."""
        surveys = [self._broker.survey_call(name, 0, HOUSEKEEPING) for name in names]
        places = [
            self._broker.operator_call("position", name, ("", ""), timed=True) for name in names
        ]
        past = [look.call(self._broker, name) for look in looks for name in names]
        replies = self._broker.server.call_many([*surveys, *places, *past]) if names else []
        count = len(names)
        overview = [
            (queue_state(name, survey), one.standing(place).pause_note)
            for name, survey, place in zip(
                names, replies[:count], replies[count : 2 * count], strict=True
            )
        ]
        return overview, [replies[at * count : (at + 1) * count] for at in range(2, 2 + len(looks))]

    def tallies(self, names: Sequence[str]) -> dict[str, list[Tally]]:
        """What jobs say that do something to many others, by the queue that they run in."""
        steering = Steering(self._broker)
        calls = [steering.tallies_call(name) for name in names]
        replies = self._broker.server.call_many(calls) if calls else []
        return {name: tallies(reply) for name, reply in zip(names, replies, strict=True)}

    def history(self, queues: Sequence[str], step: int, count: int, task: str = "") -> list[Step]:
        """``count`` steps of ``step`` ms up to now, of several queues as one; see Look.

        ``task``: "" for all. One round trip.
        """
        look = Look(step, count, by_task=bool(task))
        return look.steps(self._past(queues, look), task)

    def tasks(self, queues: Sequence[str], step: int, count: int) -> dict[str, Counter[str]]:
        """What happened to each task in the same time; one round trip."""
        look = Look(step, count, by_task=True)
        return look.tasks(self._past(queues, look))

    def _past(self, queues: Sequence[str], look: Look) -> list[Any]:
        calls = [look.call(self._broker, queue) for queue in queues]
        return self._broker.server.call_many(calls) if calls else []


def memory_in(info: bytes) -> tuple[int, int]:
    """Bytes that the server uses, and its maxmemory; 0 for none."""
    facts = dict(line.partition(":")[::2] for line in info.decode().split("\r\n"))
    return int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
