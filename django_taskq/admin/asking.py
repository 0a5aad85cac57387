"""The lock, the turn and the limits that a job asks for, and how they stand, for its page."""

from __future__ import annotations

from typing import NamedTuple

from ..broker.inspector import Door, Lock, Needs


class Limit(NamedTuple):
    """A limit that a job has to pass. ``kind``: queue, task or key, of whose jobs it is."""

    kind: str
    key: str  # "" where it is not to be shown
    door: Door


class Wants(NamedTuple):
    """What is shown of it. ``turn``: None where the job takes no turns, "" hidden."""

    lock: Lock | None
    is_own: bool  # whether the job itself has the lock
    turn: str | None
    limits: list[Limit]

    def __bool__(self) -> bool:
        return bool(self.lock or self.turn is not None or self.limits)


def asked_for(id: str, needs: Needs, *, with_args: bool) -> Wants:
    """What a job asks for. Keys are made of arguments, so they go with those."""
    lock = needs.lock
    return Wants(
        lock=lock,
        is_own=lock is not None and lock.owner == id,
        turn=(needs.turn if with_args else "") if needs.turn else None,
        limits=[limit(door, with_args=with_args) for door in needs.doors],
    )


def limit(door: Door, *, with_args: bool) -> Limit:
    """A gate as it is named in asks.py: ``queue``, ``task:NAME`` or ``key:TEXT``."""
    kind, _colon, rest = door.name.partition(":")
    if kind not in ("queue", "task"):
        return Limit("key", (rest or door.name) if with_args else "", door)
    return Limit(kind, "", door)
