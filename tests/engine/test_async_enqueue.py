"""``aenqueue()``: on redis.asyncio, and calls of the same moment share a round trip."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_taskq.backends import RedisBackend
from django_taskq.broker import aio
from django_taskq.broker.calls import Call
from django_taskq.exceptions import InvalidArgument
from django_taskq.job import State
from tests.conftest import eventually
from tests.engine.support import Hand
from tests.engine.tasks import aadd, add

Ids = Callable[..., list[str]]


@contextmanager
def async_trips() -> Iterator[list[str]]:
    """The names of the scripts that async code sends in the block."""
    sent: list[str] = []
    original = aio.AsyncServer._exchange

    async def counting(self: aio.AsyncServer, connection: Any, call: Call, **how: Any) -> Any:
        sent.append(call.script.name)
        return await original(self, connection, call, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aio.AsyncServer, "_exchange", counting)
        yield sent


def test_aenqueue_returns_a_result_whose_job_is_in_redis(hand: Hand) -> None:
    async def both() -> int:
        result = await aadd.aenqueue(1, b=2)
        assert result.enqueued_at is not None
        assert (await aadd.aget_result(result.id)).state is State.READY
        await asyncio.to_thread(hand.run)
        await result.arefresh()
        return await result.aget(timeout=0)

    assert asyncio.run(both()) == 3


def test_fifty_at_once_share_few_round_trips(backend: RedisBackend, enqueued: Any) -> None:
    async def fifty() -> list[Any]:
        return await asyncio.gather(*(add.aenqueue(number) for number in range(50)))

    add.enqueue(50)
    with async_trips() as trips:
        results = asyncio.run(fifty())
    assert len(trips) <= 3
    assert [result.args for result in results] == [[number] for number in range(50)]
    assert enqueued() == [50, *range(50)]


def test_more_than_500_at_once_are_sent_in_parts(backend: RedisBackend, jobs: Ids) -> None:
    async def many() -> list[Any]:
        return await asyncio.gather(*(add.aenqueue(number) for number in range(1100)))

    asyncio.run(many())
    assert len(set(jobs(State.READY))) == 1100


def test_a_bad_argument_does_not_hurt_the_others(backend: RedisBackend, enqueued: Any) -> None:
    async def three() -> list[Any]:
        calls = (add.aenqueue(1), add.aenqueue(object()), add.aenqueue(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    _, bad, _ = asyncio.run(three())
    assert isinstance(bad, InvalidArgument)
    assert enqueued() == [1, 3]


def test_an_id_of_ones_own_is_never_overwritten(backend: RedisBackend, enqueued: Any) -> None:
    async def twice() -> list[bool]:
        same = add.using(id="same")
        results = await asyncio.gather(same.aenqueue(1), same.aenqueue(2))
        return [result.duplicate for result in results]

    assert asyncio.run(twice()) == [False, True]
    assert enqueued() == [1]


def test_a_cancelled_caller_leaves_the_others_alone(backend: RedisBackend, enqueued: Any) -> None:
    async def two() -> Any:
        add.enqueue(0)
        given_up = asyncio.ensure_future(add.aenqueue(1))
        other = asyncio.ensure_future(add.aenqueue(2))
        await asyncio.sleep(0)
        given_up.cancel()
        return await other

    assert asyncio.run(two()).enqueued_at
    assert 2 in enqueued()


def test_every_event_loop_has_connections_of_its_own(backend: RedisBackend, enqueued: Any) -> None:
    for number in range(3):
        asyncio.run(add.aenqueue(number))
    threads = [
        threading.Thread(target=lambda: asyncio.run(add.aenqueue(7)), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert enqueued() == [0, 1, 2, 7, 7, 7]


def test_a_loop_that_ends_leaves_no_connection_open(
    private: RedisBackend, recwarn: pytest.WarningsRecorder
) -> None:
    def clients() -> int:
        return len(private.server.command("CLIENT", "LIST").splitlines())

    gc.collect()
    recwarn.clear()  # of what earlier tests left behind
    add.enqueue(0)
    before = clients()
    for number in range(5):
        asyncio.run(add.aenqueue(number))
    gc.collect()
    eventually(lambda: clients() == before)
    assert not [each for each in recwarn if issubclass(each.category, ResourceWarning)]
    assert not [loop for loop in list(aio._servers)[:-1] if loop.is_closed()]
