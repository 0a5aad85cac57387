"""``get()`` and ``aget()``: the value once the job ended, woken and not polled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from django_taskq import TaskCancelled, TaskFailed, client
from django_taskq.backends import RedisBackend
from django_taskq.client import running_job
from django_taskq.exceptions import ResultTruncated
from django_taskq.job import TRUNCATED, Kind, Outcome
from django_taskq.result import TaskResult
from tests.conftest import eventually
from tests.engine.support import Hand
from tests.engine.tasks import add, control, fail, nothing

Get = Callable[..., Any]


@pytest.fixture(params=["get", "aget"])
def get(request: pytest.FixtureRequest) -> Get:
    """get() and aget() in turn, as a function of the result."""
    if request.param == "get":
        return lambda result, timeout=20: result.get(timeout)
    return lambda result, timeout=20: asyncio.run(result.aget(timeout))


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not woken does not come back in time."""
    monkeypatch.setattr(client, "LOOK_AGAIN", 60.0)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(30) as pool:
        yield pool


def listeners(backend: RedisBackend, queue: str = "default") -> int:
    """How many connections hear the ends of a queue's jobs."""
    channel = backend.broker.key(queue, "ended")
    return int(backend.server.command("PUBSUB", "SHARDNUMSUB", channel)[1])


def waited_for(backend: RedisBackend) -> set[str]:
    """The ids of this test's jobs that somebody waits for."""
    mine = f"{backend.broker.prefix}:"
    waiters = list(backend._client.endings._waiters)
    return {id for channel, id in waiters if channel.startswith(mine)}


def waiting(backend: RedisBackend, threads: Any, get: Get, *results: TaskResult) -> list[Future]:
    """A thread per result that waits for it, once the subscription stands."""
    futures = [threads.submit(get, result) for result in results]
    eventually(lambda: listeners(backend) == 1)
    eventually(lambda: waited_for(backend) == {result.id for result in results})
    return futures


# --- woken ----------------------------------------------------------------------------------------


def test_a_waiter_is_woken_when_its_job_succeeds(
    hand: Hand, backend: RedisBackend, get: Get, threads: ThreadPoolExecutor
) -> None:
    result = add.enqueue(1, 2)
    (future,) = waiting(backend, threads, get, result)
    hand.run()
    assert future.result(10) == 3
    assert result.return_value == 3


def test_a_job_that_ended_before_is_not_waited_for(hand: Hand, get: Get) -> None:
    result = add.enqueue(1, 2)
    hand.run()
    assert get(result, 0) == 3


def test_many_waiters_share_one_subscriber(
    private: RedisBackend, get: Get, threads: ThreadPoolExecutor
) -> None:
    results = add.enqueue_many([(number,) for number in range(20)])
    futures = waiting(private, threads, get, *results)
    assert len(private.server.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines()) == 1
    Hand(private.broker).run(20)
    assert [future.result(10) for future in futures] == list(range(20))
    assert waited_for(private) == set()


def test_several_waiters_of_one_job_are_all_woken(
    hand: Hand, backend: RedisBackend, get: Get, threads: ThreadPoolExecutor
) -> None:
    id = add.enqueue(1).id
    futures = waiting(backend, threads, get, *(add.get_result(id) for _ in range(5)))
    hand.run()
    assert [future.result(10) for future in futures] == [1] * 5


def test_waiters_of_several_queues_are_woken(
    hand: Hand, backend: RedisBackend, get: Get, threads: ThreadPoolExecutor
) -> None:
    queues = ("default", "low")
    results = [add.using(queue_name=queue).enqueue(1) for queue in queues]
    futures = [threads.submit(get, result) for result in results]
    for queue in queues:
        eventually(lambda queue=queue: listeners(backend, queue) == 1)
        hand.run(queue=queue)
    assert [future.result(10) for future in futures] == [1, 1]


def test_a_lost_subscriber_comes_back_and_wakes(
    private: RedisBackend, get: Get, threads: ThreadPoolExecutor
) -> None:
    first, second = add.enqueue_many([(1,), (2,)])
    futures = waiting(private, threads, get, first, second)
    hand = Hand(private.broker)
    for future, value in zip(futures, (1, 2), strict=True):
        assert private.server.command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        eventually(lambda: listeners(private) == 1)
        hand.run(1)
        assert future.result(10) == value


