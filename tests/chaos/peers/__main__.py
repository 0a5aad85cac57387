"""Kills the whole worker, again and again, and counts: ours, Dramatiq, Celery.

    python -m tests.chaos.peers --jobs 1000 --kills 20

The others are installed into var/peers, and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from testproject.processes import ROOT, die_with_parent, free_port
from tests.chaos.ledger import Ledger
from tests.chaos.report import Report, heading
from tests.chaos.server import Server

VENV = ROOT / "var" / "peers"
PACKAGES = ("celery[redis]>=5.5", "dramatiq[redis]>=1.17")
JOB_MS = 30
PAUSE = 0.02
STALLED = 10.0  # seconds without a job done after which the next kill comes all the same
GIVEN_UP = 60.0  # seconds without a job done after which what is left counts as lost


@dataclass(frozen=True)
class Peer:
    """A system: how its worker and its producer are started. Four jobs at a time."""

    name: str
    python: str
    module: str
    worker: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


THEIRS = str(VENV / "bin" / "python")
CELERY = ("-m", "celery", "-A", "tests.chaos.peers.celery_app", "worker")
CELERY += ("--concurrency", "4", "--loglevel", "ERROR")
DRAMATIQ = ("-m", "dramatiq", "tests.chaos.peers.dramatiq_app", "--processes", "1")
PEERS = [
    Peer(
        "django_taskq, lease 5 s",
        sys.executable,
        "tests.chaos.peers.ours",
        ("-m", "django", "runworker", "--processes", "1", "--concurrency", "4"),
    ),
    Peer(
        "Dramatiq, 10 s",
        THEIRS,
        "tests.chaos.peers.dramatiq_app",
        (*DRAMATIQ, "--threads", "4"),
    ),
    Peer("Celery, late, 10 s", THEIRS, "tests.chaos.peers.celery_app", CELERY, {"PEER_LATE": "1"}),
    Peer("Celery", THEIRS, "tests.chaos.peers.celery_app", CELERY),
]


class Run:
    """One system under its kills."""

    def __init__(self, peer: Peer, home: Path) -> None:
        self.peer = peer
        self.home = home
        self.ledger = Ledger(home / "ledger")
        port = free_port(0)
        self.server = Server(home, bind="127.0.0.1", port=str(port))
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

    def play(self, jobs: int, kills: int) -> Report:
        report = Report(self.peer.name, jobs=jobs, faults=kills)
        began = time.monotonic()
        self.start("-m", self.peer.module, str(jobs), str(JOB_MS)).wait()
        worker = self.start(*self.peer.worker)
        for number in range(1, kills + 1):
            self.wait_for(jobs * number // (kills + 1), STALLED)
            self.kill()
            worker.wait()
            struck = time.monotonic()
            worker = self.start(*self.peer.worker)
        self.wait_for(jobs, GIVEN_UP)
        done = self.ledger.done
        report.recoveries = [max(done.values(), default=struck) - struck]
        report.lost = jobs - len(done)
        report.again = len({number for number, _ in self.ledger.again})
        report.took = time.monotonic() - began
        return report

    def start(self, *words: str) -> subprocess.Popen[bytes]:
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

    def wait_for(self, count: int, patience: float) -> None:
        """Until so many jobs are done, or none was for so long."""
        last, since = -1, time.monotonic()
        while len(self.ledger.done) < count and time.monotonic() - since < patience:
            if len(self.ledger.done) > last:
                last, since = len(self.ledger.done), time.monotonic()
            time.sleep(PAUSE)
            self.ledger.read()

    def kill(self) -> None:
        """SIGKILL to everything of this run, wherever it went: those who carry its marker."""
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self.marker.encode() in environ.read_bytes().split(b"\0"):
                    os.kill(int(environ.parent.name), signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self.server.kill()
        self.ledger.close()


def install() -> None:
    """The peers, once."""
    if not (VENV / "bin" / "celery").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([THEIRS, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    names = ("celery", "kombu", "dramatiq", "redis")
    found = "; ".join(f"print({name!r}, version({name!r}))" for name in names)
    subprocess.run([THEIRS, "-c", f"from importlib.metadata import version; {found}"], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.peers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    install()
    print(heading(), flush=True)
    lost = {}
    for peer in PEERS:
        home = Path(tempfile.mkdtemp(prefix="tqpeer-"))
        run = Run(peer, home)
        try:
            report = run.play(options.jobs, options.kills)
        finally:
            run.close()
            shutil.rmtree(home, ignore_errors=True)
        print(report.row(), flush=True)
        lost[peer.name] = report.lost
    return 1 if lost[PEERS[0].name] else 0


if __name__ == "__main__":
    sys.exit(main())
