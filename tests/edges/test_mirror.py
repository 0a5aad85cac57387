"""The mirror: rows follow the jobs, and nothing takes one back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, DataError, IntegrityError, OperationalError, connections
from django.test import override_settings

from django_taskq import task
from django_taskq.backends import RedisBackend
from django_taskq.broker.listening import LEASE
from django_taskq.broker.steering import Steering
from django_taskq.clock import now_ms
from django_taskq.compat import task_backends
from django_taskq.mirror import reader
from django_taskq.mirror.models import JobRecord
from django_taskq.mirror.reader import MOST_GIVEN, Mirror
from django_taskq.mirror.store import Store
from tests.edges.mirror import Glass
from tests.engine import tasks
from tests.engine.support import Hand, configured
from tests.engine.tasks import add, urgent

KEY = "a2V5LW9mLTMyLWJ5dGVzLWZvci10aGVzZS10ZXN0cyE="


@task(max_attempts=2, backoff=0, sensitive=("password",))
def login(name: str, password: str) -> str:
    raise ValueError(f"{name} has the password {password}")


@task(max_attempts=2, backoff=0)
def breaks(text: str) -> None:
    raise LookupError(text)


@task
def echo(value: Any) -> Any:
    return value


@pytest.fixture
def hand(backend: RedisBackend) -> Hand:
    return Hand(backend.broker)


# -- what a row says -------------------------------------------------------------------------------


def test_a_row_follows_its_job(glass: Glass, hand: Hand) -> None:
    result = add.enqueue(1, b=2)
    glass.sync()
    row = glass.row(result.id)
    assert (row.state, row.queue, row.task) == ("ready", "default", add.module_path)
    assert (row.backend, row.attempts, row.ended_at) == ("default", 0, None)
    assert row.enqueued_at == result.enqueued_at

    hand.settle(*(hand.attempt(grant) for grant in hand.claim()))
    glass.sync()
    result.refresh()
    row = glass.row(result.id)
    assert (row.state, row.attempts, row.worker) == ("succeeded", 1, hand.holder)
    assert (row.started_at, row.ended_at) == (result.started_at, result.finished_at)
    assert row.duration is not None
    assert row.duration >= 0
    payload = glass.payload(result.id)
    assert payload.argument_list == [["a", "1", 0], ["b", "2", 0]]
    assert payload.value == "3"
    assert payload.failure_list == []


def test_rows_give_way_while_jobs_are_ready(glass: Glass, hand: Hand) -> None:
    add.enqueue(1)
    assert 0 < glass.mirror.tick() <= MOST_GIVEN

    hand.run()
    assert glass.mirror.tick() == 0, "there was something to write, and nothing to give way to"

    add.enqueue(2)
    glass.mirror.gives_way = False
    assert glass.mirror.tick() == 0


def test_rows_do_not_give_way_to_a_paused_queue_or_when_they_are_far_behind(
    glass: Glass, monkeypatch: pytest.MonkeyPatch
) -> None:
    steering = Steering(glass.backend.broker)
    add.enqueue(1)
    steering.pause("default", b"{}")
    assert glass.mirror.tick() == 0

    steering.resume("default")
    add.enqueue(2)
    assert glass.mirror.tick() > 0

    monkeypatch.setattr(reader, "FAR_BEHIND", 1)
    add.enqueue(3)
    assert glass.mirror.tick() == 0


def test_failures_become_attempts(glass: Glass, hand: Hand) -> None:
    result = breaks.enqueue("no such thing")
    hand.run()
    glass.sync()
    assert glass.row(result.id).state == "retrying"
    hand.promote()
    hand.run()
    glass.sync()
    row = glass.row(result.id)
    assert (row.state, row.error, row.attempts) == ("dead", "builtins.LookupError", 2)
    first, second = glass.attempts(result.id)
    assert (first.number, second.number) == (1, 2)
    assert (first.error, first.worker) == ("builtins.LookupError", hand.holder)
    (_, message, traceback), _ = glass.payload(result.id).failure_list
    assert message == "no such thing"
    assert "in breaks" in traceback


def test_the_duration_of_a_job_cancelled_between_attempts_is_that_of_the_last(
    glass: Glass, hand: Hand
) -> None:
    result = breaks.using(backoff=3600).enqueue("no such thing")
    hand.run()
    broker = glass.backend.broker
    broker._now = lambda: now_ms() + 600_000
    try:
        result.cancel()
    finally:
        broker._now = None
    glass.sync()
    row = glass.row(result.id)
    assert row.state == "cancelled"
    assert row.duration is not None
    assert row.duration < 60 < (row.ended_at - row.started_at).total_seconds()


def test_a_row_has_priority_tags_and_due_time(glass: Glass) -> None:
    soon = urgent.enqueue("x")
    glass.sync()
    row = glass.row(soon.id)
    assert (row.priority, row.tags, row.queue) == (5, " mail ", "critical")
    later = add.using(run_after=tasks.timedelta(hours=1)).enqueue(1)
    glass.sync()
    row = glass.row(later.id)
    assert row.state == "scheduled"
    assert row.due_at is not None
    assert row.due_at > row.enqueued_at


def test_a_row_of_a_retried_job_starts_again(glass: Glass, hand: Hand) -> None:
    result = add.enqueue(1)
    hand.run()
    glass.sync()
    result.retry()
    glass.sync()
    row = glass.row(result.id)
    assert (row.state, row.ended_at, row.attempts) == ("ready", None, 0)


def test_any_text_can_be_kept(glass: Glass, hand: Hand) -> None:
    result = echo.enqueue("nul \0, <script>")
    other = breaks.enqueue("nul \0")
    hand.run()
    glass.sync()
    assert "<script>" in glass.payload(result.id).value
    assert glass.row(other.id).state == "retrying"


def test_what_is_too_large_is_left_out(glass: Glass, hand: Hand) -> None:
    result = echo.enqueue("x" * 100_000)
    hand.run()
    glass.sync()
    payload = glass.payload(result.id)
    assert payload.argument_list == [["", "(too large)", 0]]
    assert payload.value == "(too large)"
    assert glass.row(result.id).task == echo.module_path


def test_many_jobs_are_written_in_batches(glass: Glass) -> None:
    add.enqueue_many([(n,) for n in range(1_234)])
    glass.sync()
    assert list(glass.states().values()) == ["ready"] * 1_234


# -- secrets ---------------------------------------------------------------------------------------


def everything(glass: Glass) -> str:
    """All that the database has, as text."""
    with connections[glass.alias].cursor() as cursor:
        found = []
        for table in ("taskq_job", "taskq_job_payload", "taskq_attempt"):
            cursor.execute(f"SELECT * FROM {table}")  # noqa: S608
            found += cursor.fetchall()
    return repr(found)


def test_what_is_sensitive_never_gets_there(glass: Glass, hand: Hand) -> None:
    result = login.enqueue("ada", password="canary-4711")
    hand.run()
    glass.sync()
    assert "canary-4711" not in everything(glass)
    assert glass.payload(result.id).argument_list[1][:2] == ["password", '"********"']


def test_arguments_of_an_unknown_task_are_hidden(glass: Glass) -> None:
    envelope = b'["gone.task",1,["canary-4711"]]'
    from django_taskq.broker.broker import Draft

    glass.backend.broker.number("default")
    glass.backend.broker.enqueue("default", [Draft("a" * 22, envelope)])
    glass.sync()
    assert glass.row("a" * 22).task == "gone.task"
    assert "canary-4711" not in everything(glass)


def test_what_is_encrypted_in_redis_stays_out_of_the_database(
    glass: Glass, url: str, prefix: str
) -> None:
    pytest.importorskip("cryptography")
    entry = configured(url, prefix, SIGN=True, ENCRYPTION_KEYS=[KEY])
    with override_settings(TASKS={"default": entry}):
        backend = task_backends["default"]
        hand = Hand(backend.broker)
        hand.runner = type(hand.runner).of(backend.broker, "default", hand.holder, RedisBackend)
        good, bad = echo.enqueue("canary-4711"), breaks.enqueue("canary-4711")
        hand.run()
        glass.sync(Mirror(backend.broker, "default", glass.alias))
    assert glass.payload(good.id).argument_list == [["", "(encrypted)", 0]]
    assert glass.payload(good.id).value == "(encrypted)"
    assert glass.row(bad.id).error == "builtins.LookupError"
    assert "canary-4711" not in everything(glass)


# -- what is read twice, late, or by two at once ---------------------------------------------------


def test_a_replay_changes_nothing(glass: Glass, hand: Hand) -> None:
    result = add.enqueue(1)
    glass.sync()
    one = glass.mirror.following["default"]
    early = one.listener.observe("default", [result.id])
    hand.run()
    glass.sync()
    assert glass.row(result.id).state == "succeeded"
    rows = [one._redactor.rows(job, early.version) for job in early.jobs]
    assert glass.store.write(rows) == 0
    assert glass.row(result.id).state == "succeeded"
    assert glass.payload(result.id).value == "1"


def test_a_reader_that_lost_its_place_takes_no_row_back(glass: Glass, hand: Hand) -> None:
    result = add.enqueue(1)
    glass.sync()
    zombie = glass.mirror.following["default"]
    seen = zombie.listener.observe("default", [result.id])  # and here it freezes
    glass.leave()
    hand.run()
    other = glass.another()
    glass.sync(other)
    assert glass.row(result.id).state == "succeeded"
    rows = [zombie._redactor.rows(job, seen.version) for job in seen.jobs]
    glass.store.write(rows)
    glass.store.mark_gone("default", [result.id], None, seen.version)
    assert glass.row(result.id).state == "succeeded"
    assert glass.row(result.id).gone_at is None


def test_one_reader_has_the_place(glass: Glass) -> None:
    add.enqueue(1)
    glass.sync()
    other = glass.another()
    add.enqueue(2)
    glass.sync(other)
    assert len(glass.states()) == 1
    assert other.following["default"].due > 0
    glass.sync()
    assert len(glass.states()) == 2


def test_a_job_that_changes_often_is_looked_at_once(glass: Glass, hand: Hand) -> None:
    glass.sync()
    add.enqueue_many([(n,) for n in range(10)])
    glass.sync()
    add.enqueue_many([(n,) for n in range(10)])
    for _ in range(3):
        hand.run(20)
    before = glass.mirror.following["default"].total
    glass.sync()
    assert glass.mirror.following["default"].total - before == 20


# -- what was missed -------------------------------------------------------------------------------


def test_jobs_of_before_are_looked_through(glass: Glass, hand: Hand) -> None:
    done = add.enqueue(1)
    hand.run()
    waiting = add.enqueue_many([(n,) for n in range(700)])
    glass.sync()
    assert glass.states() == {done.id: "succeeded"} | {r.id: "ready" for r in waiting}


def test_what_happens_while_it_is_down_is_read_when_it_is_back(glass: Glass, hand: Hand) -> None:
    glass.sync()
    result = add.using(queue_name="default").enqueue(1)
    glass.sync()
    glass.leave()
    hand.run()
    walked = glass.another()
    glass.sync(walked)
    assert glass.row(result.id).state == "succeeded"
    assert walked.following["default"].walked == 0  # it was told, and looked at nothing else


def test_a_cut_is_made_good(glass: Glass, hand: Hand) -> None:
    first, second = add.enqueue(1), add.enqueue(2)
    glass.sync()
    hand.run()
    third = add.enqueue(3)
    glass.cut()
    glass.sync()
    assert glass.states() == {first.id: "succeeded", second.id: "succeeded", third.id: "ready"}


@pytest.fixture
def _standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rest between two walks is ever over."""
    now = reader.monotonic()
    monkeypatch.setattr(reader, "monotonic", lambda: now)


