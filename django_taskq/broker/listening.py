"""Who listens to a queue: reads which jobs changed, and what they are now. See lua/listen.lua."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..job import Live, State
from .broker import CHUNK, Broker
from .calls import Arg, Call
from .replies import text

LEASE = 10_000  # ms for which a reader has its place
MOST_IDS = 5_000  # in one answer, about
PART = 65_536  # bytes of an envelope, of failures and of a value that are read at most
BYTES = 4_194_304  # after so many an answer ends early


class Entry(NamedTuple):
    """One entry of the stream: the ids of jobs that changed."""

    place: str
    ids: list[str]


class Heard(NamedTuple):
    """What a reader is answered; times in ms.

    ``mine``: it has the place; otherwise only ``wait`` says something: how long another has it.
    ``knows``: the listener has looked through all jobs once; ``cut``: entries that it had not read
    are gone; ``behind``: entries that it has not read; ``ready``: jobs that can be run
    now: none where the queue is paused.
    """

    now: int
    mine: bool
    wait: int
    knows: bool = False
    cut: bool = False
    behind: int = 0
    ready: int = 0
    entries: Sequence[Entry] = ()


class Seen(NamedTuple):
    """A job as it was at one moment; ``state`` None: there is no such job.

    ``size`` and ``value_size``: bytes of the whole envelope and value, of which the parts here are
    cut where they are longer than PART.
    """

    id: str
    state: State | None
    score: float
    envelope: bytes
    size: int
    live: Live
    errors: bytes
    value: bytes
    value_size: int

    def __repr__(self) -> str:
        """Without what the job carries and what became of it."""
        return f"Seen({self.id!r}, {self.state}, {self.size} bytes, {self.live!r})"


class Observed(NamedTuple):
    """A moment: its time (ms), its version, the last entry of the stream, and jobs."""

    now: int
    version: int
    upto: str
    jobs: list[Seen]


class Hearer(NamedTuple):
    """A listener, for an operator. Times in ms; ``left``: until its reader loses its place."""

    name: str
    upto: int
    reader: str
    left: int
    knows: bool


class Audience(NamedTuple):
    """Who listens to a queue."""

    now: int
    entries: int
    cuts: int
    hearers: list[Hearer]


def place_key(place: str) -> tuple[int, int]:
    """Orders places in the stream; "" comes first."""
    ms, _, number = place.partition("-")
    return (int(ms or 0), int(number or 0))


class Listener:
    """One reader under a listener's name. ``reader``: a name of its own, never used again."""

    def __init__(self, broker: Broker, name: str, reader: str) -> None:
        self.broker = broker
        self.name = name
        self.reader = reader

    def listen_call(self, queue: str, done: str = "", knows: bool | None = None) -> Call:
        """The call that takes the place, says what is done, and reads on."""
        known = "" if knows is None else str(int(knows))
        args: tuple[Arg, ...] = (self.name, self.reader, LEASE, done, known, MOST_IDS)
        return self.broker.timed_call("listen", queue, args)

    def listen(self, queue: str, done: str = "", knows: bool | None = None) -> Heard:
        """Takes the place, says up to which entry all is done, and reads on."""
        return heard(self.broker.server.call(self.listen_call(queue, done, knows)))

    def observe(self, queue: str, ids: Sequence[str]) -> Observed:
        """The first of those jobs, up to CHUNK, as they are now; at least one."""
        args: tuple[Arg, ...] = (PART, BYTES, *ids[:CHUNK])
        return observed(self.broker.server.call(self.broker.timed_call("observe", queue, args)))

    def forget(self, queue: str) -> None:
        """Takes the name off the queue's listeners; without any, nothing is noted."""
        call = self.broker.operator_call("unlisten", queue, (self.name,), timed=False)
        self.broker.server.call(call)


def audience(broker: Broker, queue: str) -> Audience:
    """Who listens to a queue, and how far each is behind."""
    reply = broker.server.call(broker.timed_call("audience", queue, ()))
    now, entries, cuts, *flat = reply
    hearers = [
        Hearer(text(name), upto, text(reader), left, bool(knows))
        for name, upto, reader, left, knows in zip(*[iter(flat)] * 5, strict=True)
    ]
    return Audience(now, entries, cuts, hearers)


def heard(reply: Sequence[Any]) -> Heard:
    """The reply of ``listen``."""
    if reply[1] != b"O":
        return Heard(reply[0], mine=False, wait=reply[2])
    now, _, wait, knows, cut, behind, ready, *flat = reply
    entries = [Entry(text(flat[at]), text(flat[at + 1]).split()) for at in range(0, len(flat), 2)]
    return Heard(now, True, wait, bool(knows), bool(cut), behind, ready, entries)


def observed(reply: Sequence[Any]) -> Observed:
    """The reply of ``observe``."""
    now, version, upto, *flat = reply
    return Observed(
        now, version, text(upto), [seen(flat[at : at + 9]) for at in range(0, len(flat), 9)]
    )


def seen(part: Sequence[Any]) -> Seen:
    id, state, score, envelope, size, live, errors, value, value_size = part
    return Seen(
        text(id),
        State(state.decode()) if state else None,
        float(score or 0),
        envelope,
        size,
        Live.decode(live),
        errors,
        value,
        value_size,
    )
