"""Signing and encryption through real workers, whose processes have to make the same seals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

from django_taskq.broker.broker import Draft
from django_taskq.compat import task_backends
from django_taskq.exceptions import TaskFailed
from django_taskq.job import State
from tests.processes.app import tasks
from tests.processes.conftest import Station, make_station

SEALED = {"SIGN": True, "ENCRYPTION_KEYS": ["k" * 43]}
ENV = {"DJANGO_SETTINGS_MODULE": "tests.security.settings"}


@pytest.fixture
def station(tmp_path: Path, url: str, prefix: str) -> Iterator[Station]:
    """A station whose jobs are sealed; its workers need ENV."""
    for made in make_station(tmp_path, url, prefix):
        own = settings.TASKS["default"]
        sealed = {**own, "OPTIONS": {**own["OPTIONS"], **SEALED}}
        with override_settings(TASKS={"default": sealed}, SECRET_KEY="of these tests"):
            yield made


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_run_sealed_jobs_and_nothing_else(station: Station, method: str) -> None:
    broker = task_backends["default"].broker
    good = [tasks.add.enqueue(1, n) for n in range(3)]
    forged = f"forged.{broker.number('default')}"
    raw = f'["{tasks.note.module_path}",1,["forged"]]'.encode()
    broker.enqueue("default", [Draft(forged, raw)])

    worker = station.burst(TEST_START_METHOD=method, **ENV)

    assert [result.get(timeout=1) for result in good] == [1, 2, 3]
    assert station.lines() == []
    result = task_backends["default"].get_result(forged)
    assert result.state is State.DEAD
    with pytest.raises(TaskFailed, match="not signed"):
        result.get(timeout=1)
    assert f"job {forged} of queue default cannot be read and is quarantined" in worker.output
    assert broker.server.command("HGET", broker.key("default", "meta"), "quarantined") == b"1"


def test_what_a_supervisor_says_of_a_job_is_signed_too(station: Station) -> None:
    result = tasks.kill_process.enqueue()
    station.worker(**ENV)
    with pytest.raises(TaskFailed):
        result.get(timeout=100)
    assert {e.exception_class_path for e in result.errors} == {
        "django_taskq.exceptions.WorkerCrashed"
    }
