"""The outbox: a job is as safe as the transaction that enqueued it, and runs once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from django.test import override_settings

from django_taskq.broker.broker import Draft, derived_number
from django_taskq.clock import now_ms, to_ms
from django_taskq.compat import TaskResultDoesNotExist, task_backends, task_enqueued
from django_taskq.exceptions import BrokerUnavailable, DuplicateJob
from django_taskq.job import State
from django_taskq.outbox import producer as outbox_producer
from django_taskq.outbox import store
from django_taskq.result import TaskResult
from tests.edges.outbox import Box
from tests.engine.support import Hand, configured, round_trips
from tests.engine.tasks import add, hasty, index, nothing, once, only, urgent


class Rollback(Exception):
    pass


@contextmanager
def rolled_back(box: Box) -> Iterator[None]:
    """A transaction, or a savepoint in one, that ends with a rollback."""
    with suppress(Rollback), box.atomic():
        yield
        raise Rollback


def arguments(box: Box, state: State = State.READY) -> list[Any]:
    """The first argument of each job of the default queue in a state, in order."""
    key = box.backend.broker.key("default", str(state))
    ids = box.backend.server.command("ZRANGE", key, 0, -1)
    return [box.backend.get_result(id.decode()).args[0] for id in ids]


def forget(box: Box) -> None:
    """The thread that async code uses lives on, and the next test has another database."""
    connections[box.alias].close()
    del connections[box.alias]


@pytest.fixture(autouse=True)
def _no_lull(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit tries: no test waits for a time to pass."""
    monkeypatch.setattr(outbox_producer, "LULL", 0.0)


# -- while all goes well ---------------------------------------------------------------------------


def test_a_job_is_written_with_the_transaction_and_pushed_at_its_commit(box: Box) -> None:
    with box.atomic():
        result = add.enqueue(1)
        assert [(row.job, row.queue) for row in box.rows] == [(result.id, "default")]
        assert result.enqueued_at is None
        assert arguments(box) == []
    assert arguments(box) == [1]
    assert result.enqueued_at is not None
    assert not box.rows.exists()


def test_its_job_is_found_and_run_like_any_other(box: Box) -> None:
    with box.atomic():
        result = add.enqueue(2, b=3)
    Hand(box.backend.broker).run()
    result.refresh()
    assert result.return_value == 5
    assert add.get_result(result.id).return_value == 5


def test_a_rollback_takes_row_and_job_along(box: Box) -> None:
    with rolled_back(box):
        add.enqueue(1)
        add.enqueue_many([(2,), (3,)])
    assert not box.rows.exists()
    box.sweep()
    assert arguments(box) == []


def test_a_savepoint_takes_its_own_rows_along(box: Box) -> None:
    with box.away(), box.atomic():
        add.enqueue(1)
        with rolled_back(box):
            add.enqueue(2)
        add.enqueue(3)
    box.sweep()
    assert arguments(box) == [1, 3]


def test_a_run_of_enqueues_costs_one_trip_to_redis_and_one_deletion(box: Box) -> None:
    box.backend.broker.number("default")
    with box.queries() as queries, round_trips() as trips, box.atomic():
        add.enqueue_many([(n,) for n in range(20)])
        urgent.using(queue_name="default").enqueue("x")
    words = [query["sql"].split()[0] for query in queries]
    assert words.count("INSERT") == 2
    assert words.count("DELETE") == 1
    assert len(words) <= 2 + 1 + 2 * words.count("BEGIN") + 2
    assert trips == [["enqueue"]]


def test_many_jobs_are_written_and_deleted_in_chunks(box: Box) -> None:
    with box.queries() as queries, box.atomic():
        add.enqueue_many([(n,) for n in range(1_100)])
    words = [query["sql"].split()[0] for query in queries]
    assert words.count("DELETE") == 3
    # SQLite takes 999 values a statement.
    assert words.count("INSERT") == 3 or connections[box.alias].vendor == "sqlite"
    assert not box.rows.exists()


