"""A clock that tells another time to one process: clock.c under LD_PRELOAD."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.preload import compiled


class Clock:
    """What a process that is started with ``env`` takes the time to be."""

    def __init__(self, home: Path, name: str) -> None:
        self._offset = home / f"{name}.offset"
        library = compiled("clock", home)
        self.env = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._offset)}
        self.off_by(0)

    def off_by(self, seconds: int) -> None:
        """From now on the clock is wrong by so much."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._offset)
