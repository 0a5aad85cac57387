"""``unique=``: what a second enqueue comes to, and how long the first keeps others out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from django_taskq import DuplicateJob, TaskFailed, Unique
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Broker
from django_taskq.compat import task_enqueued
from django_taskq.exceptions import BrokerUnavailable, InvalidArgument
from django_taskq.job import State
from tests.engine.support import DUMMY, IMMEDIATE, Hand, configured, round_trips, using_backend
from tests.engine.tasks import (
    by_function,
    hourly,
    index,
    index_to_the_end,
    once,
    once_waiting,
    only,
    reindex,
)

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="  # 32 bytes
Jobs = Callable[..., list[str]]


def locks(backend: RedisBackend, queue: str = "default") -> int:
    """How many locks are held."""
    return int(backend.server.command("HLEN", backend.broker.key(queue, "locks")))


# --- a conflict returns the job that is there -----------------------------------------------------


def test_a_second_job_is_not_made_and_its_result_is_the_firsts(hand: Hand, jobs: Jobs) -> None:
    first, second = once.enqueue(1), once.enqueue(1)

    assert (first.duplicate, second.duplicate) == (False, True)
    assert second.id == first.id
    assert second.enqueued_at == first.enqueued_at
    assert jobs(State.READY) == [first.id]
    hand.run()
    assert second.get(timeout=5) == 1


def test_the_result_shows_the_job_as_it_is(hand: Hand) -> None:
    first = once.using(priority=7, run_after=60).enqueue(1, b=2)
    second = once.enqueue(1, 2)
    assert (second.state, second.args, second.kwargs) == (State.SCHEDULED, [1], {"b": 2})
    assert second.task.priority == 7
    assert second.task.get_result(second.id).args == [1]
    assert first.cancel()
    assert not second.cancel()


def test_a_running_job_keeps_others_out(hand: Hand) -> None:
    first = once.enqueue(1)
    (grant,) = hand.claim()
    second = once.enqueue(1)
    assert (second.duplicate, second.id, second.state) == (True, first.id, State.RUNNING)
    hand.settle(hand.attempt(grant))
    assert not once.enqueue(1).duplicate


def test_until_started_a_running_job_keeps_nobody_out(hand: Hand) -> None:
    first = once_waiting.enqueue(1)
    assert once_waiting.enqueue(1).id == first.id
    hand.claim()
    assert not once_waiting.enqueue(1).duplicate
    assert once_waiting.enqueue(1).duplicate


def test_other_arguments_make_another_job(hand: Hand) -> None:
    assert not once.enqueue(1).duplicate
    assert not once.enqueue(2).duplicate
    assert not once.enqueue(1, 1).duplicate
    assert once.enqueue(1, b=0).duplicate  # says no more than once.enqueue(1)


def test_a_key_may_be_a_function_of_the_arguments(hand: Hand) -> None:
    first = by_function.enqueue({"id": 7}, note="a")
    assert by_function.enqueue({"id": 7}, note="b").id == first.id
    assert not by_function.enqueue({"id": 8}).duplicate


def test_the_scope_is_a_queue(hand: Hand) -> None:
    once.enqueue(1)
    assert not once.using(queue_name="low").enqueue(1).duplicate
    assert once.using(queue_name="low").enqueue(1).duplicate


def test_none_switches_it_off_for_one_job(hand: Hand) -> None:
    once.enqueue(1)
    assert not once.using(unique=None).enqueue(1).duplicate
    assert not once.using(unique=None).enqueue(1).duplicate


def test_using_may_ask_for_it(hand: Hand) -> None:
    plain = once.using(unique=None)
    strict = plain.using(unique=Unique("x", on_conflict="raise"))
    strict.enqueue(1)
    with pytest.raises(DuplicateJob):
        strict.enqueue(2)


def test_no_signal_is_sent_for_a_job_that_was_there(hand: Hand) -> None:
    heard: list[Any] = []

    def receiver(sender: type, task_result: Any, **kwargs: Any) -> None:
        heard.append(task_result)

    task_enqueued.connect(receiver)
    try:
        first = once.enqueue(1)
        once.enqueue(1)
    finally:
        task_enqueued.disconnect(receiver)
    assert heard == [first]


@pytest.mark.parametrize("ending", ["value", "failure", "cancel"])
def test_every_end_of_a_job_opens_its_lock(hand: Hand, backend: RedisBackend, ending: str) -> None:
    task = index_to_the_end.using(max_attempts=1)
    result = task.enqueue(1, "text", fail=ending == "failure")
    assert locks(backend) == 1
    if ending == "cancel":
        result.cancel()
    else:
        hand.run()
    result.refresh()
    assert result.is_ended
    assert locks(backend) == 0


def test_a_retry_that_backs_off_keeps_others_out(hand: Hand) -> None:
    first = index_to_the_end.using(unique="until_finished").enqueue(1, "a", fail=True)
    hand.run()
    second = index_to_the_end.using(unique="until_finished").enqueue(1, "a", fail=True)
    assert (second.id, second.state) == (first.id, State.RETRYING)


# --- a lock with a time ---------------------------------------------------------------------------


def test_a_lock_stays_for_its_time_after_the_job_has_ended(
    hand: Hand, backend: RedisBackend, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.broker, "_now", clock)
    first = hourly.enqueue(1)
    hand.run()
    clock.forward(3_599_000)
    assert hourly.enqueue(1).id == first.id
    clock.forward(2_000)
    assert not hourly.enqueue(1).duplicate


def test_no_time_shorter_than_the_run_opens_it(
    hand: Hand, backend: RedisBackend, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.broker, "_now", clock)
    first = hourly.enqueue(1)
    hand.claim()
    clock.forward(7_200_000)
    assert hourly.enqueue(1).id == first.id


def test_a_job_that_is_kept_no_more_is_named_all_the_same(
    hand: Hand, backend: RedisBackend, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.broker, "_now", clock)
    first = hourly.enqueue(1)
    hand.run()
    clock.forward(60_000)
    backend.broker.trim("default")
    second = hourly.enqueue(1)
    assert (second.duplicate, second.id) == (True, first.id)
    with pytest.raises(TaskFailed, match="is gone"):
        second.get(timeout=5)


# --- a conflict replaces the job that is there ----------------------------------------------------


def test_new_arguments_take_the_place_of_the_old(hand: Hand, ran: list[Any]) -> None:
    first = index.enqueue(5, "old")
    second = index.enqueue(5, "new")

    assert (second.id, second.duplicate, second.args) == (first.id, True, [5, "new"])
    assert (first.replaced, second.replaced) == (False, True)
    assert second.enqueued_at is not None
    assert len(hand.run()) == 1
    assert ran == [("index", 5, "new")]
    assert first.get(timeout=5) == second.get(timeout=5) == "new"


def test_each_enqueue_puts_the_job_off(
    hand: Hand, backend: RedisBackend, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.broker, "_now", clock)
    later = index.using(run_after=timedelta(seconds=10))
    for text in ("a", "b", "c"):
        result = later.enqueue(5, text)
        assert result.state is State.SCHEDULED
        clock.forward(8_000)
        assert hand.promote() == 0
    clock.forward(2_000)
    assert hand.promote() == 1
    (outcome,) = hand.run()
    assert outcome.blob == b'"c"'


def test_and_one_without_a_time_brings_it_forward(hand: Hand) -> None:
    first = index.using(run_after=3600, priority=-5).enqueue(5, "later")
    now = index.enqueue(5, "now")
    assert (now.id, now.state) == (first.id, State.READY)
    assert now.task.priority == 0
    (outcome,) = hand.run()
    assert outcome.blob == b'"now"'


def test_another_task_with_the_key_may_take_its_place(hand: Hand) -> None:
    first = index.enqueue(5, "text")
    second = reindex.enqueue(5)
    assert second.id == first.id
    hand.run()
    assert second.get(timeout=5) == "all of 5"
    assert reindex.get_result(first.id).args == [5]


def test_once_started_it_is_not_replaced_but_followed_by_another(hand: Hand) -> None:
    first = index.enqueue(5, "old")
    (grant,) = hand.claim()
    second = index.enqueue(5, "new")
    assert not second.duplicate
    hand.settle(hand.attempt(grant))
    hand.run()
    assert (first.get(timeout=5), second.get(timeout=5)) == ("old", "new")


def test_a_running_job_that_keeps_its_lock_cannot_be_replaced(hand: Hand) -> None:
    first = index_to_the_end.enqueue(5, "old")
    (grant,) = hand.claim()
    second = index_to_the_end.enqueue(5, "new")
    assert (second.id, second.args, second.state) == (first.id, [5, "old"], State.RUNNING)
    assert (second.duplicate, second.replaced) == (True, False)
    hand.settle(hand.attempt(grant))
    assert second.get(timeout=5) == "old"


def test_one_that_backs_off_starts_afresh(hand: Hand) -> None:
    first = index_to_the_end.enqueue(5, "old", fail=True)
    hand.run()
    second = index_to_the_end.enqueue(5, "new")
    assert (second.id, second.state) == (first.id, State.READY)
    hand.run()
    first.refresh()
    assert (first.get(timeout=5), first.errors, first.attempts) == ("new", [], 1)


@pytest.mark.parametrize("sealing", [{"SIGN": True}, {"ENCRYPTION_KEYS": [KEY]}])
def test_a_sealed_job_is_sealed_anew(url: str, prefix: str, sealing: dict[str, Any]) -> None:
    with override_settings(TASKS={"default": configured(url, prefix, **sealing)}):
        backend = index.get_backend()
        first = index.enqueue(5, "old")
        second = index.enqueue(5, "new")
        assert second.id == first.id
        hand = Hand(backend.broker)
        hand.runner.seals = backend.broker.seals
        hand.run()
        assert second.get(timeout=5) == "new"


# --- a conflict raises ----------------------------------------------------------------------------


def test_a_conflict_may_raise(hand: Hand, jobs: Jobs) -> None:
    first = only.enqueue(1)
    with pytest.raises(DuplicateJob, match=first.id) as refusal:
        only.enqueue(1)
    assert refusal.value.result.id == first.id
    assert refusal.value.result.duplicate
    assert jobs(State.READY) == [first.id]


def test_of_many_all_others_are_in_when_it_raises(hand: Hand, jobs: Jobs) -> None:
    first = only.enqueue(1)
    with pytest.raises(DuplicateJob, match="is there already, and 1 more") as refusal:
        only.enqueue_many([(1,), (2,), (2,), (3,)])
    results = refusal.value.results
    assert [result.duplicate for result in results] == [True, False, True, False]
    assert results[0].id == first.id
    assert results[2].id == results[1].id
    assert len(jobs(State.READY)) == 3


def test_a_retry_meets_the_lock_of_another(hand: Hand) -> None:
    first = only.enqueue(1)
    hand.run()
    second = only.enqueue(1)
    with pytest.raises(DuplicateJob, match=f"{first.id} cannot run again"):
        first.retry()
    with pytest.raises(DuplicateJob):
        asyncio.run(first.aretry())
    hand.run()
    assert first.retry()
    with pytest.raises(DuplicateJob):
        second.retry()


# --- many, at a commit, from async code -----------------------------------------------------------


def test_duplicates_among_many_are_one_job(hand: Hand, jobs: Jobs) -> None:
    before = once.enqueue(2)
    results = once.enqueue_many([(1,), (2,), (1,), {"a": 1, "b": 0}, (3,)])

    assert [result.duplicate for result in results] == [False, True, True, True, False]
    assert results[1].id == before.id
    assert results[2].id == results[3].id == results[0].id
    assert len(jobs(State.READY)) == 3
    hand.run()
    assert [result.get(timeout=5) for result in results] == [1, 2, 1, 1, 3]


def test_of_many_replacements_the_last_counts(hand: Hand, ran: list[Any]) -> None:
    index.enqueue(1, "before")
    calls = [(1, f"a{n}") for n in range(20)] + [(2, f"b{n}") for n in range(20)]
    results = index.enqueue_many(calls)

    assert len({result.id for result in results}) == 2
    assert [result.replaced for result in results].count(False) == 1, "2's first was made"
    assert len(hand.run(50)) == 2
    assert sorted(ran) == [("index", 1, "a19"), ("index", 2, "b19")]
    assert {tuple(result.args) for result in results[:20]} == {(1, "a19")}


def test_more_than_fit_in_one_call_keep_each_other_out(hand: Hand, jobs: Jobs) -> None:
    results = once.enqueue_many([(n % 700,) for n in range(1400)])
    assert sum(result.duplicate for result in results) == 700
    assert len(jobs(State.READY)) == 700


def test_a_job_without_a_conflict_takes_one_round_trip(hand: Hand) -> None:
    once.enqueue(0)
    with round_trips() as trips:
        once.enqueue(1)
        once.enqueue_many([(n,) for n in range(2, 100)])
        once.enqueue(1)
    assert trips == [["enqueue"], ["enqueue"], ["enqueue"], ["fetch"]]


@pytest.mark.django_db(transaction=True)
def test_a_lock_is_taken_at_the_commit(hand: Hand, backend: RedisBackend, jobs: Jobs) -> None:
    with transaction.atomic():
        inside = once.enqueue(1)
        assert locks(backend) == 0
        outside = once.using(on_commit=False).enqueue(1)
        assert (inside.duplicate, outside.duplicate) == (False, False)
    assert inside.duplicate
    assert inside.id == outside.id
    assert jobs(State.READY) == [outside.id]


@pytest.mark.django_db(transaction=True)
def test_a_rollback_takes_no_lock(hand: Hand, backend: RedisBackend) -> None:
    with transaction.atomic():
        once.enqueue(1)
        transaction.set_rollback(True)
    assert locks(backend) == 0
    assert not once.enqueue(1).duplicate


@pytest.mark.django_db(transaction=True)
def test_at_the_commit_a_conflict_raises_when_the_others_are_in(hand: Hand, jobs: Jobs) -> None:
    first = only.enqueue(1)

    def book() -> None:
        with transaction.atomic():
            only.enqueue(1)
            once.enqueue(2)
            once.enqueue(3)

    with pytest.raises(DuplicateJob) as refusal:
        book()
    assert refusal.value.result.id == first.id
    assert len(jobs(State.READY)) == 3


def test_async_code_meets_the_same_locks(hand: Hand, jobs: Jobs) -> None:
    async def enqueue() -> None:
        first = await once.aenqueue(1)
        others = await asyncio.gather(*(once.aenqueue(1) for _ in range(5)))
        assert {other.id for other in others} == {first.id}
        assert all(other.duplicate for other in others)
        await only.aenqueue(1)
        with pytest.raises(DuplicateJob):
            await only.aenqueue(1)
        await index.aenqueue(1, "old")
        assert (await index.aenqueue(1, "new")).args == [1, "new"]

    asyncio.run(enqueue())
    assert len(jobs(State.READY)) == 3


# --- when the server goes away in between ---------------------------------------------------------


@pytest.fixture
def lost(backend: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a call of the broker fail from now on."""

    def lose(name: str) -> None:
        def fail(*args: Any) -> Any:
            raise BrokerUnavailable("gone", maybe_sent=True)

        monkeypatch.setattr(Broker, name, fail)

    return lose


