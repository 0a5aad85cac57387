"""The same calls for async code, on redis.asyncio: one small pool per event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .broker import CHUNK, Broker, Draft
from .calls import NO_SCRIPT, Call
from .connection import Server, pool_options, real_url
from .replies import letters

Pending = tuple[Draft, "asyncio.Future[str]"]


class AsyncServer:
    """A Server as one event loop talks to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._idle: deque[Any] = deque()
        self._factory: redis.asyncio.ConnectionPool | None = None
        self._guard: AsyncIterator[None] | None = None
        self._pending: dict[tuple[Broker, str], list[Pending]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    # -- calls -----------------------------------------------------------------------------------

    async def call(self, call: Call) -> Any:
        """The script's reply. Raises BrokerUnavailable or BrokerFull as the sync call does."""
        begun = time.monotonic()
        sent = False
        failures = 0
        while True:
            connection = None
            try:
                connection = await self._borrow()
                sent = True
                reply = await self._exchange(connection, call)
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                await self._drop(connection, *self._take_idle())
                failures += 1
                left = self.server.connect_timeout - (time.monotonic() - begun)
                if left <= 0 or isinstance(error, redis.AuthenticationError):
                    raise self.server.unavailable(error, maybe_sent=sent) from error
                if failures > 1:
                    await asyncio.sleep(min(0.01 * 2**failures, 0.25, left))
                await asyncio.to_thread(self.server.mend)
            except redis.ResponseError as error:
                if connection is not None:
                    self._idle.append(connection)
                self.server.refuse(error)
            except BaseException:
                await self._drop(connection)
                raise
            else:
                self._idle.append(connection)
                return reply

    async def command(self, *command: str | bytes | int) -> Any:
        """The reply to a plain command. Raises BrokerUnavailable."""
        connection = None
        try:
            connection = await self._borrow()
            await connection.send_command(*command)
            reply = await connection.read_response()
        except BaseException as error:
            await self._drop(connection)
            if isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError):
                raise self.server.unavailable(error, maybe_sent=True) from error
            raise
        self._idle.append(connection)
        return reply

    async def _exchange(self, connection: Any, call: Call) -> Any:
        await connection.send_command(*call.by_sha())
        try:
            reply = await connection.read_response()
        except redis.exceptions.NoScriptError:
            reply = NO_SCRIPT
        if reply is NO_SCRIPT:
            await connection.send_command(*call.by_source())
            reply = await connection.read_response()
        return reply

    async def _borrow(self) -> Any:
        if self._idle:
            return self._idle.pop()
        if self._guard is None:
            self._guard = self._until_the_loop_ends()
            await anext(self._guard)
        factory = self._factory
        if factory is None:
            options = pool_options(self.server.connect_timeout, self.server.socket_timeout)
            options["retry"] = Retry(NoBackoff(), 0)
            url = await asyncio.to_thread(real_url, self.server.url)
            factory = self._factory = redis.asyncio.ConnectionPool.from_url(url, **options)
        connection: Any = factory.connection_class(**factory.connection_kwargs)
        await connection.connect()
        return connection

    async def _drop(self, *connections: Any) -> None:
        for connection in connections:
            if connection is not None:
                await connection.disconnect(nowait=True)

    def _take_idle(self) -> list[Any]:
        idle = list(self._idle)
        self._idle.clear()
        return idle

    async def _until_the_loop_ends(self) -> AsyncIterator[None]:
        """Closes the connections with the loop: asyncio.run() ends its open generators."""
        try:
            yield
        finally:
            await self._drop(*self._take_idle())
            self._factory = self._guard = None

    # -- enqueue: calls of the same moment share a round trip --------------------------------------

    async def enqueue(self, broker: Broker, queue: str, drafts: Sequence[Draft]) -> str:
        """Takes jobs in; a letter each, as Broker.enqueue."""
        loop = asyncio.get_running_loop()
        waiting = self._pending.get((broker, queue))
        if waiting is None:
            waiting = self._pending[broker, queue] = []
            loop.call_soon(self._flush, broker, queue)
        futures: list[asyncio.Future[str]] = []
        for draft in drafts:
            futures.append(loop.create_future())
            waiting.append((draft, futures[-1]))
        return "".join(await asyncio.gather(*futures))

    def _flush(self, broker: Broker, queue: str) -> None:
        waiting = self._pending.pop((broker, queue))
        for at in range(0, len(waiting), CHUNK):
            task = asyncio.ensure_future(self._send(broker, queue, waiting[at : at + CHUNK]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, broker: Broker, queue: str, batch: list[Pending]) -> None:
        try:
            reply = await self.call(broker.enqueue_call(queue, [draft for draft, _ in batch]))
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), letter in zip(batch, letters(reply), strict=True):
                if not future.done():
                    future.set_result(letter)


_servers: dict[asyncio.AbstractEventLoop, dict[Server, AsyncServer]] = {}


def async_server(server: Server) -> AsyncServer:
    """The running loop's AsyncServer for a Server."""
    loop = asyncio.get_running_loop()
    servers = _servers.get(loop)
    if servers is None:
        # Connections hold their loop, so no weak reference would ever let go of the old ones.
        for ended in [known for known in list(_servers) if known.is_closed()]:
            _servers.pop(ended, None)
        servers = _servers[loop] = {}
    found = servers.get(server)
    if found is None:
        found = servers[server] = AsyncServer(server)
    return found
