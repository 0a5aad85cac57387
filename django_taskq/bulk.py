"""One verb for every job that matches, as a job itself: in chunks, with a tally that pages show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from .broker.inspector import Inspector, QueueState, Row
from .codec import Seals, encode
from .finding import Filter, meant
from .job import ENDED, State
from .operations import Done, Operations, Params
from .showing import envelope_in, summary

SPARE = 10_000  # jobs that may have come since the work began and are looked at too


class Order(NamedTuple):
    """What is to be done, and to which jobs. ``asked``: ms; what came later is not meant."""

    verb: str
    queues: Sequence[str]
    states: Sequence[State]
    wanted: Filter
    params: Params
    asked: int


class Progress(msgspec.Struct):
    """How far it has come; what ``tallies`` keeps."""

    verb: str
    by: str
    total: int = 0  # jobs to look at
    looked: int = 0
    counts: dict[str, int] = {}
    ended: bool = False


def carry_out(
    operations: Operations, order: Order, own_id: str, tell: Callable[[Progress], None]
) -> Done:
    """Does it, chunk by chunk. ``own_id``: the job that does it, which is never meant."""
    inspector, seals = operations.inspector, operations.broker.seals
    done: Done = Counter()
    queues = inspector.queues(order.queues)
    progress = Progress(order.verb, order.params.by, total=total_of(queues, order))
    # ms that Redis' clock, by which jobs have started, is ahead of this machine's.
    ahead = max((queue.now for queue in queues), default=0) - operations.now()
    tell(progress)
    for looked, rows in chunks_of(inspector, order):
        targets = [
            row
            for row in meant(rows, order.wanted, seals, operations.now() + ahead)
            if row.id != own_id and is_due(row, order, seals)
        ]
        if targets:
            done += operations.apply(order.verb, targets, order.params)
        progress.looked += looked
        progress.counts = dict(done)
        tell(progress)
        if progress.looked > progress.total + SPARE:
            break
    progress.ended = True
    tell(progress)
    return done


def total_of(queues: Sequence[QueueState], order: Order) -> int:
    """How many jobs there are to look at."""
    return sum(queue.states[state] for queue in queues for state in order.states)


def chunks_of(inspector: Inspector, order: Order) -> Iterator[tuple[int, list[Row]]]:
    """(looked at, those that may match) of every state of every queue."""
    wanted = order.wanted
    for queue in order.queues:
        for state in order.states:
            for found in inspector.walk(queue, state, wanted.match(), wanted.head, wanted.tail):
                yield found.looked, found.rows


def is_due(row: Row, order: Order, seals: Seals | None) -> bool:
    """Whether a job was there when it was asked for, and was not met before in this walk.

    Retried jobs fail again, and what gets another place in its set is met again behind it.
    """
    if order.verb == "retry_at" and row.state is State.SCHEDULED:
        return round(float(row.score)) != order.params.due
    if order.verb == "prioritize":
        return summary(row, seals).priority != order.params.priority
    if row.state in ENDED:
        return row.live.ended <= order.asked
    if row.state in (State.RETRYING, State.RUNNING):
        return row.live.started <= order.asked
    return envelope_in(row, seals or Seals()).e <= order.asked


def to_json(order: Order) -> dict[str, Any]:
    """The order as the arguments of a job.

    Only what is asked for, as workers of an earlier release do not know all there is to ask, and
    refuse what they do not know. So a group has a name of its own: they would take its exception
    for a part of a name.
    """
    wanted = {name: value for name, value in order.wanted._asdict().items() if value}
    if order.wanted.place:
        wanted["group"] = [wanted.pop("error", ""), wanted.pop("place")]
    return {
        "verb": order.verb,
        "queues": list(order.queues),
        "states": [str(state) for state in order.states],
        "wanted": wanted,
        "params": order.params._asdict(),
        "asked": order.asked,
    }


def from_json(raw: dict[str, Any]) -> Order:
    """The order again. Raises ValueError or TypeError for what is none."""
    wanted = dict(raw["wanted"])
    if "group" in wanted:
        wanted["error"], wanted["place"] = wanted.pop("group")
    return Order(
        raw["verb"],
        raw["queues"],
        [State(state) for state in raw["states"]],
        Filter(**wanted),
        Params(**raw["params"]),
        raw["asked"],
    )


encode_progress = encode
_progress = msgspec.json.Decoder(Progress)


def decode_progress(raw: bytes) -> Progress | None:
    """What a tally says; None if it cannot be read."""
    try:
        return _progress.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return None
