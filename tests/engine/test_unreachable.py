"""Redis that cannot be reached, loses a reply, or is full, as ``enqueue()`` says it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from django_taskq.backends import RedisBackend
from django_taskq.broker.connection import get_server, make_server
from django_taskq.broker.doorbell import Doorbell
from django_taskq.compat import task_backends
from django_taskq.exceptions import BrokerFull, BrokerUnavailable
from django_taskq.job import State
from django_taskq.result import TaskResult
from tests.engine.proxy import Proxy
from tests.engine.support import Hand, configured
from tests.engine.tasks import add, hasty

Ids = Callable[..., list[str]]

TIMEOUT = 0.4  # seconds after which a call that has to fail is given up
LONG = 60.0  # seconds that nothing takes here, on however busy a machine


@contextmanager
def at(url: str, prefix: str, connect: float = LONG) -> Iterator[RedisBackend]:
    """The default backend at another address."""
    entry = configured(url, prefix, CONNECT_TIMEOUT=connect, SOCKET_TIMEOUT=LONG)
    with override_settings(TASKS={"default": entry}):
        yield task_backends["default"]
    get_server(url, connect, LONG).close()


@contextmanager
def hurried(backend: RedisBackend) -> Iterator[None]:
    """A block in which what fails is soon given up, though each try may take its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend.server, "connect_timeout", TIMEOUT)
        yield


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nothing listens, and that nobody else is given meanwhile."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        yield int(silent.getsockname()[1])


