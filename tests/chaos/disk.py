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

    @property
    def syncs(self) -> int:
        """How many there were."""
        return len(self._book.read_text().splitlines())

    def lose_power(self) -> int:
        """Cuts what no fsync has covered off the server's append-only files; bytes."""
        synced: dict[str, int] = {}
        for line in self._book.read_text().splitlines():
            size, path = line.split(" ", 1)
            synced[Path(path).name.removeprefix("temp-")] = int(size)
        cut = 0
        for path in self._files.glob("*.incr.aof"):
            kept = min(synced.get(path.name, 0), path.stat().st_size)
            cut += path.stat().st_size - kept
            os.truncate(path, kept)
        return cut
