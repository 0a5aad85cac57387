"""The limits of a queue: their numbers, who is inside, and who waits for room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...asks import numbers_in
from ...asks import text as name_of
from ...limits import Limit
from ..broker import HOUSEKEEPING, Broker
from ..calls import Call
from ..replies import text


class Gate(NamedTuple):
    """Who shares a limit: ``task:NAME`` a task's jobs, ``key:TEXT`` those of a key, ``queue`` all.

    ``limit``: whose numbers it goes by, "" if nobody knows; ``opens``: ms until its rate lets the
    next in; -1: it waits for a job to end, or for nothing.
    """

    name: str
    limit: str
    waiting: int
    inside: int
    opens: int


class LimitState(NamedTuple):
    """A limit, named as its gate is or, of keys that differ from job to job, after their template.

    ``code``: the numbers that the latest job brought; ``by_hand``: those that a person gave
    instead. None: none, or they cannot be read. ``gates``: those of it that were found.
    """

    name: str
    code: Limit | None
    by_hand: Limit | None
    gates: list[Gate]

    @property
    def numbers(self) -> Limit | None:
        """Those that count."""
        return self.by_hand or self.code

    @property
    def waiting(self) -> int:
        return sum(gate.waiting for gate in self.gates)

    @property
    def inside(self) -> int:
        return sum(gate.inside for gate in self.gates)

    @property
    def opens(self) -> int:
        """ms until a rate lets the next in; -1 as of a gate."""
        return min((gate.opens for gate in self.gates if gate.opens >= 0), default=-1)


class Limits(NamedTuple):
    """The limits of a queue, those at which most jobs wait first.

    Up to HOUSEKEEPING, and as many gates; ``total``: how many limits there are.
    """

    found: list[LimitState]
    gates: list[Gate]
    total: int

    def get(self, name: str) -> LimitState | None:
        """The one of that name."""
        return next((limit for limit in self.found if limit.name == name), None)


def call(broker: Broker, queue: str, names: Sequence[str] = ()) -> Call:
    """What ``limits_in`` reads; ``names``: limits that are looked for in any case."""
    wanted = [name_of(name)[:-1] for name in names]
    return broker.operator_call("gates", queue, (HOUSEKEEPING, *wanted), timed=True)


def limits_in(reply: Sequence[Any]) -> Limits:
    """The reply of ``gates``."""
    flat, numbers, total = reply
    gates = [
        Gate(text(flat[at]), text(flat[at + 1]), *flat[at + 2 : at + 5])
        for at in range(0, len(flat), 5)
    ]
    found = [
        LimitState(name, *numbers_in(raw), [gate for gate in gates if gate.limit == name])
        for name, raw in ((text(numbers[at]), numbers[at + 1]) for at in range(0, len(numbers), 2))
        if raw
    ]
    return Limits(sorted(found, key=lambda limit: (-limit.waiting, limit.name)), gates, total)
