"""Limits of tasks, keys and queues: who is let in, and what waits meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_taskq.backends import RedisBackend
from django_taskq.compat import task_backends
from django_taskq.job import State
from tests.engine.support import IMMEDIATE, Hand, configured, round_trips, using_backend
from tests.engine.tasks import add, also_of_tenant, narrow, of_tenant, once, slow

Jobs = Callable[..., list[str]]


@pytest.fixture
def timed(backend: RedisBackend, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time that the scripts of the default backend are handed."""
    monkeypatch.setattr(backend.broker, "_now", clock)
    return clock


def args_of(backend: RedisBackend, grants: Any) -> list[Any]:
    return [backend.get_result(grant.id).args for grant in grants]


# --- of a task ------------------------------------------------------------------------------------


def test_no_more_jobs_of_a_task_run_than_its_limit(hand: Hand, jobs: Jobs) -> None:
    results = narrow.enqueue_many([(n,) for n in range(5)])
    other = add.enqueue(1)
    grants = hand.claim()
    assert [grant.id for grant in grants] == [results[0].id, results[1].id, other.id]
    results[2].refresh()
    assert results[2].state is State.WAITING
    assert str(results[2].status) == "READY"

    hand.settle(*map(hand.attempt, grants))
    hand.run()
    hand.run()
    assert [result.get(timeout=5) for result in results] == [0, 1, 2, 3, 4]


def test_two_workers_share_a_limit(hand: Hand, backend: RedisBackend) -> None:
    narrow.enqueue_many([(n,) for n in range(5)])
    assert len(hand.claim(1)) == 1
    other = Hand(backend.broker)
    assert len(other.claim()) == 1
    assert len(hand.claim()) == 0


def test_a_rate_spreads_jobs_over_time(hand: Hand, backend: RedisBackend, timed: Any) -> None:
    slow.enqueue_many([(n,) for n in range(4)])
    ran = 0
    for _ in range(4):
        ran += len(hand.run())
        assert len(hand.run()) == 0
        timed.forward(1000)
        hand.promote()
    assert ran == 4


def test_a_job_that_waits_at_its_limit_can_be_cancelled(hand: Hand) -> None:
    results = narrow.enqueue_many([(n,) for n in range(4)])
    grants = hand.claim()
    assert results[2].cancel()
    hand.settle(*map(hand.attempt, grants))
    hand.run()
    assert results[3].get(timeout=5) == 3


def test_using_lifts_a_limit_for_one_job(hand: Hand) -> None:
    narrow.enqueue_many([(n,) for n in range(3)])
    narrow.using(concurrency_limit=None).enqueue(3)
    assert len(hand.claim()) == 3


def test_the_numbers_of_the_latest_job_count_for_the_older_ones(hand: Hand) -> None:
    narrow.enqueue_many([(n,) for n in range(6)])
    narrow.using(concurrency_limit=4).enqueue(6)
    assert len(hand.claim()) == 4


def test_a_failure_that_backs_off_makes_room(hand: Hand) -> None:
    narrow.enqueue_many([("x",)] + [(n,) for n in range(2)])
    (grant, _) = hand.claim()
    hand.settle(hand.attempt(grant))
    assert len(hand.claim()) == 1


# --- of a key -------------------------------------------------------------------------------------


def test_keys_are_limited_each_by_itself(hand: Hand, backend: RedisBackend) -> None:
    of_tenant.enqueue_many([(tenant, n) for n in range(2) for tenant in (1, 2, 3)])
    grants = hand.claim()
    assert args_of(backend, grants) == [[1, 0], [2, 0], [3, 0]]


def test_tasks_with_one_key_share_its_limit(hand: Hand, backend: RedisBackend) -> None:
    of_tenant.enqueue(1, 0)
    also_of_tenant.enqueue(1, 1)
    also_of_tenant.enqueue(2, 2)
    assert args_of(backend, hand.claim()) == [[1, 0], [2, 2]]


def test_a_lock_and_a_limit_go_together(hand: Hand) -> None:
    both = once.using(concurrency_limit=1)
    first, second, third = both.enqueue(1), both.enqueue(2), both.enqueue(2)
    assert third.id == second.id
    hand.run()
    hand.run()
    assert (first.get(timeout=5), second.get(timeout=5)) == (1, 2)


# --- of a queue -----------------------------------------------------------------------------------


@pytest.fixture
def limited(url: str, prefix: str) -> Iterator[RedisBackend]:
    """A backend with limits for its default queue."""
    limits = {"default": {"concurrency_limit": 3}, "low": {"rate_limit": "1/s"}}
    with override_settings(TASKS={"default": configured(url, prefix, LIMITS=limits)}):
        yield task_backends["default"]


def test_all_jobs_of_a_queue_may_share_a_limit(limited: RedisBackend) -> None:
    hand = Hand(limited.broker)
    add.enqueue_many([(n,) for n in range(3)])
    once.enqueue_many([(n,) for n in range(3)])
    assert len(hand.claim()) == 3
    add.using(queue_name="critical").enqueue_many([(n,) for n in range(4)])
    assert len(hand.claim(queue="critical")) == 4


def test_a_job_passes_the_gate_of_its_task_and_that_of_its_queue(limited: RedisBackend) -> None:
    hand = Hand(limited.broker)
    narrow.enqueue_many([(n,) for n in range(4)])
    add.enqueue_many([(n,) for n in range(4)])
    grants = hand.claim()
    assert args_of(limited, grants) == [[0], [1], [0]]
    ran = 0
    while grants:
        ran += len(grants)
        assert len(grants) <= 3
        hand.settle(*map(hand.attempt, grants))
        grants = hand.claim()
    assert ran == 8


def test_a_queue_may_have_a_rate(
    limited: RedisBackend, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited.broker, "_now", clock)
    hand = Hand(limited.broker)
    add.using(queue_name="low").enqueue_many([(n,) for n in range(3)])
    assert len(hand.run(queue="low")) == 1
    assert len(hand.run(queue="low")) == 0
    clock.forward(1000)
    hand.promote("low")
    assert len(hand.run(queue="low")) == 1


def test_a_key_named_like_a_gate_of_another_kind_is_another(limited: RedisBackend) -> None:
    hand = Hand(limited.broker)
    names = ("queue", f"task:{narrow.module_path}", narrow.module_path)
    for name in names:
        narrow.using(limit_key=name, concurrency_limit=1).enqueue(0)
    assert len(hand.claim()) == 3  # the queue's own limit


def test_without_limits_jobs_carry_nothing(backend: RedisBackend, hand: Hand) -> None:
    add.enqueue(0)
    with round_trips() as trips:
        add.enqueue(1)
        add.enqueue_many([(n,) for n in range(3)])
    assert trips == [["enqueue"], ["enqueue"]]
    assert backend.server.command("EXISTS", backend.broker.key("default", "asks")) == 0


# --- without Redis --------------------------------------------------------------------------------


def test_the_immediate_backend_knows_no_limits_but_checks_them() -> None:
    limits = {"default": {"concurrency_limit": 1}}
    with using_backend(IMMEDIATE, LIMITS=limits) as immediate:
        assert [narrow.enqueue(n).get() for n in range(5)] == [0, 1, 2, 3, 4]
        assert immediate.check() == []
    with using_backend(IMMEDIATE, LIMITS={"default": {"concurrency_limit": 0}}) as immediate:
        assert len(immediate.check()) == 1
