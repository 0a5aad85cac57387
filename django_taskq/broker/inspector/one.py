"""One job with all that is known of it, and what its queue says about why it does not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...asks import UNTIL_STARTED
from ..broker import HOUSEKEEPING, Broker
from ..replies import Stored, stored_jobs, text
from ..steering import paused_until
from .queues import QueueState, queue_state

WIDTH = 6  # parts that a gate has in a reply


class Standing(NamedTuple):
    """Where a job stands beside what it is itself. Times in ms."""

    now: int
    ahead: int | None  # ready jobs that go before it; None: it is not ready
    stop: str  # how it is to stop: cancel, kill; "" if it is not
    lease: int | None  # when its holder's lease ends; None: nobody holds it
    paused: bool
    pause_note: bytes


class Lock(NamedTuple):
    """The lock that a job asks for. ``owner``: the job that has it, "" for none."""

    name: str
    owner: str
    stays: int  # ms until which it stays although its owner needs it no more; 0: it needs it
    until_started: bool  # it is for the time before a job runs


class Door(NamedTuple):
    """A gate that a job has to pass, see Gate. Times in ms."""

    name: str
    most: int  # jobs at once; 0: any number
    inside: int  # of a limit of jobs at once, and of a rate that has jobs running
    waiting: int
    interval: float  # from one job to the next; 0: at any time
    opens: int  # until its rate lets the next in


class Needs(NamedTuple):
    """What a job asks for beside being run, and how that stands."""

    lock: Lock | None = None
    turn: str = ""  # the key that takes turns with others
    doors: Sequence[Door] = ()


class Examined(NamedTuple):
    """A job and its queue at (nearly) one moment."""

    stored: Stored
    standing: Standing
    queue: QueueState
    needs: Needs = Needs()


def examine(broker: Broker, queue: str, id: str) -> Examined:
    """A job as it is; two round trips, the second only for one that is there and runs."""
    asked = [
        broker.fetch_call(queue, [id]),
        broker.operator_call("position", queue, (id, ""), timed=True),
        broker.survey_call(queue, 0, HOUSEKEEPING),
        broker.operator_call("needs", queue, (id,), timed=True),
    ]
    fetched, where, survey, needed = broker.server.call_many(asked)
    (stored,) = stored_jobs(fetched)
    if stored.live.holder:
        held = broker.operator_call("position", queue, (id, stored.live.holder), timed=True)
        where = broker.server.call(held)
    return Examined(stored, standing(where), queue_state(queue, survey), needs(needed))


def needs(reply: Sequence[Any]) -> Needs:
    """The reply of ``needs``."""
    if not reply:
        return Needs()
    lock_name, owner, stays, flags, turn, *gates = reply
    lock = Lock(text(lock_name), text(owner), int(stays or 0), bool(flags & UNTIL_STARTED))
    doors = [
        Door(text(name), most, inside, waiting, float(interval), opens)
        for name, most, inside, waiting, interval, opens in (
            gates[at : at + WIDTH] for at in range(0, len(gates), WIDTH)
        )
    ]
    return Needs(lock if lock_name else None, text(turn), doors)


def standing(reply: list[object]) -> Standing:
    """The reply of ``position``."""
    now, ahead, stop, lease, paused, note, _ = reply
    assert isinstance(now, int)
    assert isinstance(stop, bytes)
    assert isinstance(paused, bytes)
    assert isinstance(note, bytes)
    return Standing(
        now,
        ahead if isinstance(ahead, int) else None,
        text(stop).partition(" ")[0],  # behind it: how long it is kept
        round(float(lease)) if isinstance(lease, bytes) and lease else None,
        paused_until(paused, now) is not None,
        note,
    )