@pytest.fixture(params=["enqueue", "aenqueue"])
def send(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """enqueue() and aenqueue() in turn, as a function of task and arguments."""
    if request.param == "enqueue":
        return lambda task, *args: task.enqueue(*args)
    return lambda task, *args: asyncio.run(task.aenqueue(*args))


# --- nobody there ---------------------------------------------------------------------------------


def test_a_closed_port_is_reported_within_the_timeout(
    closed_port: int, prefix: str, send: Any
) -> None:
    with at(f"redis://user:secret@127.0.0.1:{closed_port}/0", prefix, TIMEOUT):
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            send(add, 1)
    assert time.monotonic() - begun < LONG / 2
    assert f"redis://127.0.0.1:{closed_port}/0" in str(caught.value)
    assert caught.value.address == f"redis://127.0.0.1:{closed_port}/0"
    assert "secret" not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose listener accepts nobody and has no room for more who wait."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
        for each in waiting:
            each.close()


def test_a_server_that_answers_nothing_is_reported_within_the_timeout(
    black_hole: int, prefix: str, send: Any
) -> None:
    with at(f"redis://127.0.0.1:{black_hole}/0", prefix, TIMEOUT) as here:
        assert here.server.connect_timeout == TIMEOUT
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            send(add, 1)
    assert TIMEOUT <= time.monotonic() - begun < LONG / 2
    assert caught.value.maybe_sent is False


def test_what_never_reached_the_server_was_not_sent(
    closed_port: int, prefix: str, send: Any, backend: RedisBackend, enqueued: Any
) -> None:
    nowhere = f"redis://127.0.0.1:{closed_port}/0"
    with at(nowhere, prefix, TIMEOUT), pytest.raises(BrokerUnavailable) as caught:
        send(add, 1)
    assert not caught.value.maybe_sent
    result = caught.value.result
    assert (result.args, result.enqueued_at) == ([1], None)
    again = send(add.using(id=result.id), 1)
    assert not again.duplicate
    assert enqueued() == [1]


def test_a_server_that_goes_away_is_reported_too(proxy: Proxy, prefix: str, send: Any) -> None:
    with at(proxy.url, prefix) as here:
        send(add, 1)
        proxy.close()
        with hurried(here), pytest.raises(BrokerUnavailable) as caught:
            send(add, 2)
    assert caught.value.result.args == [2]


def test_many_jobs_come_back_with_the_error(
    closed_port: int, prefix: str, backend: RedisBackend, enqueued: Any
) -> None:
    nowhere = f"redis://127.0.0.1:{closed_port}/0"
    with at(nowhere, prefix, TIMEOUT), pytest.raises(BrokerUnavailable) as caught:
        add.enqueue_many([(1,), (2,), (3,)])
    assert [result.args for result in caught.value.results] == [[1], [2], [3]]
    for result in caught.value.results:
        add.using(id=result.id).enqueue(*result.args)
    assert enqueued() == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_commit_without_redis_raises_with_the_results(
    proxy: Proxy, prefix: str, backend: RedisBackend, enqueued: Any
) -> None:
    def enqueue_two() -> None:
        with transaction.atomic():
            results.extend([add.enqueue(1), add.enqueue(2)])
            proxy.close()

    results: list[TaskResult] = []
    with at(proxy.url, prefix) as here:
        hasty.enqueue(0)
        with hurried(here), pytest.raises(BrokerUnavailable) as caught:
            enqueue_two()
    assert list(caught.value.results) == results
    add.using(id=results[1].id).enqueue(2)
    assert enqueued() == [0, 2]


def test_reading_says_it_too(closed_port: int, prefix: str, backend: RedisBackend) -> None:
    id = add.enqueue(1).id
    with at(f"redis://127.0.0.1:{closed_port}/0", prefix, TIMEOUT):
        with pytest.raises(BrokerUnavailable):
            add.get_result(id)
        with pytest.raises(BrokerUnavailable):
            asyncio.run(add.aget_result(id))


# --- a lost reply ---------------------------------------------------------------------------------


def test_a_lost_reply_is_asked_for_again(
    proxy: Proxy, prefix: str, send: Any, backend: RedisBackend, enqueued: Any
) -> None:
    with at(proxy.url, prefix) as here:
        send(add, 1)
        here.server.mend()
        proxy.losing = True
        proxy.meanwhile = lambda: None  # the next reply arrives
        result = send(add, 2)
    assert proxy.lost == 1
    assert not result.duplicate
    assert enqueued() == [1, 2]


def test_a_connection_that_broke_after_sending_may_have_sent(
    proxy: Proxy, prefix: str, send: Any, backend: RedisBackend, enqueued: Any
) -> None:
    with at(proxy.url, prefix) as here:
        here.broker.number("default")
        proxy.losing = True
        with hurried(here), pytest.raises(BrokerUnavailable) as caught:
            send(add, 1)
        proxy.losing = False
        assert proxy.lost
        assert caught.value.maybe_sent
        result = caught.value.result
        assert result.id.endswith(f".{here.broker.number('default')}")
        assert enqueued() == [1]
        again = send(add.using(id=result.id), 1)
    assert again.duplicate
    assert again.id == result.id
    assert enqueued() == [1]


def test_a_queue_that_was_never_asked_for_its_number_sent_nothing(
    proxy: Proxy, prefix: str, send: Any, backend: RedisBackend, enqueued: Any
) -> None:
    proxy.losing = True
    with (
        at(proxy.url, prefix) as here,
        hurried(here),
        pytest.raises(BrokerUnavailable) as caught,
    ):
        send(add, 1)
    assert proxy.lost
    assert not caught.value.maybe_sent
    assert enqueued() == []


def test_callers_of_one_round_trip_have_their_own_results(
    proxy: Proxy, prefix: str, backend: RedisBackend
) -> None:
    async def three() -> list[Any]:
        calls = (add.aenqueue(number) for number in range(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    with at(proxy.url, prefix) as here:
        here.broker.number("default")
        proxy.losing = True
        with hurried(here):
            errors = asyncio.run(three())
    assert [error.result.args for error in errors] == [[0], [1], [2]]
    assert all(error.maybe_sent for error in errors)


# --- full -----------------------------------------------------------------------------------------


@pytest.fixture
def _full(private: RedisBackend, hand_of_private: Hand) -> Iterator[None]:
    add.enqueue(1)
    private.server.command("CONFIG", "SET", "maxmemory", "1")
    yield
    private.server.command("CONFIG", "SET", "maxmemory", "0")


@pytest.fixture
def hand_of_private(private: RedisBackend) -> Hand:
    return Hand(private.broker)


@pytest.mark.usefixtures("_full")
def test_a_full_server_takes_nothing(private: RedisBackend, send: Any) -> None:
    with pytest.raises(BrokerFull, match="maxmemory") as caught:
        send(add, 2)
    assert caught.value.result.args == [2]
    ready = private.broker.key("default", "ready")
    assert private.server.command("ZCARD", ready) == 1
    assert private.server.command("HLEN", private.broker.key("default", "jobs")) == 1


@pytest.mark.usefixtures("_full")
def test_a_full_server_takes_none_of_many(private: RedisBackend) -> None:
    with pytest.raises(BrokerFull) as caught:
        add.enqueue_many([(2,), (3,)])
    assert [result.enqueued_at for result in caught.value.results] == [None, None]


@pytest.mark.usefixtures("_full")
def test_a_queue_that_is_new_is_refused_by_a_full_server(private: RedisBackend, send: Any) -> None:
    with pytest.raises(BrokerFull) as caught:
        send(add.using(queue_name="low"), 2)
    assert caught.value.result.args == [2]


@pytest.mark.usefixtures("_full")
def test_workers_drain_a_full_server(hand_of_private: Hand, private: RedisBackend) -> None:
    (outcome,) = hand_of_private.run()
    assert outcome.blob == b"1"
    result = private.get_result(outcome.grant.id)
    assert result.state is State.SUCCEEDED
    assert result.cancel() is False


def test_who_wants_to_listen_waits_no_longer_for_a_connection_than_others_do() -> None:
    """A supervisor has leases to renew; the long wait begins when the server has greeted."""
    with socket.create_server(("127.0.0.1", 0)) as mute:  # it takes calls, and says nothing
        server = make_server(f"redis://127.0.0.1:{mute.getsockname()[1]}/1", TIMEOUT, TIMEOUT)
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            Doorbell(server, ["timer"]).ask(60.0)
    assert time.monotonic() - begun < 60.0
