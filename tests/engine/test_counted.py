"""What a worker's attempts are counted as: outcomes, and how long jobs waited and ran."""

from __future__ import annotations

from collections import Counter

import pytest

from django_taskq.backends import RedisBackend
from django_taskq.broker.inspector import Inspector
from django_taskq.clock import now_ms
from django_taskq.counts import bucket, quantile
from django_taskq.execution import Runner
from django_taskq.job import Grant, Kind, Live
from django_taskq.outcomes import outcome
from tests.engine import tasks
from tests.engine.support import Hand

QUEUE = "default"


def counted(backend: RedisBackend) -> dict[str, Counter[str]]:
    """By the last part of the task's name."""
    found = Inspector(backend.broker).tasks([QUEUE], 86_400_000, 2)
    return {name.rpartition(".")[2]: counters for name, counters in found.items()}


def times_of(counters: Counter[str], what: str) -> int:
    return sum(count for name, count in counters.items() if name[0] == what)


def test_each_attempt_counts_with_its_times(backend: RedisBackend, hand: Hand) -> None:
    tasks.add.enqueue(1, 2)
    tasks.add.enqueue(1, 2)
    tasks.fail.using(max_attempts=1).enqueue("x")
    hand.run()

    found = counted(backend)

    assert (found["add"]["S"], found["fail"]["D"]) == (2, 1)
    assert all(times_of(found["add"], what) == 2 for what in "wr")
    assert times_of(found["fail"], "r") == 1


def test_only_the_first_start_is_a_wait(backend: RedisBackend, hand: Hand) -> None:
    result = tasks.fail.using(backoff=0.001, max_attempts=2).enqueue("x")
    hand.run()
    backend.broker.promote(QUEUE, "keeper", force=True)
    result.retry()
    hand.run()

    found = counted(backend)["fail"]

    assert times_of(found, "r") == 2
    assert times_of(found, "w") == 1


def test_a_wait_is_from_when_a_job_was_due(backend: RedisBackend, hand: Hand) -> None:
    now = now_ms()
    early = attempt_of(backend, f'["{tasks.add.module_path}",{now - 9_000},[1,2]]', now)
    late = attempt_of(
        backend, f'["{tasks.add.module_path}",{now - 9_000},[1,2],{{}},{{}},{now - 1_000}]', now
    )
    ahead = attempt_of(backend, f'["{tasks.add.module_path}",{now + 9_000},[1,2]]', now)

    assert (early, late, ahead) == (9_000, 1_000, 0)
    assert bucket(9_000) > bucket(1_000)


def attempt_of(backend: RedisBackend, envelope: str, began: int) -> int:
    """How long the job waited, as its outcome has it."""
    runner = Runner.of(backend.broker, "default", "h", type(backend))
    attempt = runner.prepare(Grant(QUEUE, "x", envelope.encode(), Live(fence=1)), began)
    attempt.began = began  # type: ignore[union-attr]
    return outcome(attempt, Kind.SUCCEEDED).waited  # type: ignore[arg-type]


def test_a_run_takes_as_long_as_it_does(backend: RedisBackend) -> None:
    now = now_ms()
    runner = Runner.of(backend.broker, "default", "h", type(backend))
    envelope = f'["{tasks.add.module_path}",{now},[1,2]]'.encode()
    attempt = runner.prepare(Grant(QUEUE, "x", envelope, Live(fence=1)), now)
    attempt.began = now - 5_000  # type: ignore[union-attr]

    took = outcome(attempt, Kind.RETRYING).took  # type: ignore[arg-type]

    assert took >= 5_000
    assert quantile(Counter({f"r{bucket(took)}": 1}), "r", 0.5) == pytest.approx(took, rel=0.25)


def test_an_expired_job_is_counted_and_never_ran(backend: RedisBackend, hand: Hand) -> None:
    now = now_ms()
    runner = Runner.of(backend.broker, "default", "h", type(backend))
    envelope = f'["{tasks.add.module_path}",{now},[1,2]]'.encode()

    ended = runner.prepare(Grant(QUEUE, "x", envelope, Live(fence=1, expires=now - 1)), now)

    assert (ended.kind, ended.task) == (Kind.CANCELLED, tasks.add.module_path)  # type: ignore[union-attr]
    assert (ended.waited, ended.took) == (-1, -1)  # type: ignore[union-attr]
