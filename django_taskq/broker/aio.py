"""The same calls for async code, on redis.asyncio: one small pool per event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import redis

from ..exceptions import BrokerUnavailable
from .broker import CHUNK, Broker, Draft, needs_confirmation
from .calls import ASKING, NO_SCRIPT, Arg, Call, Command
from .connection import Server
from .faults import LOST_ERRORS
from .links import Place
from .replies import Answer, answers, letters, unconfirmed
from .trips import Delivery

Pending = tuple[Draft, "asyncio.Future[Answer]"]


class AsyncServer:
    """A Server as one event loop talks to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._idle: dict[Place, deque[Any]] = {}
        self._guard: AsyncIterator[None] | None = None
        self._pending: dict[tuple[Broker, str], list[Pending]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    # -- calls -----------------------------------------------------------------------------------

    async def call(self, call: Call) -> Any:
        """The script's reply. Raises BrokerUnavailable or BrokerFull as the sync call does."""
        delivery = Delivery(self.server)
        once: Place | None = None  # where to ask this once
        place: Place | None = None
        while True:
            connection = None
            try:
                place = once or await self._place_of(call)
                connection = await self._borrow(place)
                delivery.departs()
                reply = await self._exchange(connection, call, asking=once is not None)
            except LOST_ERRORS as error:
                await self._drop(connection, *self._take_idle(place))
                once = await self._rest_after(delivery, error, call)
            except redis.ResponseError as error:
                self._give_back(place, connection)
                once = await self._rest_after(delivery, error, call)
            except BaseException:
                await self._drop(connection)
                raise
            else:
                self._give_back(place, connection)
                return reply

    async def command(self, *words: Arg) -> Any:
        """The reply to a plain command, which may be sent twice. Raises BrokerUnavailable."""
        return await self.call(Command(*words))

    async def _place_of(self, call: Call) -> Place:
        key = call.keys[0] if call.keys else ""
        place = self.server.known_place(key)
        return await asyncio.to_thread(self.server.place, key) if place is None else place

    async def _rest_after(
        self, delivery: Delivery, error: BaseException, call: Call
    ) -> Place | None:
        """As Delivery.rest_after(), without blocking the loop."""
        rest = delivery.failed(error, (call,))
        if rest:
            await asyncio.sleep(rest)
        try:
            return await asyncio.to_thread(self.server.recover, error)
        except BrokerUnavailable as away:
            delivery.failed_to_recover(away)
            return None

    async def _exchange(self, connection: Any, call: Call, *, asking: bool) -> Any:
        if asking:
            await connection.send_packed_command(ASKING + call.pack_source())
            await connection.read_response()
        else:
            await connection.send_packed_command(call.pack())
        reply = await self._read(connection, call)
        if reply is NO_SCRIPT:
            await connection.send_packed_command(call.pack_source())
            reply = await self._read(connection, call)
        if isinstance(reply, redis.ResponseError):
            raise reply
        return reply

    async def _read(self, connection: Any, call: Call) -> Any:
        """As calls.read()."""
        reply: Any
        try:
            reply = await connection.read_response()
        except redis.exceptions.NoScriptError:
            reply = NO_SCRIPT
        except redis.ResponseError as error:
            reply = error
        if call.wait is not None:
            try:
                call.unconfirmed = not call.wait.is_met(await connection.read_response())
            except redis.ResponseError as error:
                call.unconfirmed = call.wait.failed(error)
        return reply

    async def _borrow(self, place: Place) -> Any:
        idle = self._idle.get(place)
        if idle:
            return idle.pop()
        if self._guard is None:
            self._guard = self._until_the_loop_ends()
            await anext(self._guard)
        connection = self.server.links.make_async(place)
        await connection.connect()
        return connection

    def _give_back(self, place: Place | None, connection: Any) -> None:
        if place is not None and connection is not None:
            self._idle.setdefault(place, deque()).append(connection)

    async def _drop(self, *connections: Any) -> None:
        for connection in connections:
            if connection is not None:
                await connection.disconnect(nowait=True)

    def _take_idle(self, place: Place | None = None) -> list[Any]:
        """Every idle connection to a place, or to all; they are nobody's then."""
        places = list(self._idle) if place is None else [place]
        return [one for each in places for one in self._idle.pop(each, ())]

    async def _until_the_loop_ends(self) -> AsyncIterator[None]:
        """Closes the connections with the loop: asyncio.run() ends its open generators."""
        try:
            yield
        finally:
            await self._drop(*self._take_idle())
            self._guard = None

    # -- enqueue: calls of the same moment share a round trip --------------------------------------

    async def enqueue(self, broker: Broker, queue: str, drafts: Sequence[Draft]) -> list[Answer]:
        """Takes jobs in; an answer each."""
        loop = asyncio.get_running_loop()
        waiting = self._pending.get((broker, queue))
        if waiting is None:
            waiting = self._pending[broker, queue] = []
            loop.call_soon(self._flush, broker, queue)
        futures: list[asyncio.Future[Answer]] = []
        for draft in drafts:
            futures.append(loop.create_future())
            waiting.append((draft, futures[-1]))
        return await asyncio.gather(*futures)

    def _flush(self, broker: Broker, queue: str) -> None:
        waiting = self._pending.pop((broker, queue))
        for at in range(0, len(waiting), CHUNK):
            task = asyncio.ensure_future(self._send(broker, queue, waiting[at : at + CHUNK]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _enqueue(self, broker: Broker, queue: str, drafts: Sequence[Draft]) -> str:
        call = broker.enqueue_call(queue, drafts)
        found = letters(await self.call(call))
        if needs_confirmation(call, found):
            call = broker.confirm_call(queue)
            await self.call(call)
        return unconfirmed(found) if call.unconfirmed else found

    async def _send(self, broker: Broker, queue: str, batch: list[Pending]) -> None:
        try:
            found = await self._enqueue(broker, queue, [draft for draft, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), answer in zip(batch, answers(found), strict=True):
                if not future.done():
                    future.set_result(answer)


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
