"""Whose turn it is in a queue whose jobs take turns (``fair_by``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..broker import Broker
from ..calls import Call
from ..replies import text

LOOKED_AT = 1_000  # keys
NAMED = 10


class Share(NamedTuple):
    """A key that has jobs in line. ``rounds``: those until its last job has run; one more at most.

    In a round a key has a job, or as many as its weight.
    """

    key: str
    rounds: int


class Rota(NamedTuple):
    """``shares``: those with the most rounds first; ``total``: how many keys have jobs in line.

    Of more than LOOKED_AT keys any so many were looked at, and only they are meant (not
    ``is_whole``).
    """

    shares: list[Share]
    total: int
    is_whole: bool

    @property
    def more(self) -> int:
        """Keys that have jobs in line and are not named."""
        return self.total - len(self.shares)


def call(broker: Broker, queue: str) -> Call:
    """What ``rota_in`` reads."""
    return broker.operator_call("rota", queue, (LOOKED_AT, NAMED), timed=False)


def rota_in(reply: Sequence[Any]) -> Rota:
    """The reply of ``rota``."""
    flat, total, seen, known = reply
    shares = [Share(text(key), rounds) for key, rounds in zip(flat[::2], flat[1::2], strict=True)]
    return Rota(shares, total, seen >= known)
