"""Where jobs write the time at which they began: one slot each, in a file that is shared memory.

It costs a job 0.1 µs, needs no round trip, and is the same for every system that is compared.
"""

from __future__ import annotations

import mmap
from pathlib import Path

SIZE = 8  # bytes per slot: ns since the epoch, 0 for not yet


class Slots:
    """The file's slots. ``count`` makes it anew, all empty; None opens it as it is."""

    def __init__(self, path: Path, count: int | None = None) -> None:
        if count is not None:
            with path.open("wb") as file:
                file.truncate(count * SIZE)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.times = memoryview(self._map).cast("q")

    def clear(self, count: int) -> None:
        """Empties the first ``count`` slots."""
        self._map[: count * SIZE] = bytes(count * SIZE)

    def read(self, count: int) -> list[int]:
        """The first ``count`` slots."""
        return self.times[:count].tolist()

    def is_full(self, count: int) -> bool:
        """Whether the first ``count`` are written; cheap while they are not."""
        return bool(self.times[count - 1]) and 0 not in self.times[:count]
