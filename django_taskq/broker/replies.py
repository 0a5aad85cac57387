"""What the scripts answer, as values with names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from ..job import FRESH, Grant, Live, State


class Exchanged(NamedTuple):
    """The queue's answer. ``verdicts`` has a letter per outcome: O, C, D or S (stale).

    ``memory``: used, in % of maxmemory; -1 where nobody looked.
    """

    now: int
    alive: bool
    left: int
    verdicts: str
    memory: int
    grants: list[Grant]


class Stop(NamedTuple):
    """A running job that is to stop. ``order``: "cancel", or "kill" if need be by its process."""

    holder: str
    id: str
    fence: int
    order: str = "cancel"


class Renewed(NamedTuple):
    """What a supervisor learns from renewing; times in ms from now, -1 for never."""

    now: int
    holders: dict[str, str]  # holder -> O renewed, L lost, U never claimed here
    memory: int  # used in % of maxmemory
    next_due: int
    next_end: int  # of anybody's lease
    lapsed: list[str]
    parked: list[str]
    stops: list[Stop]  # what is to stop here


class Promoted(NamedTuple):
    """``wait``: ms until the next job is due, -1 for none; ``busy``: ms another keeps the time."""

    moved: int
    wait: int
    busy: int


class Stored(NamedTuple):
    """A job as Redis has it. ``due`` is its score: a time in ms in most states."""

    state: State | None
    due: float
    envelope: bytes
    live: Live
    errors: bytes
    value: bytes
    report: bytes = b""

    def __repr__(self) -> str:
        """Without what the job carries and what became of it."""
        return f"Stored({self.state}, due={self.due}, {self.live!r})"


class Cancelled(NamedTuple):
    """``verdict``: C cancelled, R asked for while it runs, L let alone, E had ended, U unknown."""

    verdict: str
    holder: str
    fence: int


def text(raw: bytes) -> str:
    """Names that anybody may have written into Redis; what is no text is nobody's name."""
    return raw.decode("utf-8", "replace")


def letters(raw: bytes) -> str:
    """A reply that is a letter per job, as text."""
    return raw.decode()


def held_jobs(flat: list[Any]) -> dict[str, Live]:
    """The jobs in a reply of ``held``."""
    return {text(flat[at]): Live.decode(flat[at + 1]) for at in range(0, len(flat), 2)}


class Answer(NamedTuple):
    """What became of a job at its ``enqueue``.

    ``letter``: N new, E its id existed, U another has its lock. ``confirmed``: by what durability
    asks for. ``other``: the id of the job that has the lock.
    """

    letter: str
    confirmed: bool = True
    other: str = ""


NEW = Answer("N")


def answers(found: str) -> Iterable[Answer]:
    """An answer per job in the reply of ``enqueue``; small letters: not confirmed."""
    letters, _, others = found.partition(" ")
    if letters.count("N") == len(letters):
        return repeat(NEW, len(letters))
    ids = iter(others.split())
    return [
        Answer(letter.upper(), letter.isupper(), next(ids) if letter in "Uu" else "")
        for letter in letters
    ]


def joined(replies: Iterable[str]) -> str:
    """The replies of several calls as one."""
    parts = [reply.partition(" ") for reply in replies]
    others = " ".join(part[2] for part in parts if part[2])
    return "".join(part[0] for part in parts) + (others and " " + others)


def unconfirmed(found: str) -> str:
    """The reply with small letters."""
    letters, space, others = found.partition(" ")
    return letters.lower() + space + others


def stored_jobs(reply: list[Any]) -> list[Stored]:
    """The reply of ``fetch``."""
    return [
        Stored(
            State(state.decode()) if state else None,
            float(due or 0),
            envelope,
            Live.decode(live),
            errors,
            value,
            report,
        )
        for state, due, envelope, live, errors, value, report in reply
    ]


def cancelled_jobs(reply: bytes) -> list[Cancelled]:
    """The reply of ``cancel``: a word ``verdict/fence/holder`` per job."""
    words = [word.split("/") for word in reply.decode().split(" ")]
    return [Cancelled(verdict, holder, int(fence)) for verdict, fence, holder in words]


def exchanged(queue: str, reply: list[Any]) -> Exchanged:
    grants = []
    raw, live = None, FRESH
    for at in range(5, len(reply), 4):
        if reply[at + 2] != raw:  # all fresh jobs of a claim have the same record
            raw = reply[at + 2]
            live = Live.decode(raw)
        try:
            grants.append(Grant(queue, reply[at].decode(), reply[at + 1], live, reply[at + 3]))
        except UnicodeDecodeError:
            grants.append(_nameless(queue, reply[at], live))
    return Exchanged(reply[0], reply[1] == b"O", reply[2], reply[3].decode(), reply[4], grants)


def _nameless(queue: str, id: Any, live: Live) -> Grant:
    """What stands in the queue under a name that is no text, and so is no job of ours.

    It keeps its name in bytes, so that it can be settled, and has no envelope: it is quarantined.
    """
    return Grant(queue, id, b"", live)


def renewed(holders: Sequence[str], reply: list[Any]) -> Renewed:
    now, marks, memory, next_due, next_end, lapsed, parked, *stops = reply
    return Renewed(
        now=now,
        holders=dict(zip(holders, marks.decode(), strict=True)),
        memory=memory,
        next_due=next_due,
        next_end=next_end,
        lapsed=text(lapsed).split(),
        parked=text(parked).split(),
        stops=[
            Stop(text(stops[at]), text(stops[at + 1]), stops[at + 2], text(stops[at + 3]))
            for at in range(0, len(stops), 4)
        ],
    )