@pytest.mark.usefixtures("_standing_clock")
def test_rows_come_although_the_stream_is_cut_again_and_again(glass: Glass) -> None:
    before = add.enqueue_many([(n,) for n in range(1_200)])
    glass.tick()
    for _ in range(12):
        add.enqueue(1)
        glass.cut()
        glass.tick()
    assert {result.id for result in before} <= set(glass.states())
    one = glass.mirror.following["default"]
    one._no_walk_before = 0.0  # it has rested
    glass.sync()
    assert len(glass.states()) == 1_212
    assert one.cuts == 0


@pytest.mark.usefixtures("_standing_clock")
def test_the_stream_is_followed_between_two_walks(glass: Glass) -> None:
    first = add.enqueue(0)
    glass.sync()
    one = glass.mirror.following["default"]
    glass.cut()
    glass.tick()
    assert one.walk is not None
    for _ in range(12):
        glass.cut()
        glass.tick()
    assert (one.walk, one.cuts) == (None, 1)
    result = add.enqueue(1)
    glass.tick()
    assert (one.walk, one.cuts) == (None, 1)
    assert glass.states() == {first.id: "ready", result.id: "ready"}


def test_rows_of_jobs_that_went_during_a_cut_say_so(glass: Glass, hand: Hand) -> None:
    result, stays = add.enqueue(1), add.enqueue(2)
    glass.sync()
    server, broker = glass.backend.server, glass.backend.broker
    server.command("ZREM", broker.key("default", "ready"), result.id)
    server.command("HDEL", broker.key("default", "jobs"), result.id)
    glass.cut()
    glass.sync()
    row = glass.row(result.id)
    assert (row.state, row.gone_at is None) == ("ready", False)
    assert glass.row(stays.id).gone_at is None


