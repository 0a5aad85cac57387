"""Connections: how many there may be, and what a fork leaves of them."""

from __future__ import annotations

import asyncio
import os

from django_taskq.address import Address
from django_taskq.broker.aio import AsyncServer
from django_taskq.broker.connection import Server


def test_a_server_may_be_connected_to_any_number_of_times(server: Server) -> None:
    own = Server(server.url)
    for _ in range(150):
        assert own.command("PING") == b"PONG"
        own.close()


def test_an_async_server_may_be_connected_to_any_number_of_times(server: Server) -> None:
    async def many() -> None:
        for _ in range(150):
            own = AsyncServer(server)
            assert await own.command("PING") == b"PONG"
            await own._drop(*own._take_idle())

    asyncio.run(many())


def test_a_forked_child_has_connections_of_its_own(server: Server) -> None:
    own = Server(server.url)
    own.command("PING")
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(said, str(own.command("CLIENT", "ID")).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(heard, 100)) != own.command("CLIENT", "ID")
    own.close()
    os.close(heard)
    os.close(said)


def test_a_password_is_never_part_of_an_address() -> None:
    assert str(Address.parse("redis://user:s3cret@host:6379/1")) == "redis://host:6379/1"
    assert str(Address.parse("redis://host:6379/1")) == "redis://host:6379/1"


def test_timeouts_and_retries_are_ours_whatever_the_client_library_comes_with() -> None:
    connection = Server("redis://127.0.0.1:1/0", 1.5, 2.5).connect()

    assert connection.socket_connect_timeout == 1.5
    assert connection.socket_timeout == 2.5
    assert connection.retry.get_retries() == 0
    assert connection.retry_on_error == []
    assert connection.health_check_interval == 0
