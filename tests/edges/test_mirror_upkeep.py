"""The mirror's tables stay short, and operators see and steer it."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import modify_settings, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_taskq import task
from django_taskq.backends import RedisBackend
from django_taskq.clock import to_ms
from django_taskq.mirror import pruning as module
from django_taskq.mirror.checks import check_databases
from django_taskq.mirror.models import Attempt, JobPayload, JobRecord
from django_taskq.mirror.process import parts_of
from django_taskq.mirror.pruning import Pruning
from django_taskq.mirror.tasks import enqueue_prune
from tests.edges.mirror import Glass
from tests.engine.support import IMMEDIATE, Hand, configured
from tests.engine.tasks import add

DAY = 86_400.0


@task(max_attempts=1)
def broken() -> None:
    raise LookupError


@pytest.fixture
def hand(backend: RedisBackend) -> Hand:
    return Hand(backend.broker)


def prune(glass: Glass, days: float = 90, keep: int = 1_000_000, **later: float) -> int:
    """Prunes as if time had passed; how many rows are left."""
    pruning = Pruning("default", glass.alias, days * DAY, keep)
    now = timezone.now() + timedelta(**later)
    while pruning.prune(now):
        pass
    left = JobRecord.objects.using(glass.alias).count()
    assert JobPayload.objects.using(glass.alias).count() == left
    return left


# -- pruning ---------------------------------------------------------------------------------------


def test_rows_of_jobs_that_ended_long_ago_go(glass: Glass, hand: Hand) -> None:
    add.enqueue(1)
    broken.enqueue()
    hand.run()
    waits = add.enqueue(2)
    glass.sync()
    assert Attempt.objects.using(glass.alias).count() == 1
    assert prune(glass, days=90) == 3
    assert prune(glass, days=90, hours=24 * 91) == 1
    assert list(glass.states()) == [waits.id]
    assert Attempt.objects.using(glass.alias).count() == 0


def test_the_oldest_go_where_they_are_too_many(glass: Glass, hand: Hand) -> None:
    results = [add.enqueue(n) for n in range(6)]
    hand.run()
    glass.sync()
    order = JobRecord.objects.using(glass.alias).order_by("pk").values_list("job", flat=True)
    newest = list(order)[-2:]
    assert prune(glass, keep=2) == 2
    assert set(glass.states()) == set(newest)
    assert len(results) == 6


def test_a_walk_goes_on_range_by_range(
    glass: Glass, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RANGE", 3)
    monkeypatch.setattr(module, "RANGES", 2)
    add.enqueue_many([(n,) for n in range(20)])
    while hand.run():
        pass
    glass.sync()
    pruning = Pruning("default", glass.alias, 0.0, 1_000_000)
    later = timezone.now() + timedelta(days=1)
    rows = JobRecord.objects.using(glass.alias)
    while rows.count() == 20:
        assert pruning.prune(later)
    assert rows.count() == 14
    while pruning.prune(later):
        pass
    assert JobRecord.objects.using(glass.alias).count() == 0


def test_the_edge_is_found_from_the_one_before(
    glass: Glass, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RANGE", 3)
    monkeypatch.setattr(module, "RANGES", 2)
    pruning = Pruning("default", glass.alias, 90 * DAY, 10)
    rows = JobRecord.objects.using(glass.alias).order_by("pk")
    for jobs in (7, 3, 1, 6, 14, 0):
        before = list(rows.values_list("pk", flat=True))
        add.enqueue_many([(n,) for n in range(jobs)])
        hand.run(20)
        glass.sync()
        all_of_them = list(rows.values_list("pk", flat=True))
        with CaptureQueriesContext(connections[glass.alias]) as queries:
            while pruning.prune():
                pass
        assert list(rows.values_list("pk", flat=True)) == all_of_them[-10:]
        assert len(all_of_them) == len(before) + jobs
    assert len(queries) <= 4  # nothing new: the rows of before are not counted again
    add.enqueue(1)  # and another worker deletes, of which this one does not know
    glass.sync()
    rows.filter(pk__in=all_of_them[-5:]).delete()
    monkeypatch.setattr(pruning, "_counted_at", float("-inf"))
    while pruning.prune():
        pass
    assert rows.count() == 6


def test_only_who_follows_a_queue_prunes(glass: Glass, url: str, prefix: str) -> None:
    entry = configured(url, prefix, MIRROR_DATABASE="glass", MIRROR_RETENTION=0)
    with override_settings(TASKS={"default": entry}):
        (ours, pruning), (other, idle) = parts_of("default"), parts_of("default")
    add.enqueue(1)
    assert not ours.has_place
    ours.sync_once()
    other.sync_once()
    assert (ours.has_place, other.has_place) == (True, False)
    with CaptureQueriesContext(connections[glass.alias]) as queries:
        assert idle.tick() == module.REST
        assert not queries
        pruning.tick()
        assert queries


def test_pruning_looks_at_ranges_alone(glass: Glass, hand: Hand) -> None:
    add.enqueue(1)
    hand.run()
    glass.sync()
    with CaptureQueriesContext(connections[glass.alias]) as queries:
        prune(glass, days=0, keep=0, hours=1)
    assert not [query for query in queries if "OFFSET" in query["sql"]]
    for query in queries:
        sql = query["sql"]
        if sql.startswith(("SELECT", "DELETE")) and "COUNT(" not in sql:
            assert "LIMIT" in sql or "<=" in sql or " IN (" in sql, sql


def test_a_row_that_was_pruned_comes_back_with_its_job(glass: Glass, hand: Hand) -> None:
    result = add.enqueue(1)
    hand.run()
    glass.sync()
    assert prune(glass, days=0, hours=1) == 0
    result.retry()
    glass.sync()
    assert glass.row(result.id).state == "ready"


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def taskq(glass: Glass, url: str, prefix: str) -> Any:
    """``taskq mirror`` with these options; what it says."""

    def call(*words: str) -> str:
        out = io.StringIO()
        with pytest.raises(SystemExit) as left:
            call_command("taskq", "mirror", *words, stdout=out, skip_checks=True)
        assert left.value.code == 0
        return out.getvalue()

    with override_settings(TASKS={"default": configured(url, prefix, MIRROR_DATABASE="glass")}):
        yield call


def test_once_writes_what_there_is(glass: Glass, taskq: Any) -> None:
    result = add.enqueue(1)
    taskq("--once")
    assert glass.states() == {result.id: "ready"}


def test_status_says_how_far_it_is(glass: Glass, taskq: Any) -> None:
    add.enqueue(1)
    (before,) = json.loads(taskq("--status", "--json"))
    assert (before["registered"], before["complete"]) == ("no", "no")
    taskq("--once")
    add.enqueue(2)
    (after,) = json.loads(taskq("--status", "--json"))
    assert (after["registered"], after["complete"], after["entries"]) == ("yes", "yes", 1)
    assert "behind" in taskq("--status")


def test_resync_mends_what_somebody_broke(glass: Glass, taskq: Any) -> None:
    first, second = add.enqueue(1), add.enqueue(2)
    taskq("--once")
    rows = JobRecord.objects.using("glass")
    rows.filter(job=first.id).delete()
    rows.filter(job=second.id).update(state="dead")
    glass.leave()
    assert "looked through" in taskq("--resync")
    assert glass.states() == {first.id: "ready", second.id: "ready"}


def test_prune_deletes_what_is_too_much(
    glass: Glass, hand: Hand, taskq: Any, url: str, prefix: str
) -> None:
    add.enqueue(1)
    hand.run()
    taskq("--once")
    entry = configured(url, prefix, MIRROR_DATABASE="glass", MIRROR_KEEP=0)
    with override_settings(TASKS={"default": entry}):
        taskq("--prune")
    assert glass.states() == {}


def test_forget_takes_the_stream_away(glass: Glass, taskq: Any) -> None:
    add.enqueue(1)
    taskq("--once")
    key = glass.backend.broker.key("default", "events")
    assert glass.backend.server.command("EXISTS", key) == 1
    taskq("--forget")
    assert glass.backend.server.command("EXISTS", key) == 0


def test_without_the_app_it_says_so(taskq: Any) -> None:
    with (
        modify_settings(INSTALLED_APPS={"remove": ["django_taskq.mirror"]}),
        pytest.raises(CommandError, match="INSTALLED_APPS"),
    ):
        call_command("taskq", "mirror", "--once", skip_checks=True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("MIRROR_DATABASE", ""),
        ("MIRROR_DATABASE", 1),
        ("MIRROR_KEEP", -1),
        ("MIRROR_RETENTION", -1),
    ],
)
def test_a_wrong_setting_is_said(url: str, prefix: str, option: str, value: Any) -> None:
    from django_taskq.conf import Options

    (problem,) = Options.parse("default", configured(url, prefix, **{option: value})).problems
    assert option in problem.message


def test_a_database_that_is_not_there_is_said(url: str, prefix: str) -> None:
    from django_taskq.compat import task_backends

    with override_settings(TASKS={"default": configured(url, prefix, MIRROR_DATABASE="defualt")}):
        problems = " ".join(str(each.hint) for each in task_backends["default"].check())
    assert "Did you mean 'default'?" in problems


def test_backends_with_rows_in_different_databases_are_refused(url: str, prefix: str) -> None:
    one, other = (configured(url, prefix, MIRROR_DATABASE=name) for name in ("default", "glass"))
    none = configured(url, prefix)
    for tasks, refused in (
        ({"default": one, "other": other}, True),
        ({"default": none, "other": other}, True),
        ({"default": none, "other": one}, False),
        ({"default": other, "other": other}, False),
        ({"default": other, "here": configured(url, prefix, IMMEDIATE)}, False),
    ):
        with override_settings(TASKS=tasks):
            ids = [problem.id for problem in check_databases()]
        assert ids == ["taskq.E003"] * refused


# -- by hand ---------------------------------------------------------------------------------------


class Replicated:
    """A router of a project that reads from a copy of its database."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "copy"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "glass"