def test_a_walk_is_done_anew_by_the_next_reader(glass: Glass) -> None:
    results = add.enqueue_many([(n,) for n in range(1_200)])
    glass.mirror.sync_once()
    glass.mirror.sync_once()
    assert len(glass.states()) < 1_200
    glass.leave()
    glass.sync(glass.another())
    assert set(glass.states()) == {result.id for result in results}


def test_a_deleted_job_leaves_its_last_state(glass: Glass, hand: Hand) -> None:
    result = add.enqueue(1)
    hand.run()
    glass.sync()
    broker = glass.backend.broker
    broker._now = lambda: 9_000_000_000_000
    try:
        assert Steering(broker).delete("default", [result.id]) == "O"
    finally:
        broker._now = None
    glass.sync()
    row = glass.row(result.id)
    assert row.state == "succeeded"
    assert row.gone_at is not None


def test_rows_of_before_redis_forgot_everything_are_overwritten(glass: Glass, hand: Hand) -> None:
    task = add.using(id="mine")
    result = task.enqueue(1)
    hand.run()
    glass.sync()
    broker = glass.backend.broker
    keys = [broker.key("default", name) for name in ("jobs", "live", "succeeded", "meta")]
    glass.backend.server.command("DEL", *keys, broker.key("default", "events"))
    glass.sync()
    assert glass.row(result.id).gone_at is not None
    task.enqueue(1)
    glass.sync()
    row = glass.row(result.id)
    assert (row.state, row.gone_at) == ("ready", None)


