"""What jobs say of themselves reaches whoever looks at them, while they run and afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq import TaskFailed
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import WAIT, Station

PARTS = ["part 1 is done", "part 2 is done"]
every_kind = pytest.mark.parametrize(
    "task", [tasks.report, tasks.areport, tasks.report_apart], ids=["sync", "async", "isolated"]
)


def told(result: Any) -> Any:
    """How far the job is and its log, read again."""
    result.refresh()
    return result.progress and result.progress[:3], [line.text for line in result.log]


@every_kind
def test_a_running_job_is_seen_to_go_on(station: Station, task: Any) -> None:
    station.worker()
    result = task.enqueue("gate")

    eventually(lambda: told(result) == ((2, 4, "part 2"), PARTS), WAIT)

    station.open("gate")
    result.get(timeout=WAIT)
    assert told(result) == ((4, 4, ""), [*PARTS, "all is done"]), "its last word is there at once"


def test_a_job_is_seen_though_all_slots_are_taken(station: Station) -> None:
    station.worker("--concurrency", "1")
    result = tasks.report.enqueue("gate")

    eventually(lambda: told(result)[0] == (2, 4, "part 2"), WAIT)
    station.open("gate")
    result.get(timeout=WAIT)


def test_what_a_failed_job_said_is_kept(station: Station) -> None:
    station.worker()
    station.open("gate")
    result = tasks.report_and_fail.enqueue("gate")

    with pytest.raises(TaskFailed):
        result.get(timeout=WAIT)

    assert told(result) == ((4, 4, ""), [*PARTS, "all is done"])
    assert result.report is not None
    assert result.report.n == 2, "of the last attempt"


def test_a_job_whose_report_is_refused_is_told_to_stop(station: Station) -> None:
    """Its lease is not over here: only Redis knows that it is somebody else's."""
    station.worker()
    result = tasks.report_until_told_to_stop.enqueue()
    station.traced("reporting")
    broker = result.task.get_backend().broker
    key = broker.key("default", "live")
    raw = broker.server.command("HGET", key, result.id)

    broker.server.command("HSET", key, result.id, (9).to_bytes(4, "big") + raw[4:])

    station.traced("stopped")
