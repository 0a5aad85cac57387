"""One job with all that is known of it, and what its queue says about why it does not run."""

from __future__ import annotations

from typing import NamedTuple

from ..broker import HOUSEKEEPING, Broker
from ..replies import Stored, stored_jobs, text
from ..steering import is_paused
from .queues import QueueState, queue_state


class Standing(NamedTuple):
    """Where a job stands beside what it is itself. Times in ms."""

    now: int
    ahead: int | None  # ready jobs that go before it; None: it is not ready
    stop: str  # how it is to stop: cancel, kill; "" if it is not
    lease: int | None  # when its holder's lease ends; None: nobody holds it
    paused: bool
    pause_note: bytes


class Examined(NamedTuple):
    """A job and its queue at (nearly) one moment."""

    stored: Stored
    standing: Standing
    queue: QueueState


def examine(broker: Broker, queue: str, id: str) -> Examined:
    """A job as it is; two round trips, the second only for one that is there and runs."""
    asked = [
        broker.fetch_call(queue, [id]),
        broker.operator_call("position", queue, (id, ""), timed=True),
        broker.survey_call(queue, 0, HOUSEKEEPING),
    ]
    fetched, where, survey = broker.server.call_many(asked)
    (stored,) = stored_jobs(fetched)
    if stored.live.holder:
        held = broker.operator_call("position", queue, (id, stored.live.holder), timed=True)
        where = broker.server.call(held)
    return Examined(stored, standing(where), queue_state(queue, survey))


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
        is_paused(paused, now),
        note,
    )