def test_the_job_that_prunes_deletes_where_rows_are_written(
    glass: Glass, hand: Hand, settings: Any
) -> None:
    broken.enqueue()
    hand.run()
    glass.sync()
    settings.DATABASE_ROUTERS = ["tests.edges.test_mirror_upkeep.Replicated"]

    job = enqueue_prune("default", to_ms(timezone.now() + timedelta(days=1)))
    hand.run(queue=job.task.queue_name)

    assert job.get(timeout=5) == 1
    assert not glass.states()


def test_what_is_older_goes_range_by_range_and_is_counted(
    glass: Glass, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RANGE", 2)
    for n in range(5):
        add.enqueue(n)
    broken.enqueue()
    hand.run()
    waits = add.enqueue(9)
    glass.sync()

    none = list(module.prune_all(glass.alias, timezone.now() - timedelta(days=1)))
    assert none == [(2, 0), (2, 0), (2, 0), (1, 0)]
    all_of_it = list(module.prune_all(glass.alias, timezone.now() + timedelta(days=1)))

    assert sum(looked for looked, _ in all_of_it) == 7
    assert sum(gone for _, gone in all_of_it) == 6
    assert list(glass.states()) == [waits.id]
    assert JobPayload.objects.using(glass.alias).count() == 1
    assert Attempt.objects.using(glass.alias).count() == 0
