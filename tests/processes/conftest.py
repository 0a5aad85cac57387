"""Real workers: processes of ``manage.py runworker`` with a ledger of what their jobs did."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_taskq.compat import task_backends
from tests.conftest import eventually
from tests.postgres import postgres

__all__ = ["postgres", "station"]

ROOT = Path(__file__).resolve().parents[2]
DJANGO = ("-m", "django")  # what python runs


class Worker:
    """A ``runworker`` process, and what it said."""

    def __init__(
        self, home: Path, env: dict[str, str], *args: str, program: Sequence[str] = DJANGO
    ) -> None:
        self.log = home / f"worker-{len(list(home.glob('worker-*')))}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *program, "runworker", *args],
                env=env,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def says(self, pattern: str, timeout: float = 20.0) -> str:
        """Waits until the output matches."""

        def found() -> Any:
            match = re.search(pattern, self.output)
            assert match or self.process.poll() is None, self.output
            return match

        return str(eventually(found, timeout, f"never said {pattern!r}")[0])

    def ready(self) -> Worker:
        self.says("worker ready")
        return self

    def children(self) -> list[int]:
        """The pids of its job processes."""
        pid = self.process.pid
        try:
            return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Stops the supervisor, then its children, where they are."""
        for pid in (self.process.pid, *self.children()):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets them go on, the children first."""
        for pid in (*self.children(), self.process.pid):
            os.kill(pid, signal.SIGCONT)

    def wait(self, timeout: float = 20.0) -> int:
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill_all(self) -> None:
        """SIGKILL to the supervisor; the kernel takes its children along."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


class Station:
    """A prefix, a ledger, and the workers on them."""

    def __init__(self, home: Path, url: str, prefix: str) -> None:
        self.home = home
        self.url = url
        self.prefix = prefix
        self.ledger = home / "ledger"
        self.ledger.touch()
        self.workers: list[Worker] = []

    def env(self, **extra: str) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.processes.settings",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "TASKQ_URL": self.url,
            "REDIS_URL": "",  # it would beat the station's own
            "TASKQ_PREFIX": self.prefix,
            "TASKQ_VAR": str(self.home),
            "LEDGER": str(self.ledger),
            **extra,
        }

    def start(self, *args: str, program: Sequence[str] = DJANGO, **env: str) -> Worker:
        """A worker, not waited for."""
        worker = Worker(self.home, self.env(**env), *args, program=program)
        self.workers.append(worker)
        return worker

    def worker(self, *args: str, program: Sequence[str] = DJANGO, **env: str) -> Worker:
        """A worker that is ready."""
        return self.start(*args, program=program, **env).ready()

    def burst(self, *args: str, **env: str) -> Worker:
        """A worker that ran everything there was and left."""
        worker = self.start("--burst", *args, **env)
        assert worker.wait(60) == 0, worker.output
        return worker

    def lines(self) -> list[str]:
        return self.ledger.read_text().splitlines()

    def traced(self, *texts: str, timeout: float = 15.0) -> None:
        """Waits until the ledger has these lines."""
        eventually(
            lambda: set(texts) <= set(self.lines()), timeout, f"{texts} not in {self.lines()}"
        )

    def open(self, gate: str) -> None:
        """Lets the jobs that wait at the gate go on."""
        Path(f"{self.ledger}.{gate}").touch()


@pytest.fixture
def station(tmp_path: Path, url: str, prefix: str) -> Iterator[Station]:
    """A place with nothing running yet; what is started is killed at the end."""
    yield from make_station(tmp_path, url, prefix)


def make_station(home: Path, url: str, prefix: str) -> Iterator[Station]:
    tasks = {
        "default": {
            "BACKEND": "django_taskq.backends.RedisBackend",
            "QUEUES": {"critical": 6, "default": 3, "low": 1},
            "OPTIONS": {"URL": url, "PREFIX": prefix},
        }
    }
    station = Station(home, url, prefix)
    with override_settings(TASKS=tasks):
        try:
            yield station
        finally:
            for worker in station.workers:
                worker.kill_all()
            if task_backends["default"].conf.url == url:
                task_backends["default"].server.close()