def test_no_jobs_are_no_rows_and_no_trip(box: Box) -> None:
    with box.queries() as queries, round_trips() as trips, box.atomic():
        assert add.enqueue_many([]) == []
    assert not [query for query in queries if "taskq_outbox" in query["sql"]]
    assert trips == []


def test_outside_of_a_transaction_no_sql_is_sent(box: Box) -> None:
    with box.queries() as queries:
        add.using(on_commit="box").enqueue(1)
    assert len(queries) == 0
    assert arguments(box) == [1]


def test_aenqueue_on_commit_goes_through_the_outbox(box: Box) -> None:
    async def view() -> TaskResult:
        def open_transaction() -> Any:
            block = box.atomic()
            block.__enter__()
            return block

        block = await sync_to_async(open_transaction)()
        result = await hasty.aenqueue_on_commit(1)
        assert await sync_to_async(box.rows.count)() == 1
        await sync_to_async(block.__exit__)(None, None, None)
        assert await sync_to_async(box.rows.count)() == 0
        await sync_to_async(forget)(box)
        return result

    result = asyncio.run(view())
    assert result.enqueued_at is not None


# -- Redis is away ---------------------------------------------------------------------------------


def test_a_commit_without_redis_raises_nothing_and_loses_nothing(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    with box.away(), caplog.at_level(logging.WARNING, "django_taskq.outbox"):
        with box.atomic():
            result = add.enqueue(1)
        assert result.enqueued_at is None
        assert "1 jobs wait in the outbox of database 'box'" in caplog.text
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(result.id)

    box.sweep()

    assert arguments(box) == [1]
    assert not box.rows.exists()
    assert add.get_result(result.id).enqueued_at is not None


def test_a_queue_that_redis_never_heard_of_can_be_enqueued_to(box: Box) -> None:
    with box.away(), box.atomic():
        result = urgent.enqueue("x")
    assert result.id.endswith(f".{derived_number('critical')}")
    box.sweep()
    Hand(box.backend.broker).run(queue="critical")
    assert urgent.get_result(result.id).return_value == "x"


def test_an_id_of_ones_own_is_the_same_with_and_without_redis(box: Box) -> None:
    task = add.using(id="mine")
    with box.away(), box.atomic():
        first = task.enqueue(1)
    second = task.enqueue(2)
    assert first.id == second.id
    box.sweep()
    assert arguments(box) == [2]


def test_outside_of_a_transaction_a_job_goes_into_the_outbox(box: Box) -> None:
    task = add.using(on_commit="box")
    with box.away():
        results = [task.enqueue(1), *task.enqueue_many([(2,), (3,)])]
        assert [result.enqueued_at for result in results] == [None] * 3
    assert box.rows.count() == 3
    box.sweep()
    assert arguments(box) == [1, 2, 3]


def test_so_does_one_of_aenqueue(box: Box) -> None:
    async def view() -> TaskResult:
        try:
            return await add.using(on_commit="box").aenqueue(1)
        finally:
            await sync_to_async(forget)(box)

    with box.away():
        result = asyncio.run(view())
    assert result.enqueued_at is None
    assert box.rows.count() == 1
    box.sweep()
    assert arguments(box) == [1]


def test_with_neither_redis_nor_database_the_error_is_that_of_redis(box: Box) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("the database is away too")

    with box.away(), connections[box.alias].execute_wrapper(away):
        task = add.using(on_commit="box")
        with pytest.raises(BrokerUnavailable) as caught:
            task.enqueue(1)
    assert isinstance(caught.value.__cause__, OperationalError)
    assert caught.value.result.args == [1]


def test_after_a_failure_commits_do_not_wait_for_redis(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_producer, "LULL", 3600.0)
    with box.away(), box.atomic():
        add.enqueue(1)
    with round_trips() as trips, box.atomic():
        add.enqueue(2)
    assert trips == []
    assert box.rows.count() == 2
    box.sweep()
    assert arguments(box) == [1, 2]


def test_after_a_failure_aenqueue_does_not_wait_either(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_producer, "LULL", 3600.0)
    with box.away(), box.atomic():
        add.enqueue(1)

    async def view() -> None:
        await add.using(on_commit="box").aenqueue(2)
        await sync_to_async(forget)(box)

    asyncio.run(view())
    assert box.rows.count() == 2
    assert box.backend.broker.known_number("default") is None  # nobody asked Redis


def test_a_lost_reply_makes_one_job(box: Box) -> None:
    box.backend.broker.number("default")
    add.enqueue(0)
    box.proxy.losing = True
    with box.atomic():
        add.enqueue(1)
    box.proxy.losing = False
    assert box.rows.count() == 1
    box.sweep()
    assert arguments(box) == [0, 1]


def test_what_failed_half_way_is_swept_from_there(box: Box) -> None:
    box.backend.broker.number("default")
    with box.atomic():
        add.enqueue_many([(n,) for n in range(500)])
        urgent.enqueue("x")  # its queue has no number yet
        box.backend.broker.number("critical")
        box.proxy.meanwhile = box.proxy.go_away
        box.proxy.losing = True
    box.proxy.losing = box.proxy.away = False
    assert box.rows.count() in (1, 501)
    box.sweep()
    assert arguments(box) == list(range(500))


# -- times -----------------------------------------------------------------------------------------


def test_a_delay_counts_from_the_enqueue_however_long_the_row_waits(box: Box) -> None:
    with box.away(), box.atomic():
        result = add.using(run_after=3600, expires_in=7200).enqueue(1)
    (row,) = box.rows
    enqueued = now_ms()
    assert abs(row.due - enqueued - 3_600_000) < 10_000
    assert abs(row.expires - enqueued - 7_200_000) < 10_000
    box.rows.update(due=row.due - 3_000_000, expires=row.expires - 3_000_000)  # 50 min later

    box.sweep()

    (stored,) = box.backend.broker.fetch("default", [result.id])
    assert stored.state is State.SCHEDULED
    assert stored.due == row.due - 3_000_000
    assert abs(stored.live.expires - (row.expires - 3_000_000)) < 10_000


def test_a_job_that_expired_in_the_outbox_does_not_run(box: Box) -> None:
    with box.away(), box.atomic():
        result = add.using(expires_in=60).enqueue(1)
    box.rows.update(expires=1)
    box.sweep()
    (stored,) = box.backend.broker.fetch("default", [result.id])
    assert 0 < stored.live.expires < now_ms() + 1000


def test_a_priority_and_a_due_time_go_through(box: Box) -> None:
    when = datetime.now(UTC) + timedelta(hours=1)
    with box.away(), box.atomic():
        add.using(priority=7).enqueue(1)
        add.using(run_after=when).enqueue(2)
        add.using(priority=9).enqueue(3)
    box.sweep()
    assert arguments(box) == [3, 1]
    assert arguments(box, State.SCHEDULED) == [2]
    (id,) = box.backend.server.command(
        "ZRANGE", box.backend.broker.key("default", "scheduled"), 0, -1
    )
    assert box.backend.broker.fetch("default", [id.decode()])[0].due == to_ms(when)


# -- the sweep -------------------------------------------------------------------------------------


def left(box: Box, *numbers: int) -> None:
    """Jobs whose process died after its commit."""
    with box.away(), box.atomic():
        for number in numbers:
            add.enqueue(number)


def test_a_row_is_left_alone_at_first_sight(box: Box) -> None:
    left(box, 1)
    sweeper = box.sweeper()
    assert sweeper.tick() > 1
    assert box.rows.count() == 1
    assert sweeper.tick() > 1
    assert not box.rows.exists()


def test_an_empty_outbox_costs_one_query(box: Box) -> None:
    sweeper = box.sweeper()
    with box.queries() as queries, round_trips() as trips:
        sweeper.tick()
    assert (len(queries), trips) == (1, [])


def test_more_than_a_chunk_is_swept_in_order(box: Box) -> None:
    left(box, *range(1_203))
    box.sweep()
    assert not box.rows.exists()
    assert arguments(box) == list(range(1_203))


def test_two_sweepers_push_every_job_once(box: Box) -> None:
    left(box, *range(1_500))
    errors: list[BaseException] = []
    barrier = threading.Barrier(2)

    def sweep() -> None:
        try:
            sweeper = box.sweeper()
            barrier.wait(10)
            for _ in range(50):
                with suppress(OperationalError):  # SQLite has one writer at a time
                    sweeper.finish()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert not box.rows.exists()
    assert sorted(arguments(box)) == list(range(1_500))


def test_a_sweep_without_redis_keeps_the_rows(box: Box) -> None:
    left(box, 1, 2)
    sweeper = box.sweeper()
    with box.away():
        sweeper.tick()
        with pytest.raises(BrokerUnavailable):
            sweeper.tick()
    assert box.rows.count() == 2
    sweeper.tick()
    assert arguments(box) == [1, 2]


def test_a_push_that_fails_under_way_undoes_the_deletion(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(box, 1)
    original = box.backend.broker.queues

    def queues() -> list[str]:
        found = original()
        box.proxy.go_away()
        return found

    monkeypatch.setattr(box.backend.broker, "queues", queues)
    sweeper = box.sweeper()
    sweeper.tick()
    with pytest.raises(BrokerUnavailable):
        sweeper.tick()
    monkeypatch.undo()
    box.proxy.away = False
    assert box.rows.count() == 1
    box.sweep()
    assert arguments(box) == [1]


def test_a_queue_that_fails_does_not_hold_up_the_others(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    with box.away(), box.atomic():
        urgent.enqueue("x")
        add.enqueue(1)
    key = box.backend.broker.key("critical", "jobs")
    box.backend.server.command("SET", key, "no hash")
    sweeper = box.sweeper()
    for _ in range(3):
        assert sweeper.tick() > 1
    assert arguments(box) == [1]
    assert [row.queue for row in box.rows] == ["critical"]
    assert caplog.text.count("WRONGTYPE") == 1
    left(box, 2)
    for _ in range(2):
        sweeper.tick()
    assert arguments(box) == [1, 2]
    box.backend.server.command("DEL", key)
    sweeper.tick()
    assert not box.rows.exists()


def test_a_job_pushed_twice_is_one_job(box: Box) -> None:
    """The process died after the push and before the deletion."""
    with box.atomic():
        add.enqueue(1)
        row = box.rows.get()
    row.save(force_insert=True)
    box.sweep()
    assert arguments(box) == [1]
    assert not box.rows.exists()


def test_a_job_that_ended_meanwhile_does_not_run_again(box: Box) -> None:
    """Even one that is not kept: its id is known for ten seconds, and the sweep comes before."""
    with box.atomic():
        nothing.using(retention=0).enqueue()
        row = box.rows.get()
    Hand(box.backend.broker).run()
    row.save(force_insert=True)
    box.sweep()
    assert Hand(box.backend.broker).run() == []


def test_what_cannot_be_deleted_is_not_pushed_again_and_again(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    left(box, 1)

    def refuse(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("DELETE"):
            raise OperationalError("no permission")
        return execute(sql, *rest)

    sweeper = box.sweeper()
    with connections[box.alias].execute_wrapper(refuse):
        for _ in range(3):
            sweeper.tick()
    assert box.rows.count() == 1
    assert arguments(box) == []
    assert caplog.text.count("no permission") == 1
    sweeper.tick()
    assert arguments(box) == [1]


def test_a_row_that_cannot_be_deleted_after_its_push_harms_nothing(box: Box) -> None:
    def refuse(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("DELETE"):
            raise OperationalError("no permission")
        return execute(sql, *rest)

    with connections[box.alias].execute_wrapper(refuse), box.atomic():
        result = add.enqueue(1)
    assert result.enqueued_at is not None
    assert box.rows.count() == 1
    box.sweep()
    assert arguments(box) == [1]


def test_after_a_while_only_who_deletes_a_row_pushes_its_job(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep has pushed it, it ran, and Redis has forgotten it: it must not run again."""
    monkeypatch.setattr(outbox_producer, "FRESH", 0.0)

    def meanwhile() -> None:
        box.sweep()
        Hand(box.backend.broker).run()
        for key in box.backend.server.command("KEYS", f"{box.backend.conf.prefix}:*"):
            box.backend.server.command("DEL", key)

    with box.atomic():
        transaction.on_commit(meanwhile, using=box.alias)
        nothing.enqueue()
    assert Hand(box.backend.broker).run() == []


def test_after_a_while_a_job_is_pushed_at_the_commit_all_the_same(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_producer, "FRESH", 0.0)
    with box.atomic():
        results = add.enqueue_many([(1,), (2,)])
    assert arguments(box) == [1, 2]
    assert all(result.enqueued_at for result in results)
    assert not box.rows.exists()
    with box.away(), box.atomic():
        add.enqueue(3)
    assert box.rows.count() == 1


def test_a_row_that_a_failed_look_has_just_seen_is_left_alone(box: Box) -> None:
    left(box, 1)
    sweeper = box.sweeper()
    sweeper.tick()
    left(box, 2)
    with box.away(), pytest.raises(BrokerUnavailable):
        sweeper.tick()
    sweeper.tick()
    assert arguments(box) == [1]
    sweeper.tick()
    assert arguments(box) == [1, 2]


def test_the_sweep_tells_djangos_receivers(box: Box) -> None:
    heard: list[TaskResult] = []

    def receiver(task_result: TaskResult, **kwargs: Any) -> None:
        heard.append(task_result)

    left(box, 1)
    task_enqueued.connect(receiver)
    try:
        box.sweep()
    finally:
        task_enqueued.disconnect(receiver)
    assert [result.args for result in heard] == [[1]]


def test_rows_of_another_backend_are_left_alone(box: Box) -> None:
    left(box, 1)
    box.rows.update(backend="other")
    box.sweep()
    assert box.rows.count() == 1


def test_a_worker_that_does_not_stay_pushes_what_it_finds(box: Box) -> None:
    left(box, 1, 2)
    box.sweeper().finish()
    assert arguments(box) == [1, 2]


# -- receivers and callbacks that fail -------------------------------------------------------------


def test_a_receiver_that_fails_leaves_no_row_of_a_pushed_job(box: Box) -> None:
    def receiver(**kwargs: Any) -> None:
        raise ValueError("a receiver's")

    task_enqueued.connect(receiver)
    try:
        with pytest.raises(ValueError, match="a receiver's"), box.atomic():
            add.enqueue(1)
    finally:
        task_enqueued.disconnect(receiver)
    assert not box.rows.exists()
    assert arguments(box) == [1]


def test_a_callback_that_fails_before_the_push_delays_the_job(box: Box) -> None:
    def fail() -> None:
        raise ValueError("a callback's")

    block = box.atomic()
    block.__enter__()
    transaction.on_commit(fail, using=box.alias)
    add.enqueue(1)
    with pytest.raises(ValueError, match="a callback's"):
        block.__exit__(None, None, None)
    assert box.rows.count() == 1
    box.sweep()
    assert arguments(box) == [1]


# -- several databases -----------------------------------------------------------------------------


@pytest.fixture
def _routed(settings: Any) -> None:
    """The outbox belongs into no database but the box."""
    settings.DATABASE_ROUTERS = ["tests.edges.test_outbox.Router"]


class Router:
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == "box" if app_label == "taskq_outbox" else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "box" if model._meta.app_label == "taskq_outbox" else None


@pytest.mark.usefixtures("_routed")
def test_a_router_says_where_there_is_an_outbox(box: Box) -> None:
    assert store.databases() == ["box"]
    with box.away():
        add.enqueue(1)
    assert box.rows.count() == 1


@pytest.mark.usefixtures("_routed")
def test_a_job_that_is_not_to_wait_for_a_commit_is_not_written_into_a_transaction(
    box: Box,
) -> None:
    with box.away(), box.atomic():
        with pytest.raises(BrokerUnavailable) as caught:
            hasty.enqueue(1)
        assert caught.value.result.args == [1]
        assert not box.rows.exists()


def test_every_database_has_its_own(box: Box) -> None:
    assert store.databases() == ["default", "box"]


def test_a_database_without_the_table_is_named_with_what_to_do(box: Box) -> None:
    call_command("migrate", "taskq_outbox", "zero", database="box", verbosity=0)
    with (
        pytest.raises(ImproperlyConfigured, match=r"manage\.py migrate --database box"),
        box.atomic(),
    ):
        add.enqueue(1)


def test_the_sweep_says_once_that_there_is_no_table(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    call_command("migrate", "taskq_outbox", "zero", database="box", verbosity=0)
    sweeper = box.sweeper()
    with caplog.at_level(logging.WARNING, "django_taskq.outbox"):
        assert [sweeper.tick(), sweeper.tick()] == [60.0, 60.0]
    assert caplog.text.count("manage.py migrate --database box") == 1


# -- drafts ----------------------------------------------------------------------------------------


def test_a_draft_comes_back_from_its_row_as_it_was(box: Box) -> None:
    raw = bytes(range(256))
    draft = Draft("id.1", raw, -3, 1_900_000_000_000, 0)
    with box.atomic():
        add.enqueue(1)
        (row,) = box.rows
        row.envelope, row.job, row.priority, row.due = raw, draft.id, draft.priority, draft.due
        row.save()
        (row,) = box.rows
        assert store.draft_of(row) == draft
        transaction.set_rollback(True, using=box.alias)


def test_a_derived_number_leads_to_its_queue(box: Box) -> None:
    broker = box.backend.broker
    numbers = {derived_number(name) for name in ("default", "critical", "low")}
    assert len(numbers) == 3
    assert broker.queue_of(derived_number("critical")) is None
    broker.number("critical")
    assert broker.queue_of(derived_number("critical")) == "critical"
    assert broker.queue_of(derived_number("unheard-of")) is None


def test_what_lies_in_the_database_is_signed_and_encrypted(box: Box, prefix: str) -> None:
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    entry = configured(box.proxy.url, prefix, OUTBOX=True, SIGN=True, ENCRYPTION_KEYS=[key])
    with override_settings(TASKS={"default": entry}):
        with box.away(), box.atomic():
            result = urgent.using(queue_name="default").enqueue("a secret")
        (row,) = box.rows
        assert bytes(row.envelope).startswith(b"~s1.")
        assert b"a secret" not in bytes(row.envelope)
        box.sweep()
        hand = Hand(task_backends["default"].broker)
        hand.runner.seals = hand.broker.seals
        hand.run()
        assert urgent.get_result(result.id).return_value == "a secret"


# -- locks -----------------------------------------------------------------------------------------


def test_a_lock_is_taken_when_the_job_is_pushed_not_when_its_row_is_written(box: Box) -> None:
    with box.atomic():
        inside = once.enqueue(1)
        outside = once.using(on_commit=False).enqueue(1)
    assert (outside.duplicate, inside.duplicate) == (False, True)
    assert inside.id == outside.id
    assert not box.rows.exists()


def test_a_conflict_that_raises_leaves_no_row(box: Box) -> None:
    only.enqueue(1)

    def book() -> None:
        with box.atomic():
            only.enqueue(1)
            only.enqueue(2)

    with pytest.raises(DuplicateJob):
        book()
    assert not box.rows.exists()
    assert arguments(box) == [1, 2]


def test_what_was_left_keeps_to_the_locks(box: Box) -> None:
    heard: list[str] = []
    once.enqueue(1)
    index.enqueue(5, "old")
    with box.away(), box.atomic():
        once.enqueue(1)
        once.enqueue(2)
        index.enqueue(5, "new")
        index.enqueue(5, "newest")
    assert box.rows.count() == 4

    def receiver(sender: type, task_result: TaskResult, **kwargs: Any) -> None:
        heard.append(task_result.args[0])

    task_enqueued.connect(receiver)
    try:
        box.sweep()
    finally:
        task_enqueued.disconnect(receiver)

    assert not box.rows.exists()
    assert heard == [2]
    assert sorted(arguments(box)) == [1, 2, 5]
    blobs = [outcome.blob for outcome in Hand(box.backend.broker).run()]
    assert b'"newest"' in blobs
