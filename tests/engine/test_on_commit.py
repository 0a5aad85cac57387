"""Enqueueing inside a transaction: at its commit, in order, never without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.test import TestCase, override_settings

from django_taskq.compat import TaskResultDoesNotExist, task_enqueued
from django_taskq.result import TaskResult
from tests.engine.support import configured, round_trips
from tests.engine.tasks import add, hasty, urgent

pytestmark = pytest.mark.django_db(transaction=True)


class Rollback(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction, or a savepoint in one, that ends with a rollback."""
    try:
        with transaction.atomic():
            yield
            raise Rollback
    except Rollback:
        pass


# --- one database ---------------------------------------------------------------------------------


def test_outside_a_transaction_a_job_goes_at_once(enqueued: Any) -> None:
    add.enqueue(1)
    assert enqueued() == [1]


def test_inside_a_transaction_a_job_waits_for_the_commit(enqueued: Any) -> None:
    with transaction.atomic():
        result = add.enqueue(1)
        assert enqueued() == []
        assert result.enqueued_at is None
        with pytest.raises(TaskResultDoesNotExist):
            add.get_result(result.id)
    assert enqueued() == [1]
    assert result.enqueued_at is not None
    assert add.get_result(result.id).args == [1]


def test_a_signal_is_sent_at_the_commit(enqueued: Any) -> None:
    heard: list[TaskResult] = []

    def receiver(sender: type, task_result: TaskResult, **kwargs: Any) -> None:
        heard.append(task_result)

    task_enqueued.connect(receiver)
    try:
        with transaction.atomic():
            results = [add.enqueue(1), add.enqueue(2)]
            assert heard == []
        assert heard == results
    finally:
        task_enqueued.disconnect(receiver)


def test_a_rollback_takes_the_jobs_along(enqueued: Any) -> None:
    with rolled_back():
        add.enqueue(1)
        add.enqueue_many([(2,), (3,)])
    assert enqueued() == []


def test_a_savepoint_takes_only_its_own_jobs_along(enqueued: Any) -> None:
    with transaction.atomic():
        add.enqueue(1)
        with rolled_back():
            add.enqueue(2)
        add.enqueue(3)
    assert enqueued() == [1, 3]


def test_an_outer_savepoint_takes_those_within_along(enqueued: Any) -> None:
    with transaction.atomic():
        add.enqueue(1)
        with rolled_back():
            add.enqueue(2)
            with transaction.atomic():
                add.enqueue(3)
            add.enqueue(4)
        with transaction.atomic():
            add.enqueue(5)
            with rolled_back():
                add.enqueue(6)
            add.enqueue(7)
        add.enqueue(8)
    assert enqueued() == [1, 5, 7, 8]


def test_an_enqueue_after_a_rolled_back_savepoint_is_not_lost(enqueued: Any) -> None:
    with transaction.atomic():
        with rolled_back():
            add.enqueue(1)
        add.enqueue(2)
        with transaction.atomic():
            add.enqueue(3)
    assert enqueued() == [2, 3]


def test_the_order_of_jobs_and_other_callbacks_is_kept(enqueued: Any) -> None:
    order: list[Any] = []
    with transaction.atomic():
        add.enqueue(1)
        transaction.on_commit(lambda: order.append(enqueued()))
        add.enqueue(2)
        transaction.on_commit(lambda: order.append(enqueued()))
    assert order == [[1], [1, 2]]


def test_a_run_of_enqueues_takes_one_round_trip(enqueued: Any) -> None:
    with round_trips() as trips, transaction.atomic():
        for number in range(5):
            add.enqueue(number)
        add.enqueue_many([(5,), (6,)])
        urgent.using(queue_name="default", priority=0).enqueue("x")
    assert trips == [["enqueue"]]
    assert enqueued() == [*range(7), "x"]


def test_another_savepoint_has_a_round_trip_of_its_own(enqueued: Any) -> None:
    with round_trips() as trips, transaction.atomic():
        add.enqueue(1)
        with transaction.atomic():
            add.enqueue(2)
            add.enqueue(3)
        with transaction.atomic():
            add.enqueue(4)
        add.enqueue(5)
    assert trips == [["enqueue"]] * 4
    assert enqueued() == [1, 2, 3, 4, 5]


def test_a_block_without_a_savepoint_joins_neither(enqueued: Any) -> None:
    with round_trips() as trips, transaction.atomic():
        add.enqueue(1)
        with transaction.atomic(savepoint=False):
            add.enqueue(2)
    assert len(trips) == 2
    assert enqueued() == [1, 2]


