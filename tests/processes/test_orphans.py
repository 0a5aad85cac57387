"""What somebody broke is mended by a worker, and by ``taskq doctor`` where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from django_taskq.broker.broker import Broker
from django_taskq.compat import task_backends
from tests.processes.app import tasks
from tests.processes.conftest import ROOT, Station


def broker() -> Broker:
    return task_backends["default"].broker  # type: ignore[no-any-return]


def doctor(station: Station, *words: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its findings by name."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "taskq", "doctor", "--json", *words],
        env=station.env(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    return done.returncode, {each["name"]: each for each in report["findings"]}


def break_it() -> None:
    """A job in no state, one without arguments, a record of nobody."""
    results = tasks.note.enqueue_many([("kept",), ("lost",), ("hollow",)])
    do, key = broker().server.command, broker().key
    do("ZREM", key("default", "ready"), results[1].id)
    do("HDEL", key("default", "jobs"), results[2].id)
    do("HSET", key("default", "results"), "nobody", "1")


def test_a_worker_mends_what_it_finds(station: Station) -> None:
    break_it()

    worker = station.worker()

    station.traced("kept", "lost")
    worker.says("jobs in no state that have not ended: 1 put in line again")
    assert sorted(station.lines()) == ["kept", "lost"]
    assert worker.stop() == 0


def test_the_doctor_mends_where_no_worker_is(station: Station) -> None:
    break_it()

    code, found = doctor(station)
    assert code == 1
    assert {"lost", "hollow", "debris"} <= set(found)
    code, found = doctor(station, "--fix")
    assert all(found[name]["mended"] for name in ("lost", "hollow", "debris"))
    assert code == 0
    code, found = doctor(station)
    assert (code, list(found)) == (0, ["sound"])

    station.burst()
    assert sorted(station.lines()) == ["kept", "lost"]
