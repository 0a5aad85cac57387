"""The outbox with real processes: whoever dies, and while Redis is away, each job runs once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from django_taskq.compat import task_backends
from tests.conftest import eventually
from tests.processes.conftest import ROOT, WAIT, Station, make_station
from tests.processes.test_faults import Tcp


class Shop:
    """A station with an outbox, and the processes that enqueue there."""

    def __init__(self, station: Station, database: dict[str, Any]) -> None:
        self.station = station
        self.database = database
        options = {"OUTBOX": True, "CONNECT_TIMEOUT": 0.3, "SOCKET_TIMEOUT": 2}
        self.env = {"TEST_OPTIONS": json.dumps(options), "TEST_DATABASE": json.dumps(database)}
        self.run("-m", "django", "migrate", "taskq_outbox", "-v", "0")

    def run(self, *command: str) -> int:
        """The exit code of a Python command."""
        done = subprocess.run(
            [sys.executable, *command],
            env=self.station.env(**self.env),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    def produce(self, how: str, *names: str) -> int:
        return self.run("-m", "tests.processes.produce", how, *names)

    def rows(self) -> int:
        (count,) = self.station.select(self.database, "SELECT count(*) FROM taskq_outbox")
        return int(count)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: Any) -> dict[str, Any]:
    """What the settings of the processes say about their database, if it is not SQLite."""
    if request.param == "sqlite":
        return {}
    entry: dict[str, Any] = request.getfixturevalue("postgres").create()
    return {**entry, "OPTIONS": {}}


@pytest.fixture
def shop(station: Station, database: dict[str, Any]) -> Shop:
    return Shop(station, database)


@pytest.mark.parametrize("how", ["dies-before", "dies-after"])
def test_a_job_whose_producer_dies_right_after_the_commit_runs_once(shop: Shop, how: str) -> None:
    station = shop.station
    station.worker(**shop.env)
    assert shop.produce(how, "first", "second") == -signal.SIGKILL

    station.traced("first", "second", timeout=WAIT)

    eventually(lambda: shop.rows() == 0, WAIT)
    assert sorted(station.lines()) == ["first", "second"]


def test_a_worker_that_does_not_stay_runs_what_was_left(shop: Shop) -> None:
    assert shop.produce("dies-before", "left") == -signal.SIGKILL
    shop.station.burst(**shop.env)
    assert shop.station.lines() == ["left"]


def test_the_sweep_goes_on_when_its_process_dies(shop: Shop) -> None:
    station = shop.station
    worker = station.worker("--processes", "2", **shop.env)
    before = set(eventually(lambda: len(worker.children()) == 2 and worker.children()))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(worker.children()) - before) == 2)
    shop.produce("dies-before", "left")
    station.traced("left", timeout=WAIT)


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Tcp]:
    server = Tcp(tmp_path)
    yield server
    server.stop()


def test_a_hundred_commits_without_redis_run_once_when_it_is_back(
    tmp_path: Path, tcp: Tcp, database: dict[str, Any]
) -> None:
    with contextmanager(make_station)(tmp_path, tcp.url, "taskq") as station:
        shop = Shop(station, database)
        station.worker(**shop.env)
        tcp.stop()
        names = [f"job {n}" for n in range(100)]
        assert shop.produce("lives", *names) == 0
        assert shop.rows() == 100
        tcp.start()

        station.traced(*names, timeout=WAIT)

        eventually(lambda: shop.rows() == 0, WAIT)
        assert sorted(station.lines()) == sorted(names)
        task_backends["default"].server.close()
