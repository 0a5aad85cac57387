"""The workers that stand: what they say of themselves, orders to them, and where their code is."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Layout
from typing import Any, NamedTuple

import msgspec

from .broker import Broker
from .calls import Call
from .keys import global_key
from .replies import text

AT = Layout(">Q")
MOST_PROCESSES = 64  # that one worker's record names
MOST_STACK = 64 << 10  # bytes of one process's stacks
ORDERS = ("quiet", "stop", "stack")


class Process(msgspec.Struct, frozen=True):
    """A child of a worker. ``started``: ms by its machine's clock; ``memory``: bytes, 0 unknown."""

    holder: str
    pid: int
    started: int
    memory: int = 0
    used: int = 0  # slots


class Record(msgspec.Struct, frozen=True):
    """What a worker says of itself."""

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


class Worker(NamedTuple):
    """A worker that stands. ``left``: ms until it would be forgotten."""

    id: str
    left: int
    record: Record

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
        except msgspec.MsgspecError:
            continue
        found.append(Worker(text(flat[at]), int(flat[at + 1]), record))
    found.sort(key=lambda worker: (worker.record.host, worker.record.pid, worker.id))
    return int(now), found
