"""Real workers write rows of jobs, whoever dies, and while the database is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_taskq.broker.listening import audience
from django_taskq.compat import task_backends
from tests.conftest import eventually
from tests.postgres import Postgres, binaries, running
from tests.processes.app.tasks import note
from tests.processes.conftest import ROOT, WAIT, Station


class Library:
    """A station whose workers write rows."""

    def __init__(self, station: Station, database: dict[str, Any]) -> None:
        self.station = station
        self.database = database
        self.env = {"TEST_MIRROR": "1", "TEST_DATABASE": json.dumps(database)}
        self.run("-m", "django", "migrate", "taskq_mirror", "-v", "0")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            env=self.station.env(**self.env),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def states(self) -> Counter[str]:
        return Counter(self.station.select(self.database, "SELECT state FROM taskq_job"))

    def wait_for(self, **states: int) -> None:
        eventually(lambda: self.states() == states, WAIT, f"{self.states()} is not {states}")


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request: Any, station: Station) -> Library:
    if request.param == "sqlite":
        return Library(station, {})
    entry = request.getfixturevalue("postgres").create()
    return Library(station, {**entry, "OPTIONS": {}})


def scribe_of(pid: int) -> int:
    """The pid of a worker's process that writes rows: the one that does not run jobs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(c) for c in children if os.getpriority(os.PRIO_PROCESS, int(c)) > 0)


def test_a_worker_writes_rows_and_the_last_ones_before_it_ends(
    station: Station, library: Library
) -> None:
    worker = station.worker(**library.env)
    note.enqueue_many([(f"a{n}",) for n in range(50)])
    library.wait_for(succeeded=50)
    for last in range(51, 54):  # its process has seconds for them, and a starved one needs more
        note.enqueue(f"last {last}")
        station.traced(f"last {last}")
        assert worker.stop() == 0
        states = library.states()
        if states == {"succeeded": last}:
            break
        worker = station.worker(**library.env)
        library.wait_for(succeeded=last)
    assert states == {"succeeded": last}


def test_a_database_that_is_stopped_delays_rows_and_no_job(
    station: Station, postgres: Postgres
) -> None:
    """A server of its own: the session's has other tests' databases."""
    folder = binaries()
    assert folder is not None
    with running(folder) as server:
        library = Library(station, {**server.create(), "OPTIONS": {}})
        worker = station.worker(**library.env)
        note.enqueue("before")
        library.wait_for(succeeded=1)
        server.stop()
        note.enqueue_many([(f"a{n}",) for n in range(300)])
        station.traced(*(f"a{n}" for n in range(300)))
        eventually(lambda: "takes no rows of jobs" in worker.output, WAIT)
        note.enqueue("meanwhile")
        station.traced("meanwhile")
        server.go_on()
        library.wait_for(succeeded=302)
        worker.stop()


def test_what_a_worker_without_rows_runs_is_written_later(
    station: Station, library: Library
) -> None:
    first = station.worker(**library.env)
    note.enqueue("a")
    library.wait_for(succeeded=1)
    first.kill_all()
    other = station.worker()  # of a release without the app
    note.enqueue_many([("b",), ("c",)])
    station.traced("b", "c")
    other.stop()
    library.run("-m", "django", "taskq", "mirror", "--resync")
    assert library.states() == {"succeeded": 3}
    (status,) = json.loads(library.run("-m", "django", "taskq", "mirror", "--status", "--json"))
    assert status["complete"] == "yes"
    assert status["behind_ms"] == 0


def test_another_takes_the_place_of_a_process_that_died(station: Station, library: Library) -> None:
    worker = station.worker(**library.env)
    note.enqueue("a")
    library.wait_for(succeeded=1)
    os.kill(scribe_of(worker.process.pid), signal.SIGKILL)
    note.enqueue("b")
    library.wait_for(succeeded=2)
    assert "the mirror is gone; starting another" in worker.output


def test_a_database_without_tables_does_not_stop_jobs(station: Station, library: Library) -> None:
    library.run("-m", "django", "migrate", "taskq_mirror", "zero", "-v", "0")
    worker = station.worker(**library.env)
    note.enqueue_many([("a",), ("b",)])
    station.traced("a", "b")
    eventually(lambda: "takes no rows of jobs" in worker.output, WAIT)
    library.run("-m", "django", "migrate", "taskq_mirror", "-v", "0")
    library.wait_for(succeeded=2)


def test_a_mirror_that_is_forgotten_leaves_no_stream(station: Station, library: Library) -> None:
    note.enqueue("a")
    library.run("-m", "django", "taskq", "mirror", "--once")
    assert library.states() == {"ready": 1}
    broker = task_backends["default"].broker
    assert audience(broker, "default").hearers
    library.run("-m", "django", "taskq", "mirror", "--forget")
    found = audience(broker, "default")
    assert (found.entries, found.hearers) == (0, [])


def test_a_process_that_is_spawned_writes_rows_too(station: Station, library: Library) -> None:
    worker = station.worker(TEST_START_METHOD="spawn", **library.env)
    note.enqueue("a")
    library.wait_for(succeeded=1)
    assert worker.stop() == 0
