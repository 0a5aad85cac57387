"""Which releases of the project workers have run, and since when: the marks in charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .broker import Broker
from .calls import Call, Command
from .keys import global_key
from .replies import text

KEPT = 100  # the newest


class Release(NamedTuple):
    """A release, and when a worker first reported it (ms)."""

    name: str
    since: int


class Releases:
    """The releases of one broker's project."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def mark(self, release: str) -> int:
        """Notes that it is at work; since when it is (ms)."""
        call = self._broker.timed_call("mark", "", (KEPT, release))
        return int(self._broker.server.call(call))

    def call(self) -> Call:
        """The call whose reply ``releases_in()`` understands."""
        key = global_key(self._broker.prefix, "releases")
        return Command("ZRANGE", key, 0, -1, "WITHSCORES")


def releases_in(reply: Sequence[bytes]) -> list[Release]:
    """What is kept, the oldest first."""
    return [Release(text(reply[at]), round(float(reply[at + 1]))) for at in range(0, len(reply), 2)]
