"""Queues, the processes at them, and what they weigh."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...codec import decode_envelope
from ...exceptions import BrokerUnavailable, MalformedJob
from ...job import UNFINISHED, State
from ..replies import text
from ..steering import paused_until

# What is looked for in an envelope of which the middle is missing: when it was enqueued, behind the
# task's name, and for when, behind encrypted arguments that are not there yet, or at the end.
_ENQUEUED = re.compile(rb'(?:~s1\..{44})?\["(?:[^"\\]|\\.)*",(\d{1,15})', re.DOTALL)
_OF_ENCRYPTED = re.compile(rb',\[\],\{\},\{.*?\},(\d{1,15}),"', re.DOTALL)
_LAST = re.compile(rb',(\d{1,15})(?:,"[^"]*"(?:,\{.*\})?)?\]\Z', re.DOTALL)

SAMPLES = 20  # members of a key that its weight is judged by
FEW = 5  # of them where a person waits for many queues


class Holder(NamedTuple):
    """A process that may hold jobs. ``left``: ms its lease lasts, <= 0: it is over."""

    id: str
    left: int


class QueueState(NamedTuple):
    """A queue at one moment. Times in ms."""

    name: str
    now: int
    states: dict[State, int]
    sizes: dict[str, int]  # members of jobs, live, errors, results, parked, gated, claims
    next_job: str  # the ready job that goes next; "" for none
    waits: int  # how long that one has been due
    late: int  # how long the first scheduled or retrying job has been due; 0: none is
    pause: int | None  # when its pause ends, 0: when somebody resumes it; None: it has none
    trimmed: int  # ended jobs that were deleted, ever
    quarantined: int  # jobs that were put among the dead because they could not be read, ever
    renewed: int  # when a worker last renewed its lease; 0: never
    holders: int
    lapsed: int  # holders whose lease is over
    page: list[Holder]  # the first of them, those whose leases end first
    parked: dict[str, int]  # task name -> jobs that wait for a worker which knows it

    @property
    def paused(self) -> bool:
        return self.pause is not None

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
        waits=max(now - due_at(*envelope), 0) if first else 0,
        late=late,
        pause=paused_until(paused, now),
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


def due_at(envelope: bytes, tail: bytes = b"") -> int:
    """When a job could first run (ms); 0 if that cannot be read.

    ``tail``: the end of an envelope that is cut.
    """
    if tail:
        enqueued = _ENQUEUED.match(envelope)
        later = _OF_ENCRYPTED.search(envelope) or _LAST.search(tail)
        return max((int(found[1]) for found in (enqueued, later) if found), default=0)
    try:
        asked = decode_envelope(envelope)
    except MalformedJob:
        return 0
    return max(asked.e, asked.r)


def pairs(flat: Sequence[Any]) -> dict[str, int]:
    """Names and numbers in turn as a mapping."""
    return {text(flat[at]): int(flat[at + 1]) for at in range(0, len(flat), 2)}


def weight_in(reply: Any) -> int | None:
    """The bytes of a queue in a reply of ``weigh``; None where the server does not tell."""
    if isinstance(reply, BrokerUnavailable):
        raise reply
    return None if isinstance(reply, Exception) else sum(pairs(reply).values())
