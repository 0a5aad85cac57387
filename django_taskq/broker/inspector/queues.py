"""Queues, the processes at them, and what they weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...codec import decode_envelope
from ...exceptions import MalformedJob
from ...job import UNFINISHED, State
from ..replies import text
from ..steering import is_paused

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
        paused=is_paused(paused, now),
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
