"""One system under one kind of strike."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from testproject.processes import ROOT, die_with_parent, free_port
from tests.chaos.ledger import Ledger
from tests.chaos.peers.strikes import Strike
from tests.chaos.report import Report
from tests.chaos.server import Server

JOB_MS = 30
PAUSE = 0.02
STALLED = 10.0  # seconds without a job done after which the next strike comes all the same
GIVEN_UP = 60.0  # seconds without a job done after which what is left counts as lost
ENDED = 5.0  # the same when the worker has ended


@dataclass(frozen=True)
class Peer:
    """A system: how its worker and its producer are started. Four jobs at a time."""

    name: str
    python: str
    module: str
    worker: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()  # strikes; all if empty


class Run:
    """A server, a worker, and jobs that are all there before it starts."""

    def __init__(self, peer: Peer, home: Path) -> None:
        self.peer = peer
        self.home = home
        self.ledger = Ledger(home / "ledger")
        port = free_port(0)
        self.server = Server(home, "everysec", bind="127.0.0.1", port=str(port))
        url = f"redis://127.0.0.1:{port}/0"
        self.marker = f"PEER_RUN={home.name}"
        self.env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "CHAOS_URL": url,
            "CHAOS_LEDGER": str(self.ledger.path),
            "PEER_URL": url,
            "PEER_RUN": home.name,
            **peer.env,
        }

    def play(self, strike: Strike, jobs: int) -> Report:
        report = Report(f"{self.peer.name}: {strike.name}", jobs=jobs, faults=strike.times)
        began = time.monotonic()
        self._start("-m", self.peer.module, str(jobs), str(JOB_MS)).wait()
        self.start_worker()
        for number in range(1, strike.times + 1):
            self._wait_for(jobs * number // (strike.times + 1), STALLED)
            strike.do(self)
            struck = time.monotonic()
        self._wait_for(jobs, GIVEN_UP)
        done = self.ledger.done
        report.recoveries = [max(max(done.values(), default=struck) - struck, 0.0)]
        report.lost = jobs - len(done)
        report.again = len({number for number, _ in self.ledger.again})
        if self.worker.poll() is not None:
            report.notes.append("its worker ended")
        report.took = time.monotonic() - began
        return report

    def start_worker(self) -> None:
        self.worker = self._start(*self.peer.worker)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.home / "log").open("ab") as log:
            return subprocess.Popen(
                [self.peer.python, *words],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),
            )

    def _wait_for(self, count: int, patience: float) -> None:
        """Until so many jobs are done, or none was for so long."""
        last, since = -1, time.monotonic()
        while len(self.ledger.done) < count:
            if len(self.ledger.done) > last:
                last, since = len(self.ledger.done), time.monotonic()
            ended = self.worker.poll() is not None
            if time.monotonic() - since > (min(ENDED, patience) if ended else patience):
                return
            time.sleep(PAUSE)
            self.ledger.read()

    def kill_all(self) -> None:
        """SIGKILL to everything of this run, wherever it went: those who carry its marker."""
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self.marker.encode() in environ.read_bytes().split(b"\0"):
                    os.kill(int(environ.parent.name), signal.SIGKILL)

    def close(self) -> None:
        self.kill_all()
        self.server.kill()
        self.ledger.close()
