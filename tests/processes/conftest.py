"""Real workers: processes of ``manage.py runworker`` with a ledger of what their jobs did."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_taskq.broker.roster import Roster
from django_taskq.compat import task_backends
from tests.conftest import eventually
from tests.postgres import postgres

__all__ = ["postgres", "station"]

ROOT = Path(__file__).resolve().parents[2]
DJANGO = ("-m", "django")  # what python runs
LAST_WORDS = 4_000  # characters
WAIT = 40.0  # seconds, for what takes a moment where a machine is not starved
SLOW = 20.0  # seconds that one which is may add to what is promised
BRIEF_LEASE = 8.0  # seconds
BRIEF = {"TEST_LEASE": str(BRIEF_LEASE)}  # of a worker whose lease has to end, or be renewed
LASTING = {"TEST_LEASE": "60"}  # of one that has to hear of something before a renewal tells it
HEARD = 15.0  # seconds; sooner than that renewal


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

    def says(self, pattern: str, timeout: float = WAIT) -> str:
        """Waits until the output matches."""

        def found() -> Any:
            has_ended = self.process.poll() is not None  # asked first: it may say it as it ends
            match = re.search(pattern, self.output)
            assert match or not has_ended, self.output
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
        except (FileNotFoundError, ProcessLookupError):  # it has ended, before or meanwhile
            return []

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def shows(self, pattern: str) -> str:
        """Waits until its stacks match; they are asked for again, as some may be cut short."""
        for _ in range(4):
            self.signal(signal.SIGTTIN)
            with suppress(pytest.fail.Exception):
                return self.says(pattern, WAIT / 4)
        raise AssertionError(self.output)

    def heard(self) -> None:
        """Returns when its processes know all that it was told to do, and it listens."""
        roster = Roster(task_backends["default"].broker)

        def standing() -> Any:
            _, workers = roster.workers()
            return next((each for each in workers if each.record.pid == self.process.pid), None)

        worker = eventually(standing)
        holders = [each.holder for each in worker.record.processes]
        before = roster.told(holders)

        def answered() -> bool:
            roster.order(worker.id, "stack")  # again, as nobody listens where one just forks
            time.sleep(0.1)
            told = roster.told(holders)
            return all(told.get(each, (0, "")) > before.get(each, (0, "")) for each in holders)

        eventually(answered)

    def freeze(self) -> None:
        """Stops the supervisor, then its children, where they are."""
        for pid in (self.process.pid, *self.children()):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets them go on, the children first."""
        for pid in (*self.children(), self.process.pid):
            os.kill(pid, signal.SIGCONT)

    def wait(self, timeout: float = WAIT) -> int:
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill_all(self) -> None:
        """SIGKILL to the supervisor; the kernel takes its children along."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT)


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
        assert worker.wait(100) == 0, worker.output
        return worker

    def lines(self) -> list[str]:
        return self.ledger.read_text().splitlines()

    def traced(self, *texts: str, timeout: float = WAIT) -> None:
        """Waits until the ledger has these lines."""
        eventually(
            lambda: set(texts) <= set(self.lines()), timeout, f"{texts} not in {self.lines()}"
        )

    def select(self, database: dict[str, Any], query: str) -> list[Any]:
        """The first column of what a query finds in the database of the workers.

        Without Django, whose start costs more than all the rest of a look.
        """
        connection: Any
        if database:
            where = {"host": database["HOST"], "dbname": database["NAME"], "user": database["USER"]}
            connection = import_module("psycopg").connect(**where)
        else:
            connection = sqlite3.connect(self.home / "db.sqlite3", timeout=WAIT)
        with closing(connection):
            return [row[0] for row in connection.execute(query)]

    def open(self, gate: str) -> None:
        """Lets the jobs that wait at the gate go on."""
        Path(f"{self.ledger}.{gate}").touch()

    def close(self) -> None:
        """Kills what runs. pytest shows what a worker had said last where the test failed."""
        for worker in self.workers:
            worker.kill_all()
            print(f"--- {worker.process.args}\n{worker.output[-LAST_WORDS:]}")


@pytest.fixture
def station(tmp_path: Path, url: str, prefix: str) -> Iterator[Station]:
    """A place with nothing running yet; what is started is killed at the end."""
    yield from make_station(tmp_path, url, prefix)


def make_station(home: Path, url: str, prefix: str) -> Iterator[Station]:
    tasks = {
        "default": {
            "BACKEND": "django_taskq.backends.RedisBackend",
            "QUEUES": {"critical": 6, "default": 3, "low": 1},
            "OPTIONS": {"URL": url, "PREFIX": prefix, "CONNECT_TIMEOUT": WAIT},
        }
    }
    station = Station(home, url, prefix)
    with override_settings(TASKS=tasks):
        try:
            yield station
        finally:
            station.close()
            if task_backends["default"].conf.url == url:
                task_backends["default"].server.close()
