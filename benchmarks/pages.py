"""Times pages of the admin in a process of its own, which has settings with an admin.

``python -m benchmarks.pages COUNT``: a JSON object of page -> ms of each time it was asked for.
With a database for rows of jobs it fills that with COUNT of them and times their pages instead.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import django

TIMES = 5  # after one that is not counted, in which templates are read
ADMIN = "/admin/"
TASK = "benchmarks.tasks.run_noop"
ERROR = "benchmarks.tasks.Refused2"
STATES = ("ready", "running", "scheduled", "retrying", "waiting", "dead", "succeeded", "cancelled")
# One statement that PostgreSQL and SQLite both take, but for the words of time.
FILL = """
INSERT INTO taskq_job (id, backend, job, queue, task, state, priority, enqueued_at, started_at,
    ended_at, duration, attempts, worker, error, tags, version)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
SELECT i, 'default', 'row-of-a-job-' || (1000000000 + i) || '.1',
    CASE WHEN i % 100 = 0 THEN 'low' ELSE 'default' END,
    CASE WHEN i % 50 = 0 THEN 'benchmarks.tasks.run_echo' ELSE '{task}' END,
    CASE WHEN i % 20 = 0 THEN 'dead' ELSE 'succeeded' END,
    0, {at}, {at}, {at}, 0.25, 1, 'worker-1',
    CASE WHEN i % 20 = 0 THEN 'benchmarks.tasks.Refused' || (i % 7) ELSE '' END, '', 1
FROM n
"""
PAYLOADS = """
INSERT INTO taskq_job_payload (record_id, arguments, value, failures)
SELECT id, '[["i", "1", 0], ["s", "hello-world", 0]]', '', '[]' FROM taskq_job
"""
ATTEMPTS = """
INSERT INTO taskq_attempt (record_id, number, started_at, ended_at, worker, error)
SELECT id, 1, started_at, ended_at, worker, error FROM taskq_job WHERE state = 'dead'
"""
SECONDS_AGO = {
    "postgresql": "now() - (({count} - i) || ' seconds')::interval",
    "sqlite": "datetime('now', '-' || ({count} - i) || ' seconds')",
}


def main() -> None:
    """Prints the times."""
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import Client

    count = int(sys.argv[1])
    call_command("migrate", verbosity=0, interactive=False)
    ada = get_user_model().objects.filter(username="ada").first()
    client = Client()
    client.force_login(ada or get_user_model().objects.create_superuser("ada", password="ada"))
    pages = row_pages(count) if os.environ.get("BENCH_MIRROR") else redis_pages()
    json.dump(dict(timed(client, pages)), sys.stdout)


def timed(client: Any, pages: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[float]]]:
    """Each page's name, and how long each look took in ms."""
    for name, address in pages:
        took = []
        for _ in range(1 + TIMES):
            began = time.perf_counter()
            answer = client.get(ADMIN + address)
            took.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, f"{address}: {answer.status_code}"
        yield name, took[1:]


def redis_pages() -> Iterator[tuple[str, str]]:
    """Name and address of what is read from Redis, with a job of each state that has any."""
    from django_taskq.broker.inspector import Inspector
    from django_taskq.compat import task_backends
    from django_taskq.job import State

    shared = "django_taskq/"
    yield "dashboard", f"{shared}dashboard/"
    yield "dashboard, 90 days", f"{shared}dashboard/?period=90-days"
    yield "queues", f"{shared}queue/"
    yield "a queue", f"{shared}queue/default/change/"
    for state in STATES:
        yield f"jobs that are {state}", f"{shared}job/?state={state}"
    yield "jobs, oldest first", f"{shared}job/?state=ready&order=old"
    for what, words in (
        ("a task", f"task:{TASK}"),
        ("an error", f"error:{ERROR}"),
        ("a text", "hello-world"),
        ("nothing that is there", "no-such-text"),
    ):
        yield f"search for {what}", f"{shared}job/?state=any&q={words}"
    inspector = Inspector(task_backends["default"].broker)
    for state in (State.READY, State.DEAD):
        for row in inspector.page(["default"], state, size=1).rows[:1]:
            yield f"a job that is {state}", f"{shared}job/{row.id}/change/"
    yield "failures", f"{shared}failure/"
    yield "task types", f"{shared}tasktype/"
    yield "a task type", f"{shared}tasktype/{TASK}/change/"
    yield "workers", f"{shared}worker/"
    yield "schedules", f"{shared}schedule/"
    yield "audit", f"{shared}audit/"


def row_pages(count: int) -> Iterator[tuple[str, str]]:
    """The same of what is read from the database of rows, after it was filled."""
    fill(count)
    shared = "taskq_mirror/jobrecord/"
    yield "rows", shared
    yield "rows, the last page", f"{shared}?p=199"
    for state in ("dead", "succeeded", "running"):
        yield f"rows that are {state}", f"{shared}?state__exact={state}"
    yield "rows of the last hour", f"{shared}?enqueued=hour"
    yield "rows of the last month", f"{shared}?enqueued=month"
    yield "rows of a small queue", f"{shared}?queue=low"
    yield "rows of a queue without any", f"{shared}?queue=high"
    yield "rows that are dead, in a small queue", f"{shared}?queue=low&state__exact=dead"
    yield "search of rows by id", f"{shared}?q=row-of-a-job-{1_000_000_000 + count // 2}.1"
    yield "search of rows by task", f"{shared}?q=benchmarks.tasks.run_echo"
    yield "search of rows by error", f"{shared}?q={ERROR}"
    yield "search of rows for nothing", f"{shared}?q=nothing"
    yield "a row", f"{shared}{count // 20 * 20}/change/"


def fill(count: int) -> None:
    """So many rows, with what they carry and their failed attempts."""
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", "taskq_mirror", database="mirror", verbosity=0)
    connection = connections["mirror"]
    at = SECONDS_AGO[connection.vendor].format(count=count)
    with connection.cursor() as cursor:
        cursor.execute(FILL.format(count=count, task=TASK, at=at))
        cursor.execute(PAYLOADS)
        cursor.execute(ATTEMPTS)
        cursor.execute("ANALYZE")  # as a database of that size has it by itself


if __name__ == "__main__":
    main()