def test_a_walk_over_an_idle_queue_remembers_no_ids(glass: Glass) -> None:
    add.enqueue_many([(n,) for n in range(1_200)])
    glass.sync()
    assert len(glass.states()) == 1_200
    assert not glass.mirror.following["default"]._looked


# -- a database that is away -----------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Writes fail while it has something in it."""
    failing: list[bool] = []
    write = Store.write

    def writing(self: Store, rows: Any) -> int:
        if failing:
            raise OperationalError("no connection for user=me password=canary-4711")
        return write(self, rows)

    monkeypatch.setattr(Store, "write", writing)
    return failing


def test_a_database_that_is_away_delays_rows_alone(
    glass: Glass, hand: Hand, broken: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    glass.sync()
    before = add.enqueue(0)
    glass.sync()
    broken.append(True)
    result = add.enqueue(1)
    with caplog.at_level(logging.WARNING, "django_taskq.mirror"):
        for _ in range(3):
            glass.tick()
        hand.run()
        result.refresh()
        assert result.return_value == 1
        broken.clear()
        glass.tick()
    glass.sync()
    assert glass.states() == {before.id: "succeeded", result.id: "succeeded"}
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == 2
    assert "takes no rows" in said[0]
    assert "takes rows of jobs again" in said[1]
    assert "canary-4711" not in caplog.text


@pytest.mark.parametrize("refusal", [DataError, IntegrityError])
def test_a_job_that_the_database_refuses_is_left_out_and_said(
    glass: Glass,
    refusal: type[DatabaseError],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    glass.sync()
    bad, *good = add.enqueue_many([(n,) for n in range(9)])
    records = Store._records

    def refusing(store: Store, rows: Any) -> Any:
        written = records(store, rows)
        if any(bad.id in row for row in rows):
            raise refusal("canary-4711")
        return written

    monkeypatch.setattr(Store, "_records", refusing)
    glass.tick()
    result = urgent.enqueue("x")
    glass.sync()
    assert set(glass.states()) == {result.id, *(each.id for each in good)}
    (said,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert f"1 of 9 jobs cannot be rows of database 'glass' ({refusal.__name__})" in said
    assert bad.id in said
    assert "canary-4711" not in caplog.text


def test_a_walk_that_fails_begins_anew(glass: Glass, broken: list[bool]) -> None:
    add.enqueue_many([(n,) for n in range(600)])
    broken.append(True)
    for _ in range(3):
        glass.tick()
    broken.clear()
    glass.sync()
    assert len(glass.states()) == 600


def test_a_queue_that_is_broken_does_not_stop_the_others(
    glass: Glass, caplog: pytest.LogCaptureFixture
) -> None:
    glass.sync()
    urgent.enqueue("x")
    result = add.enqueue(1)
    key = glass.backend.broker.key("critical", "listeners")
    glass.backend.server.command("SET", key, "not a hash")
    with caplog.at_level(logging.ERROR, "django_taskq.mirror"):
        glass.sync()
        glass.sync()
    assert list(glass.states()) == [result.id]
    assert len(caplog.records) == 1


class SlowStore:
    """A database that takes so many seconds for a transaction, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, glass: Glass, seconds: float) -> None:
        self.now = reader.monotonic() + 100
        self.written: list[int] = []
        write = Store.write

        def writing(store: Store, rows: Any) -> int:
            self.now += seconds
            self.written.append(len(rows))
            return write(store, rows)

        monkeypatch.setattr(Store, "write", writing)
        monkeypatch.setattr(reader, "monotonic", lambda: self.now)
        monkeypatch.setattr(glass.mirror, "_looked_for_queues", float("-inf"))

    def rounds(self, mirror: Mirror) -> Iterator[float]:
        """How long each round takes, until no row is left to be written."""
        while True:
            before, self.written[:] = self.now, []
            mirror.sync_once()
            if not self.written:
                return
            yield self.now - before


def test_a_slow_database_costs_no_reader_its_place(
    glass: Glass, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [add.enqueue(0).id, urgent.enqueue("x").id]
    glass.sync()
    results = add.enqueue_many([(n,) for n in range(2_000)])
    more = add.using(queue_name="critical").enqueue_many([(n,) for n in range(1_000)])
    slow = SlowStore(monkeypatch, glass, 2.0)
    took = list(slow.rounds(glass.mirror))
    assert max(took) < LEASE / 1000
    assert len(took) > 2
    assert set(glass.states()) == {*first, *(result.id for result in [*results, *more])}


def test_a_slow_database_does_not_have_an_entry_read_from_its_beginning_for_ever(
    glass: Glass, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = echo.enqueue(0)
    glass.sync()
    large = "x" * 60_000  # so that a look has some seventy of them
    results = echo.enqueue_many([(large,) for _ in range(480)])
    slow = SlowStore(monkeypatch, glass, 2.5)
    took = list(slow.rounds(glass.mirror))
    assert max(took) < LEASE / 1000
    assert sum(took) < 2.5 * 10
    assert set(glass.states()) == {first.id, *(result.id for result in results)}


def test_a_round_that_fails_forgets_no_cut_of_another_queue(
    glass: Glass, broken: list[bool]
) -> None:
    ids = [add.enqueue(0).id, urgent.enqueue("x").id]
    glass.sync()
    ids += [add.enqueue(1).id, urgent.enqueue("y").id]
    glass.cut("default")
    glass.cut("critical")
    broken.append(True)
    glass.tick()
    broken.clear()
    glass.sync()
    assert set(glass.states()) == set(ids)


# -- where rows are --------------------------------------------------------------------------------


def test_the_manager_reads_where_the_mirror_writes(glass: Glass, url: str, prefix: str) -> None:
    result = add.enqueue(1)
    glass.sync()
    with override_settings(TASKS={"default": configured(url, prefix, MIRROR_DATABASE="glass")}):
        assert JobRecord.objects.get().job == result.id
        assert JobRecord.objects.get().payload.argument_list[0] == ["a", "1", 0]
        assert reader.NAME == "mirror"


class Router:
    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "glass" if model._meta.app_label == "taskq_mirror" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == "glass" if app_label == "taskq_mirror" else None


def test_a_router_says_where_rows_are(glass: Glass, settings: Any) -> None:
    settings.DATABASE_ROUTERS = ["tests.edges.test_mirror.Router"]
    from django_taskq.mirror.places import database_of

    assert database_of(glass.backend.conf, JobRecord) == "glass"
    result = add.enqueue(1)
    glass.sync()
    assert JobRecord.objects.get().job == result.id


def test_there_is_no_migration_missing(db: None) -> None:
    call_command("makemigrations", "taskq_mirror", check=True, dry_run=True, verbosity=0)


def test_an_error_of_the_database_is_one(glass: Glass) -> None:
    call_command("migrate", "taskq_mirror", "zero", database="glass", verbosity=0)
    add.enqueue(1)
    with pytest.raises(DatabaseError):
        glass.sync()
