"""What operators read: queues, the processes at them, and what they weigh. Changes nothing.

Every read is one script, takes the same time however many jobs there are, and answers a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import redis

from ..codec import decode_envelope
from ..exceptions import MalformedJob
from ..job import UNFINISHED, State
from .broker import HOUSEKEEPING, Broker
from .keys import QUEUE_KEYS
from .replies import text

SAMPLES = 20  # members of a key that its weight is judged by


class Holder(NamedTuple):
    """A process that may hold jobs. ``left``: ms its lease lasts, <= 0: it is over."""

    id: str
    left: int


class Gate(NamedTuple):
    """A limit: ``task:NAME`` of a task's jobs, ``key:TEXT`` of a limit_key, ``queue`` of all.

    ``opens``: ms until its rate lets the next in; -1: it waits for a job to end, or for nothing.
    """

    name: str
    waiting: int
    inside: int
    opens: int


class QueueState(NamedTuple):
    """A queue at one moment. Times in ms."""

    name: str
    now: int
    states: dict[State, int]
    sizes: dict[str, int]  # members of jobs, live, errors, results, parked, gated, claims
    next_job: str  # the ready job that goes next; "" for none
    waits: int  # how long that one has been due
    late: int  # how long the first scheduled or retrying job has been due; 0: none is
    paused: bool
    trimmed: int  # ended jobs that were deleted, ever
    quarantined: int  # jobs that were put among the dead because they could not be read, ever
    renewed: int  # when a worker last renewed its lease; 0: never
    holders: int
    lapsed: int  # holders whose lease is over
    page: list[Holder]  # the first of them, those whose leases end first
    parked: dict[str, int]  # task name -> jobs that wait for a worker which knows it

    @property
    def at_limits(self) -> int:
        """How many jobs wait for room under their limits."""
        return self.sizes["gated"]

    @property
    def unfinished(self) -> int:
        return sum(self.states[state] for state in UNFINISHED)


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
            text = self._broker.server.command("INFO", "memory").decode()
        except redis.ResponseError:  # no right to INFO
            return 0, 0
        info = dict(line.partition(":")[::2] for line in text.split("\r\n"))
        return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))


def queue_state(name: str, reply: Sequence[Any]) -> QueueState:
    """The reply of ``survey``."""
    now, counts, facts, first, envelope, late, page, parked = reply
    sizes = pairs(counts)
    paused, *numbers = facts
    trimmed, quarantined, renewed = (int(number or 0) for number in numbers)
    return QueueState(
        name=name,
        now=now,
        states={state: sizes.pop(state) for state in State},
        next_job=text(first),
        waits=max(now - due_at(envelope), 0) if first else 0,
        late=late,
        paused=paused not in (b"", b"0"),
        trimmed=trimmed,
        quarantined=quarantined,
        renewed=renewed,
        holders=sizes.pop("holders"),
        lapsed=sizes.pop("lapsed"),
        sizes=sizes,
        page=[
            Holder(text(page[at]), round(float(page[at + 1])) - now)
            for at in range(0, len(page), 2)
        ],
        parked=pairs(parked),
    )


def due_at(envelope: bytes) -> int:
    """When a job could first run (ms); 0 if that cannot be read."""
    try:
        asked = decode_envelope(envelope)
    except MalformedJob:
        return 0
    return max(asked.e, asked.r)


def pairs(flat: Sequence[Any]) -> dict[str, int]:
    """Names and numbers in turn as a mapping."""
    return {text(flat[at]): int(flat[at + 1]) for at in range(0, len(flat), 2)}
