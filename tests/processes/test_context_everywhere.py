"""What goes along with a job reaches it on threads, on the loop and in a process of its own."""

from __future__ import annotations

from django.utils import translation

from tests.processes.app import tasks
from tests.processes.conftest import WAIT, Station


def test_a_language_goes_along_wherever_a_job_runs(station: Station) -> None:
    each = (tasks.language, tasks.alanguage, tasks.isolated_language)
    with translation.override("de"):
        foreign = [task.enqueue() for task in each]
    plain = [task.enqueue() for task in each]
    station.worker("--concurrency", "1")

    assert [result.get(timeout=WAIT) for result in foreign] == ["de"] * 3
    assert [result.get(timeout=WAIT) for result in plain] == ["en"] * 3