@pytest.mark.parametrize(("task", "call"), [(once, "fetch"), (index, "replace")])
def test_what_is_not_settled_can_be_sent_again(
    hand: Hand, jobs: Jobs, task: Any, call: str, lost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = (1,) if task is once else (1, "new")
    first = task.enqueue(*args)
    lost(call)
    with pytest.raises(BrokerUnavailable) as failure:
        task.enqueue_many([args, (2, *args[1:])])
    held, fresh = failure.value.results
    assert (held.enqueued_at, held.duplicate) == (None, False)
    assert fresh.enqueued_at is not None
    monkeypatch.undo()

    again = task.using(id=held.id).enqueue(*args)

    assert (again.id, again.duplicate) == (first.id, True)
    assert len(jobs(State.READY)) == 2


# --- without Redis --------------------------------------------------------------------------------


def test_the_dummy_backend_keeps_nobody_out_and_still_makes_the_key() -> None:
    with using_backend(DUMMY) as dummy:
        assert [once.enqueue(1).duplicate, once.enqueue(1).duplicate] == [False, False]
        assert len(dummy.results) == 2
        with pytest.raises(InvalidArgument, match="raised KeyError"):
            by_function.enqueue({})


def test_the_immediate_backend_has_run_the_first_before_the_second_comes(ran: list[Any]) -> None:
    with using_backend(IMMEDIATE):
        assert only.enqueue(1).get() == 1
        assert only.enqueue(1).get() == 1
