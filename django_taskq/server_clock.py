"""What Redis' clocks show, reckoned from our own monotonic one between two answers."""

from __future__ import annotations

from .clock import monotonic

STEP = 50  # ms by which a clock has to have been set for plans to be made anew


class ServerClocks:
    """A clock per queue: on a Cluster queues lie on several servers."""

    def __init__(self) -> None:
        self._offsets: dict[str, float] = {}  # queue -> ms that its clock is ahead of monotonic

    def told(self, queue: str, now: int, *, early: bool = False) -> bool:
        """Takes an answer's time; whether the clock was set since the last.

        An answer is whole milliseconds and takes its time, so the clock is ahead of what it says:
        the answer that is ahead most counts, until one says that it was too ``early``.
        """
        offset = now - monotonic() * 1000
        before = self._offsets.get(queue, offset)
        if before - STEP < offset < before and not early:
            return False
        self._offsets[queue] = offset
        return abs(offset - before) >= STEP

    def now(self, queue: str) -> int:
        """The time in ms."""
        return int(self._offsets[queue] + monotonic() * 1000)

    def when(self, queue: str, at: int) -> float:
        """When it will be ``at`` (ms), in seconds of our own clock."""
        return (at - self._offsets[queue]) / 1000
