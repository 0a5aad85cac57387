"""What Redis' clocks show, reckoned from our own monotonic one between two answers."""

from __future__ import annotations

from .clock import monotonic

STEP = 50.0  # ms by which a clock has to have been set for that to be told


class ServerClocks:
    """A clock per queue: on a Cluster queues lie on several servers."""

    def __init__(self) -> None:
        self._offsets: dict[str, float] = {}  # queue -> ms that its clock is ahead of monotonic

    def told(self, queue: str, now: int, asked: float) -> bool:
        """Takes an answer's time, asked for at ``asked`` (monotonic); whether the clock was set.

        The answer was true at some moment since then, and is whole milliseconds: what was
        believed before is changed no further than that needs.
        """
        least, most = now - monotonic() * 1000, now + 1 - asked * 1000
        before = self._offsets.get(queue, least)
        self._offsets[queue] = min(max(before, least), most)
        return abs(self._offsets[queue] - before) >= STEP

    def now(self, queue: str) -> int:
        """The time in ms."""
        return int(self._offsets[queue] + monotonic() * 1000)

    def when(self, queue: str, at: int) -> float:
        """When it will be ``at`` (ms), in seconds of our own clock."""
        return (at - self._offsets[queue]) / 1000