def test_a_job_that_ends_while_the_subscriber_is_gone_is_noticed(
    private: RedisBackend, get: Get, threads: ThreadPoolExecutor
) -> None:
    (future,) = waiting(private, threads, get, add.enqueue(1))
    grants = Hand(private.broker)
    private.server.command("CLIENT", "KILL", "TYPE", "pubsub")
    grants.run()
    assert future.result(10) == 1


def test_a_job_that_is_given_up_wakes_too(
    hand: Hand, backend: RedisBackend, get: Get, threads: ThreadPoolExecutor
) -> None:
    result = nothing.enqueue()
    (future,) = waiting(backend, threads, get, result)
    result.cancel()
    with pytest.raises(TaskCancelled):
        future.result(10)


def test_a_loop_that_was_closed_does_not_hurt_other_waiters(
    hand: Hand, backend: RedisBackend, threads: ThreadPoolExecutor
) -> None:
    result = add.enqueue(1)
    loop = asyncio.new_event_loop()
    left = loop.create_task(result.aget())
    loop.run_until_complete(asyncio.wait([left], timeout=0.2))
    loop.close()
    future = threads.submit(add.get_result(result.id).get, 20)
    eventually(lambda: listeners(backend) == 1)
    hand.run()
    assert future.result(10) == 1
    left._log_destroy_pending = False  # type: ignore[attr-defined]


# --- what it raises -------------------------------------------------------------------------------


def test_a_timeout_says_where_the_job_is(backend: RedisBackend, get: Get) -> None:
    result = add.enqueue(1)
    with pytest.raises(TimeoutError, match=rf"{result.id} has not ended in time; it is ready"):
        get(result, 0.05)
    with pytest.raises(TimeoutError):
        get(result, 0)


def test_a_dead_job_raises_with_its_last_error(hand: Hand, get: Get) -> None:
    result = fail.using(max_attempts=1).enqueue("no luck")
    hand.run()
    with pytest.raises(TaskFailed, match="is dead: ValueError: no luck") as caught:
        get(result)
    assert not isinstance(caught.value, TaskCancelled)
    assert caught.value.result is result
    assert result.errors[-1].exception_class is ValueError


def test_a_cancelled_job_raises_that(backend: RedisBackend, get: Get) -> None:
    result = add.enqueue(1)
    result.cancel()
    with pytest.raises(TaskCancelled, match="cancelled"):
        get(result)


def test_a_job_that_cancelled_itself_says_why(hand: Hand, get: Get) -> None:
    result = control.enqueue("cancel")
    hand.run()
    with pytest.raises(TaskCancelled, match="no need"):
        get(result)


def test_a_value_that_was_dropped_is_not_taken_for_one(hand: Hand, get: Get) -> None:
    result = add.enqueue(1)
    (grant,) = hand.claim()
    hand.settle(Outcome(grant, Kind.SUCCEEDED, TRUNCATED, 60_000, 1))
    with pytest.raises(ResultTruncated):
        get(result)


def test_a_job_that_is_gone_is_not_waited_for(backend: RedisBackend, get: Get) -> None:
    result = add.enqueue(1)
    backend.server.command("DEL", *(backend.broker.key("default", k) for k in ("jobs", "ready")))
    with pytest.raises(TaskFailed, match="is gone"):
        get(result)


@pytest.mark.django_db(transaction=True)
def test_a_job_that_waits_for_a_commit_is_waited_for(
    hand: Hand, backend: RedisBackend, threads: ThreadPoolExecutor
) -> None:
    from django.db import transaction

    with transaction.atomic():
        result = add.enqueue(1)
        (future,) = waiting(backend, threads, lambda result: result.get(20), result)
        assert not future.done()
    hand.run()
    assert future.result(10) == 1


def test_waiting_inside_a_job_warns(hand: Hand) -> None:
    result = add.enqueue(1)
    hand.run()
    caught: list[Any] = []

    def job() -> None:
        running_job.set(True)
        with pytest.warns(RuntimeWarning, match="starve"):
            caught.append(result.get(0))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join(10)
    assert caught == [1]


def test_a_cancelled_aget_leaves_no_waiter(backend: RedisBackend) -> None:
    result = add.enqueue(1)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(result.aget(), 0.1)

    asyncio.run(give_up())
    assert waited_for(backend) == set()
