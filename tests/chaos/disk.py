"""A power failure, for a server that was killed: its files lose what was never on the disk.

kill -9 alone takes nothing: what a process has written the kernel still has. disk.c, under
LD_PRELOAD, writes down how much of each file an fsync has covered; here the rest is cut off.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.chaos.preload import compiled


class Disk:
    """What a server that is started with ``env`` really has on the disk."""

    def __init__(self, home: Path) -> None:
        self._book = home / "disk.book"
        self._files = home / "appendonlydir"
        self.env = {"LD_PRELOAD": str(compiled("disk", home)), "CHAOS_DISK": str(self._book)}

    def syncs(self) -> list[tuple[str, int, float]]:
        """File, bytes of it that were synced, and when that began (monotonic), as they ended."""
        lines = [line.split(" ", 2) for line in self._book.read_text().splitlines()]
        return [
            (Path(path).name.removeprefix("temp-"), int(size), float(began))
            for size, began, path in lines
        ]

    @property
    def safe_until(self) -> float:
        """What was answered before this time (monotonic) is on the disk; 0 if nothing need be.

        What comes while a sync is under way is written when that is over, and the next one covers
        it. So the time is that at which the last but one began.
        """
        began = [at for name, _, at in self.syncs() if name.endswith(".incr.aof")]
        return began[-2] if len(began) > 1 else 0.0

    def lose_power(self) -> int:
        """Cuts what no fsync has covered off the server's append-only files; bytes."""
        synced = {name: size for name, size, _ in self.syncs()}
        cut = 0
        for path in self._files.glob("*.incr.aof"):
            kept = min(synced.get(path.name, 0), path.stat().st_size)
            cut += path.stat().st_size - kept
            os.truncate(path, kept)
        return cut
