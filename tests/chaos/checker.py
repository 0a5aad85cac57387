"""Reads every key of a queue by plain commands, and says what is not as it must be.

It shares nothing with the scripts but the names of the keys: what it takes for right is written
down here a second time.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django_taskq.broker.keys import GLOBAL_KEYS, QUEUE_KEYS, global_key
from django_taskq.job import ENDED, State

RECORD = ">IIHBBBbQQQQI"  # fence, settled, attempt, crashes, lost, parks, priority, then times
PAGE = 5_000
MOST_NAMES = 3  # in a complaint


@dataclass
class Census:
    """Where every job of a queue is, and what is wrong."""

    states: dict[str, str] = field(default_factory=dict)  # id -> state
    fences: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)  # as they were charged
    counts: dict[str, int] = field(default_factory=dict)  # key -> members
    complaints: list[str] = field(default_factory=list)

    def complain(self, what: str, ids: Any) -> None:
        if ids := sorted(ids):
            self.complaints.append(f"{len(ids)} {what}: {', '.join(ids[:MOST_NAMES])}")


class Queue:
    """The keys of one queue."""

    def __init__(self, client: Any, prefix: str, name: str = "default") -> None:
        self._client = client
        self._base = f"{prefix}:{{{name}}}:"

    def count(self, key: str) -> int:
        """How many members a key has."""
        count = {
            "HASH": self._client.hlen,
            "ZSET": self._client.zcard,
            "SET": self._client.scard,
            "LIST": self._client.llen,
        }[QUEUE_KEYS[key]]
        return int(count(self._base + key))

    def count_dead(self) -> int:
        """How many holders there are whose lease is over."""
        seconds, micros = self._client.time()
        now = seconds * 1_000 + micros // 1_000
        return int(self._client.zcount(self._base + "holders", "-inf", now))

    def is_quiet(self) -> bool:
        """Whether every job has come to its end."""
        pipe = self._client.pipeline(transaction=True)
        for state in set(State) - ENDED:
            pipe.zcard(self._base + state)
        return not any(pipe.execute())

    def members(self, key: str) -> Iterator[str]:
        """The members of a set, or the fields of a hash."""
        name = self._base + key
        scan = {
            "HASH": self._client.hscan_iter,
            "ZSET": self._client.zscan_iter,
            "SET": self._client.sscan_iter,
        }[QUEUE_KEYS[key]]
        for member in scan(name, count=PAGE):
            raw = member[0] if isinstance(member, tuple) else member
            yield raw.decode()

    def records(self) -> Iterator[tuple[str, tuple[int, ...], str]]:
        """Of each job that has one: id, the numbers of its record, its holder."""
        size = struct.calcsize(RECORD)
        for id, raw in self._client.hscan_iter(self._base + "live", count=PAGE):
            yield id.decode(), struct.unpack_from(RECORD, raw), raw[size : size + 22].decode()

    def foreign(self, prefix: str) -> list[str]:
        """Keys under the prefix that nobody declared, or that are of another type."""
        declared = {self._base + name: kind for name, kind in QUEUE_KEYS.items()}
        declared |= {global_key(prefix, name): kind for name, kind in GLOBAL_KEYS.items()}
        found = []
        for key in self._client.scan_iter(f"{prefix}:*", count=PAGE):
            kind = self._client.type(key).decode().upper()
            if declared.get(key.decode()) != kind:
                found.append(f"{key.decode()} ({kind})")
        return found


def check(client: Any, prefix: str, name: str = "default") -> Census:
    """A look at a queue in which nothing moves any more."""
    queue = Queue(client, prefix, name)
    census = Census(counts={key: queue.count(key) for key in queue_keys()})
    homes: Counter[str] = Counter()
    for state in State:
        for id in queue.members(state):
            homes[id] += 1
            census.states[id] = state
    census.complain("jobs in two states", (id for id, n in homes.items() if n > 1))
    _check_hashes(queue, census)
    _check_records(queue, census)
    _check_rest(client, queue, census, prefix)
    return census


def queue_keys() -> list[str]:
    return [name for name, kind in QUEUE_KEYS.items() if kind in ("HASH", "ZSET", "SET", "LIST")]


def _check_hashes(queue: Queue, census: Census) -> None:
    envelopes = set(queue.members("jobs"))
    known = census.states.keys()
    census.complain("envelopes in no state", envelopes - known)
    census.complain("jobs without an envelope", known - envelopes)
    for key in ("live", "errors", "results"):
        census.complain(f"entries of {key} without a job", set(queue.members(key)) - envelopes)


def _check_records(queue: Queue, census: Census) -> None:
    holders = set(queue.members("holders"))
    unsettled, unended, unheld = [], [], []
    for id, (fence, settled, attempt, *_, ended, _request), holder in queue.records():
        census.fences[id], census.attempts[id] = fence, attempt
        state = census.states.get(id)
        if state == State.RUNNING:
            if holder not in holders:
                unheld.append(id)
        elif settled != fence:
            unsettled.append(id)
        if (state in ENDED) != bool(ended):
            unended.append(id)
    census.complain("running jobs of nobody", unheld)
    census.complain("jobs at rest with an open claim", unsettled)
    census.complain("records that disagree about the end", unended)
    census.complain("requests of nobody", set(queue.members("claims")) - holders)


def _check_rest(client: Any, queue: Queue, census: Census, prefix: str) -> None:
    def those(state: str) -> set[str]:
        return {id for id, where in census.states.items() if where == state}

    parked = {name.split(" ", 1)[1] for name in queue.members("parked")}
    census.complain("parked names of jobs that do not wait", parked - those(State.WAITING))
    census.complain("waiting jobs that nobody would release", those(State.WAITING) - parked)
    census.complain(
        "cancels of jobs that do not run", set(queue.members("cancels")) - those("running")
    )
    census.complain("keys that nobody declared", queue.foreign(prefix))
    if census.counts["wake"] != bool(census.counts["ready"]):
        census.complaints.append(
            f"{census.counts['wake']} wake tokens, {census.counts['ready']} ready"
        )
    if census.counts["timer"] > 1:
        census.complaints.append(f"{census.counts['timer']} timer tokens")
