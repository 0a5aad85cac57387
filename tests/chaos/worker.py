"""A real worker that a fault strikes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from testproject.processes import ROOT, die_with_parent

PATIENCE = 30.0  # seconds to start, or to leave
PAUSE = 0.01
STRAY = re.compile(r"job \S+ goes back: Redis has lost")
LAPSED = re.compile(r"the lease of \S+ (in queue \S+ )?is over")
REFUSED = re.compile(r"job (\S+): its lease was lost, what came of attempt")


class Worker:
    """A process of ``manage.py runworker`` with its children, and what it said."""

    def __init__(self, log: Path, args: tuple[str, ...], env: dict[str, str]) -> None:
        self.log = log
        self.took: float | None = None  # seconds until it took jobs
        self._began = time.monotonic()
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "runworker", *args],
                env={**os.environ, **env},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent(),
            )

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def refused(self) -> list[str]:
        """Ids of the jobs of which it told too late: another had them already."""
        return REFUSED.findall(self.output)

    def lapses(self) -> int:
        """Leases of its children that ended while they lived."""
        return len(LAPSED.findall(self.output))

    def strays(self) -> int:
        """Jobs that it gave back because Redis took them for held there, and they were not."""
        return len(STRAY.findall(self.output))

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def is_ready(self) -> bool:
        """Whether it takes jobs; how long that took is noted."""
        if self.took is None and "worker ready" in self.output:
            self.took = time.monotonic() - self._began
        return self.took is not None

    def ready(self) -> Worker:
        """Waits until it takes jobs."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready():
            if not self.lives or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start:\n{self.output[-2000:]}")
            time.sleep(PAUSE)
        return self

    def children(self) -> list[int]:
        """The pids of its job processes."""
        pid = self.process.pid
        with suppress(OSError):
            return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def signal_all(self, number: int) -> None:
        """To the supervisor first, then to its children."""
        for pid in (self.process.pid, *self.children()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL to the supervisor, as the kernel's out-of-memory killer does it."""
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """SIGKILL to the supervisor and its children at once."""
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> bool:
        """TERM; whether it left by itself and said it went well."""
        if self.lives:
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(PATIENCE) == 0
        self.kill_all()
        return False
