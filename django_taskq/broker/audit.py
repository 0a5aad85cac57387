"""Who did what to which job, queue, schedule or worker: the newest of it, beside the queues.

The admin writes into Django's log as well, which has users and is kept for ever. Here is also what
was done by commands, and by other sites that share the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis

from ..codec import LATEST, UNREADABLE
from ..exceptions import BrokerError
from ..job import new_id
from .broker import Broker
from .faults import describe
from .keys import global_key
from .replies import text

KEPT = 10_000  # lines
MOST_THINGS = 100  # that one line names
MOST_TEXT = 500  # characters of each value
FIRST = "-"
LAST = "+"


class Deed(msgspec.Struct, frozen=True):
    """What was done. ``told`` and what came of it hold nothing that is secret."""

    by: str
    verb: str
    kind: str  # job, queue, schedule or worker
    things: list[str]  # the first of them
    count: int  # of all
    told: dict[str, Any] = {}
    outcome: dict[str, Any] = {}


class Line(NamedTuple):
    """A deed with its place in the log and when it was written down (ms)."""

    place: str
    at: int
    deed: Deed


class Audit:
    """The log of one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def write(
        self,
        by: str,
        verb: str,
        kind: str,
        things: Sequence[str],
        told: Mapping[str, Any] | None = None,
        outcome: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds a line; of many things it names the first. Raises BrokerError."""
        deed = Deed(
            by[:MOST_TEXT],
            verb,
            kind,
            [thing[:MOST_TEXT] for thing in things[:MOST_THINGS]],
            len(things),
            cut(told or {}),
            cut(outcome or {}),
        )
        args = (KEPT, new_id(), msgspec.json.encode(deed))
        call = self._broker.operator_call("audit", "", args, timed=False)
        try:
            self._broker.server.call(call)
        except redis.ResponseError as error:  # no right to it, or a key of another kind
            raise BrokerError(f"the audit log takes no lines: {describe(error)}") from error

    def read(self, count: int, before: str = "") -> list[Line]:
        """The newest lines, or those before the one at a place; what cannot be read is left out.

        Raises BrokerError.
        """
        key = global_key(self._broker.prefix, "audit")
        last = f"({before}" if before else LAST
        command = self._broker.server.command
        try:
            found = command("XREVRANGE", key, last, FIRST, "COUNT", str(count))
        except redis.ResponseError as error:
            raise BrokerError(f"the audit log cannot be read: {describe(error)}") from error
        return [line for place, fields in found if (line := line_of(text(place), fields))]


def line_of(place: str, fields: Sequence[bytes]) -> Line | None:
    """A line as Redis has it."""
    try:
        deed = msgspec.json.decode(fields[-1], type=Deed)
    except (*UNREADABLE, IndexError):
        return None
    at = int(place.partition("-")[0])
    return Line(place, at, deed) if 0 < at < LATEST else None


def cut(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same with long texts cut, those one level down too."""
    return {name: short(value) for name, value in told.items()}


def short(value: Any) -> Any:
    """A value of a line: a number, a text that is not long, or a few of them by name."""
    if isinstance(value, Mapping):
        return {str(name)[:MOST_TEXT]: str(each)[:MOST_TEXT] for name, each in value.items()}
    return value if isinstance(value, int | float) else str(value)[:MOST_TEXT]
