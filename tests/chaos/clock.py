"""A clock that tells another time to one process: clock.c, compiled here, under LD_PRELOAD."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """What a process that is started with ``env`` takes the time to be."""

    def __init__(self, home: Path, name: str) -> None:
        self._offset = home / f"{name}.offset"
        library = home / "clock.so"
        if not library.exists():
            compiler = shutil.which("gcc") or shutil.which("cc")
            if compiler is None:
                raise FileNotFoundError("a wrong clock needs a C compiler (Debian: gcc)")
            subprocess.run(
                [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)], check=True
            )
        self.env = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._offset)}
        self.off_by(0)

    def off_by(self, seconds: int) -> None:
        """From now on the clock is wrong by so much."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._offset)
