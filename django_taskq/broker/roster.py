"""The workers that stand: what they say of themselves, orders to them, and where their code is."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Layout
from typing import Any, NamedTuple

import msgspec

from ..codec import UNREADABLE
from .broker import Broker
from .calls import Call
from .keys import global_key
from .replies import text

AT = Layout(">Q")
MOST_PROCESSES = 64  # that one worker's record names
MOST_STACK = 64 << 10  # bytes of one process's stacks
ORDERS = ("quiet", "resume", "restart", "stop", "stack")
LEFT = 0.75  # of the time that a record stands: with less left, reports are missing


class Process(msgspec.Struct, frozen=True):
    """A child of a worker. ``started``: ms by its machine's clock; ``memory``: bytes, 0 unknown.

    ``cpu``: percent of one core since the report before; ``attempts``: how many ended in it, and
    ``failed`` of them; ``silent``: ms without a sign of life. None: unknown, as of a release
    before this one.
    """

    holder: str
    pid: int
    started: int
    memory: int = 0
    used: int = 0  # slots
    cpu: int | None = None
    attempts: int | None = None
    failed: int | None = None
    silent: int = 0


class Record(msgspec.Struct, frozen=True):
    """What a worker says of itself. ``release``: the project's, else the version of this package.

    ``attempts`` and ``failed``: of processes that are gone; ``stands``: ms that the record is kept
    without another, 0 unknown.
    """

    host: str
    pid: int
    release: str
    started: int
    state: str  # running, quiet or stopping
    queues: dict[str, int]
    slots: int  # of one process
    memory: int = 0
    strict: bool = False
    processes: list[Process] = []
    cpu: int | None = None
    attempts: int | None = None
    failed: int | None = None
    stands: int = 0


class Worker(NamedTuple):
    """A worker that stands. ``left``: ms until it would be forgotten."""

    id: str
    left: int
    record: Record

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.record.host}:{self.record.pid}"

    @property
    def used(self) -> int:
        """Slots in which something ran when it last reported."""
        return sum(process.used for process in self.record.processes)

    @property
    def slots(self) -> int:
        return self.record.slots * len(self.record.processes)

    @property
    def memory(self) -> int:
        """Bytes, of all its processes together."""
        return self.record.memory + sum(each.memory for each in self.record.processes)

    @property
    def cpu(self) -> int | None:
        """Percent of one core, of all its processes together."""
        return known_sum([self.record.cpu, *(each.cpu for each in self.record.processes)])

    @property
    def attempts(self) -> int | None:
        """How many ended since it started."""
        found = [self.record.attempts, *(each.attempts for each in self.record.processes)]
        return known_sum(found)

    @property
    def failed(self) -> int | None:
        """How many of them failed."""
        return known_sum([self.record.failed, *(each.failed for each in self.record.processes)])

    @property
    def age(self) -> int | None:
        """ms since it reported; None: its release does not say."""
        return max(self.record.stands - self.left, 0) if self.record.stands else None

    @property
    def is_stale(self) -> bool:
        """Whether it does not report although it should have."""
        return self.left < LEFT * self.record.stands


def known_sum(numbers: Sequence[int | None]) -> int | None:
    """The sum of those that are known; None if none is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


class Roster:
    """The workers of one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def enroll(self, id: str, record: Record | None, ttl: int) -> bool:
        """Notes how a worker stands, for ``ttl`` ms; without a record it has left."""
        raw = b"" if record is None else msgspec.json.encode(record)
        call = self._broker.timed_call("enroll", "", (ttl, id, raw))
        return bool(self._broker.server.call(call))

    def call(self) -> Call:
        """The call whose reply ``workers_in()`` understands."""
        return self._broker.timed_call("roster", "", ())

    def workers(self) -> tuple[int, list[Worker]]:
        """Redis' time, and the workers that stand."""
        return workers_in(self._broker.server.call(self.call()))

    def order(self, id: str, order: str) -> bool:
        """Tells a worker something; whether anybody at all listens."""
        assert order in ORDERS
        message = f"worker {id} {order}"
        return bool(self._broker.server.command("PUBLISH", self._broker.control, message))

    def tell(self, holder: str, stacks: str) -> bool:
        """Puts down where a process is."""
        raw = stacks.encode("utf-8", "replace")[:MOST_STACK]
        call = self._broker.timed_call("stack", "", (holder, raw))
        return bool(self._broker.server.call(call))

    def told(self, holders: Sequence[str]) -> dict[str, tuple[int, str]]:
        """holder -> when (ms) its process said where it is, and what it said."""
        if not holders:
            return {}
        key = global_key(self._broker.prefix, "stacks")
        found = self._broker.server.command("HMGET", key, *holders)
        return {
            holder: (AT.unpack_from(raw)[0], raw[AT.size :].decode("utf-8", "replace"))
            for holder, raw in zip(holders, found, strict=True)
            if raw and len(raw) >= AT.size
        }


def workers_in(reply: Sequence[Any]) -> tuple[int, list[Worker]]:
    """The reply of ``roster``; a record that cannot be read is left out."""
    now, *flat = reply
    found = []
    for at in range(0, len(flat), 3):
        try:
            record = msgspec.json.decode(flat[at + 2], type=Record)
        except UNREADABLE:
            continue
        found.append(Worker(text(flat[at]), int(flat[at + 1]), record))
    found.sort(key=lambda worker: (worker.record.host, worker.record.pid, worker.id))
    return int(now), found