def test_a_job_enqueued_by_a_callback_goes_at_once(enqueued: Any) -> None:
    with transaction.atomic():
        transaction.on_commit(lambda: add.enqueue(1))
        add.enqueue(2)
    assert enqueued() == [1, 2]


def test_a_bad_argument_is_refused_before_the_commit(enqueued: Any) -> None:
    with transaction.atomic(), pytest.raises(TypeError):
        add.enqueue(object())


def test_on_commit_false_does_not_wait(enqueued: Any) -> None:
    with rolled_back():
        hasty.enqueue(1)
        add.using(on_commit=False).enqueue(2)
        add.using(on_commit=False).enqueue_many([(3,)])
        assert enqueued() == [1, 2, 3]
    assert enqueued() == [1, 2, 3]


def test_enqueue_on_commit_waits_whatever_the_task_says(enqueued: Any) -> None:
    with transaction.atomic():
        hasty.enqueue_on_commit(1)
        assert enqueued() == []
    assert enqueued() == [1]
    hasty.enqueue_on_commit(2)
    assert enqueued() == [1, 2]


# --- callbacks that fail --------------------------------------------------------------------------


def test_a_robust_callback_that_fails_holds_up_no_job(enqueued: Any) -> None:
    with transaction.atomic():
        add.enqueue(1)
        transaction.on_commit(fail, robust=True)
        add.enqueue(2)
    assert enqueued() == [1, 2]


def test_one_that_is_not_robust_keeps_later_callbacks_from_running(enqueued: Any) -> None:
    """So Django does it; with an outbox the second job is not lost."""
    block = transaction.atomic()
    block.__enter__()
    add.enqueue(1)
    transaction.on_commit(fail)
    add.enqueue(2)
    with pytest.raises(ValueError, match="a callback's"):
        block.__exit__(None, None, None)
    assert enqueued() == [1]


def fail() -> None:
    raise ValueError("a callback's")


# --- async ----------------------------------------------------------------------------------------


def test_aenqueue_never_waits(enqueued: Any) -> None:
    with transaction.atomic():
        asyncio.run(add.aenqueue(1))
        assert enqueued() == [1]


def test_aenqueue_on_commit_waits_for_the_sync_sides_commit(enqueued: Any) -> None:
    async def view() -> None:
        def open_transaction() -> None:
            transaction.set_autocommit(True)
            block = transaction.atomic()
            block.__enter__()
            blocks.append(block)

        blocks: list[Any] = []
        await sync_to_async(open_transaction)()
        result = await hasty.aenqueue_on_commit(1)
        assert result.enqueued_at is None
        assert await sync_to_async(enqueued)() == []
        await sync_to_async(blocks[0].__exit__)(None, None, None)
        await result.arefresh()
        assert result.enqueued_at is not None
        await sync_to_async(connections.close_all)()

    asyncio.run(view())
    assert enqueued() == [1]


def test_aenqueue_on_commit_goes_at_once_without_a_transaction(enqueued: Any) -> None:
    asyncio.run(add.aenqueue_on_commit(1))
    assert enqueued() == [1]


# --- Django's TestCase ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=False)
class TestInsideATestCase(TestCase):
    """A TestCase's own transaction never commits."""

    @pytest.fixture(autouse=True)
    def _backend(self, url: str, prefix: str) -> Iterator[None]:
        with override_settings(TASKS={"default": configured(url, prefix)}):
            yield

    def test_a_job_waits_in_vain(self) -> None:
        assert add.enqueue(1).enqueued_at is None

    def test_captured_callbacks_push_the_jobs(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            results = [add.enqueue(1), add.enqueue(2)]
        assert callbacks
        assert all(result.enqueued_at for result in results)

    def test_a_job_from_before_takes_no_captured_one_along(self) -> None:
        before = add.enqueue(1)
        with self.captureOnCommitCallbacks(execute=True):
            captured = add.enqueue(2)
        assert before.enqueued_at is None
        assert captured.enqueued_at

    def test_a_second_capture_pushes_what_was_enqueued_in_it(self) -> None:
        for number in (1, 2):
            with self.captureOnCommitCallbacks(execute=True):
                result = add.enqueue(number)
            assert result.enqueued_at

    def test_an_atomic_block_of_the_test_changes_nothing(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            result = add.enqueue(1)
        assert result.enqueued_at
