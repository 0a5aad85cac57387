"""A failed attempt says how many queries it made, on whatever thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from django_taskq import Task, task
from django_taskq.hygiene import close_all
from tests.engine.test_attempts import failure_in, run

pytestmark = pytest.mark.django_db(transaction=True)


def query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@task
def ask(count: int) -> None:
    for _ in range(count):
        query()
    raise ValueError


@task
async def ask_async(count: int) -> None:
    for _ in range(count):
        await sync_to_async(query)()
    raise ValueError


def watching(execute: Any, *query: Any) -> Any:
    return execute(*query)


@task
def ask_watched() -> None:
    """Its connection opens with the first query."""
    with connection.execute_wrapper(watching):
        query()
    raise ValueError


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """One whose connections are its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(close_all).result()


def asked_by(thread: ThreadPoolExecutor, job: Task, *args: Any) -> int:
    return failure_in(thread.submit(run, job, *args).result()).q


@pytest.mark.parametrize("job", [ask, ask_async], ids=["sync", "async"])
def test_queries_are_counted(thread: ThreadPoolExecutor, job: Task) -> None:
    counts = [asked_by(thread, job, count) for count in (3, 0, 2)]

    assert counts == [3, 0, 2]


def test_a_connection_that_is_opened_again_counts_once(thread: ThreadPoolExecutor) -> None:
    asked_by(thread, ask, 1)
    thread.submit(close_all).result()

    assert asked_by(thread, ask, 1) == 1


def test_a_wrapper_of_the_jobs_own_goes_when_its_block_is_over(thread: ThreadPoolExecutor) -> None:
    assert asked_by(thread, ask_watched) == 1

    own = thread.submit(lambda: [*connection.execute_wrappers]).result()
    assert watching not in own
    assert asked_by(thread, ask, 2) == 2


def test_queries_of_nobodys_attempt_are_made_all_the_same(thread: ThreadPoolExecutor) -> None:
    asked_by(thread, ask, 1)

    thread.submit(query).result()
