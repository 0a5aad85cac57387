"""Real workers fire schedules: each tick once, whoever dies, stops, or is cut off."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_taskq.broker.almanac import Almanac, Entry
from django_taskq.clock import monotonic
from django_taskq.compat import task_backends
from django_taskq.job import State
from django_taskq.schedule import LATE
from tests.chaos.clock import Clock
from tests.conftest import eventually
from tests.processes.conftest import BRIEF, ROOT, WAIT, Station, Worker, make_station
from tests.processes.test_faults import Tcp

APP = {"TEST_APP": "tests.processes.clockwork"}
SECOND = 1_000


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Tcp]:
    server = Tcp(tmp_path)
    yield server
    server.stop()


def history(name: str = "second", queue: str = "default") -> list[Entry]:
    """What became of the last ticks, the oldest first."""
    return Almanac(task_backends["default"].broker).history(queue, name)[::-1]


def ticked(station: Station) -> list[str]:
    """The ids of the ticks that ran, in order."""
    return [line.removeprefix("tick ") for line in station.lines()]


def wait_for_ticks(station: Station, more: int) -> None:
    """Until so many more ticks ran than did when it was called."""
    until = len(ticked(station)) + more
    eventually(lambda: len(ticked(station)) >= until, WAIT)


def no_gap(found: list[Entry]) -> None:
    """Every second has its tick, and each became one job."""
    assert {entry.letter for entry in found} == {"N"}
    assert [b.due - a.due for a, b in itertools.pairwise(found)] == [SECOND] * (len(found) - 1)
    assert len({entry.detail for entry in found}) == len(found)


def start(station: Station, **env: str) -> Worker:
    return station.worker("--queues", "default", **APP, **env)


def test_two_workers_and_restarts_fire_each_tick_exactly_once(station: Station) -> None:
    one, other = start(station), start(station)
    wait_for_ticks(station, 1)
    first = history()[0]  # before there are more than are kept
    wait_for_ticks(station, 2)
    assert one.stop() == 0
    one = start(station)
    wait_for_ticks(station, 3)
    assert other.stop() == 0
    wait_for_ticks(station, 2)
    assert one.stop() == 0

    found = history()
    no_gap(found)
    assert len(found) >= 8
    broker = task_backends["default"].broker
    jobs = broker.fetch("default", [entry.detail for entry in found])
    unrun = [job.state is not State.SUCCEEDED for job in jobs]
    ran = found[: len(found) - sum(unrun)]
    assert not any(unrun[: len(ran)]), "none but those that fell due as the last worker left"
    assert len(set(ticked(station))) == len(ticked(station))
    assert {entry.detail for entry in ran} <= set(ticked(station))
    assert len(ticked(station)) == (ran[-1].due - first.due) // SECOND + 1


def test_when_the_worker_that_fires_is_killed_another_fires_on(station: Station) -> None:
    workers = [start(station, **BRIEF), start(station, **BRIEF)]
    wait_for_ticks(station, 2)
    for _ in range(2):  # one of them is the one that fired the last tick
        workers.pop(0).kill_all()
        workers.append(start(station, **BRIEF))
        wait_for_ticks(station, 3)

    found = history()
    no_gap(found)
    eventually(lambda: {entry.detail for entry in found} <= set(ticked(station)))


@pytest.fixture
def remote(tcp: Tcp, tmp_path: Path) -> Iterator[Station]:
    """A station on a server that can go away."""
    yield from make_station(tmp_path, tcp.url, "taskq")


def test_after_an_outage_each_catch_up_does_what_it_says(remote: Station, tcp: Tcp) -> None:
    station = remote
    worker = start(station)
    wait_for_ticks(station, 2)
    tcp.stop()
    away_since = monotonic()
    eventually(lambda: monotonic() - away_since > LATE / 1000 + 3, 30.0)
    tcp.start()
    wait_for_ticks(station, LATE // SECOND)
    assert worker.stop() == 0

    no_gap(history())  # all
    for name in ("skip", "one"):
        found = history(name, "low")
        assert {entry.letter for entry in found} == {"N", "M"}, name
        # Mostly one line; a tick that was in time may be late before its turn comes.
        given_up = sum(int(entry.detail) for entry in found if entry.letter == "M")
        assert given_up >= 1
        fired = [entry.due for entry in found if entry.letter == "N"]
        left_out = [(b - a) // SECOND - 1 for a, b in itertools.pairwise(fired)]
        assert sum(left_out) == given_up


def test_a_worker_whose_clock_is_wrong_fires_neither_early_nor_twice(
    station: Station, tmp_path: Path
) -> None:
    for name, off_by in (("ahead", 3600), ("behind", -3600)):
        try:
            clock = Clock(tmp_path, name)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        clock.off_by(off_by)
        station.worker("--queues", "default", **APP, **clock.env)
    wait_for_ticks(station, 5)

    found = history()
    no_gap(found)
    assert all(0 <= entry.at - entry.due < LATE for entry in found)
    assert len(set(ticked(station))) == len(ticked(station))


# -- rows ------------------------------------------------------------------------------------------

ROWS = {"TEST_ROWS": "yes"}
SAVE = """
import django
django.setup()
from django_taskq.schedules.models import Schedule
row = Schedule.objects.filter(name="row").first() or Schedule(name="row")
row.task, row.args = "tests.processes.app.tasks.note", ["{text}"]
row.expression, row.enabled = "@every 1s", {enabled}
row.full_clean()
row.save()
"""


def run(station: Station, *command: str) -> None:
    """A command of the project's that must succeed."""
    subprocess.run([sys.executable, *command], env=station.env(**ROWS), cwd=ROOT, check=True)


def save(station: Station, *, enabled: bool, text: str = "row") -> None:
    run(station, "-c", SAVE.format(enabled=enabled, text=text))


def rests() -> bool:
    """Whether the row makes no job for three seconds of the server."""
    before = history("row")[-1]
    server = task_backends["default"].server
    second = int(server.command("TIME")[0])
    eventually(lambda: int(server.command("TIME")[0]) > second + 3)
    return history("row")[-1] == before


def test_a_row_runs_as_soon_as_it_is_saved_and_stops_when_it_is_switched_off(
    station: Station,
) -> None:
    run(station, "-m", "django", "migrate", "--verbosity", "0")
    worker = station.worker(**ROWS)
    save(station, enabled=True)
    station.traced("row")

    save(station, enabled=False)
    eventually(rests, WAIT)
    assert worker.stop() == 0


def test_without_its_table_a_worker_works_and_takes_rows_up_when_it_is_there(
    station: Station,
) -> None:
    worker = station.worker(**ROWS, **APP)
    worker.says("schedules cannot be read")
    wait_for_ticks(station, 2)
    run(station, "-m", "django", "migrate", "--verbosity", "0")
    save(station, enabled=True)

    station.traced("row")
    assert worker.output.count("schedules cannot be read") == 1
    no_gap(history())
    assert worker.stop() == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_of_rows_that_dies_is_replaced(station: Station, method: str) -> None:
    run(station, "-m", "django", "migrate", "--verbosity", "0")
    save(station, enabled=True)
    worker = station.worker(**ROWS, TEST_START_METHOD=method)
    station.traced("row")
    os.kill(worker.children()[-1], signal.SIGKILL)  # the one that was started last

    worker.says("the reader of schedules is gone")
    save(station, enabled=True, text="another")
    station.traced("another")
    assert worker.stop() == 0
