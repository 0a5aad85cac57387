"""A real worker: a process of ``manage.py runworker`` with the settings of the benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testproject.processes import ROOT, die_with_parent, kill

STOP_TIMEOUT = 40.0  # seconds to finish after SIGTERM


class Worker:
    """The process, and what it said."""

    def __init__(self, log: Path, arguments: list[str], url: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env={**os.environ, "BENCH_URL": url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent(),
            )

    def check(self) -> None:
        """Ends the benchmark when the process has ended."""
        if self.process.poll() is not None:
            raise SystemExit(f"the worker ended:\n{self.output}")

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"the worker does not stop:\n{self.output}") from None


@contextmanager
def running(log: Path, arguments: list[str], url: str) -> Iterator[Worker]:
    """Started here and gone afterwards, whatever happens in between."""
    worker = Worker(log, arguments, url)
    try:
        yield worker
        worker.stop()
    finally:
        if worker.process.poll() is None:
            kill(worker.process)


def runworker(*options: str) -> list[str]:
    """The command line of a worker."""
    return [sys.executable, "-m", "django", "runworker", *options]
