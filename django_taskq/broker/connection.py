"""Connections to one server: how they are made, shared, and what is done when they break.

Everything sent here may be sent twice (all scripts are idempotent), so one reply that does not
come is asked for again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn
from weakref import WeakSet

import redis
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from ..exceptions import BrokerFull, BrokerUnavailable
from . import calls as wire
from . import embedded
from .calls import Arg, Call
from .secrecy import address_of, scrub, secrets_of
from .trips import Delivery, Row, Sent


def pool_options(connect_timeout: float, socket_timeout: float) -> dict[str, Any]:
    """What every connection is made with; redis-py's own defaults change between releases."""
    return {
        "socket_connect_timeout": connect_timeout,
        "socket_timeout": socket_timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def real_url(url: str) -> str:
    """What redis-py is given: an embedded server is started and named by its socket."""
    if not url.startswith("embedded:"):
        return url
    where = embedded.parse(url)
    return f"unix://{embedded.ensure(where.path, persist=where.persist)}"


class Server:
    """One Redis or Valkey server, as this process talks to it. Safe to use from any thread.

    ``connect_timeout``: seconds after which an unreachable server is given up;
    ``socket_timeout``: seconds a reply may take.
    """

    def __init__(self, url: str, connect_timeout: float = 2.0, socket_timeout: float = 5.0) -> None:
        self.url = url
        self.address = address_of(url)
        self.connect_timeout = connect_timeout
        self.socket_timeout = socket_timeout
        self._idle: deque[Any] = deque()
        self._factory: redis.ConnectionPool | None = None
        _all.add(self)

    # -- connections -----------------------------------------------------------------------------

    def connect(self, socket_timeout: float | None = None) -> Any:
        """A connection of the caller's own, not opened yet; None: the server's timeout."""
        factory = self._factory  # another thread may forget it meanwhile, see mend()
        if factory is None:
            factory = self._factory = redis.ConnectionPool.from_url(
                real_url(self.url), **pool_options(self.connect_timeout, self.socket_timeout)
            )
        # Not make_connection(), which counts what it ever made and refuses the hundredth.
        options = dict(factory.connection_kwargs)
        if socket_timeout is not None:
            options["socket_timeout"] = socket_timeout
        return factory.connection_class(**options)

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        """A pooled connection; one that broke is not put back."""
        connection = self._borrow()
        try:
            yield connection
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)

    def _borrow(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self.connect()

    def close(self) -> None:
        """Closes what is idle; the next call opens anew."""
        while self._idle:
            self._idle.pop().disconnect()

    # -- calls -----------------------------------------------------------------------------------

    def call(self, call: Call) -> Any:
        """The script's reply. Raises BrokerUnavailable or BrokerFull."""
        return self.call_many((call,))[0]

    def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """The replies of several scripts in one round trip, each atomic by itself.

        Raises BrokerUnavailable (``maybe_sent`` says whether they may have run) or BrokerFull.
        """
        delivery = Delivery(self)
        while True:
            connection = self._borrow()
            try:
                replies = delivery.run(connection, calls)
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                connection.disconnect()
                delivery.failed(error)
                continue
            except redis.ResponseError as error:
                self._idle.append(connection)
                self.refuse(error)
            except BaseException:
                connection.disconnect()
                raise
            self._idle.append(connection)
            return replies

    def stream(self, calls: Iterable[Call]) -> Iterator[Any]:
        """The replies of many calls, in order; each is sent before the one before it is read.

        All but the first, which loads the script, go through one connection: only so does the
        server take them in order. Raises BrokerUnavailable or BrokerFull at the first call that
        fails.
        """
        waiting = iter(calls)
        for first in waiting:
            yield self.call(first)
            yield from self._in_a_row(waiting)

    def _in_a_row(self, calls: Iterator[Call]) -> Iterator[Any]:
        row = Row(self)
        try:
            for call in calls:
                row.send(call)
                if len(row.unread) > 1:
                    yield row.read()
            while row.unread:
                yield row.read()
        finally:
            row.close()

    def begin(self, calls: Sequence[Call]) -> Sent:
        """Sends the calls and leaves their replies to be read later. Raises BrokerUnavailable."""
        connection = self._borrow()
        try:
            wire.send(connection, calls)
        except BaseException as error:
            connection.disconnect()
            if isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError):
                raise self.unavailable(error, maybe_sent=True) from error
            raise
        return Sent(self, connection, calls)

    def finish(self, connection: Any, calls: Sequence[Call]) -> list[Any]:
        """The replies to what ``begin`` sent."""
        try:
            replies = wire.receive(connection, calls)
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            connection.disconnect()
            raise self.unavailable(error, maybe_sent=True) from error
        except redis.ResponseError as error:
            self._idle.append(connection)
            self.refuse(error)
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)
        return replies

    def command(self, *command: Arg) -> Any:
        """The reply to a plain command; for what is no script (PUBLISH, INFO, PING)."""
        try:
            with self.borrowed() as connection:
                connection.send_command(*command)
                return connection.read_response()
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise self.unavailable(error, maybe_sent=True) from error

    # -- errors ----------------------------------------------------------------------------------

    def mend(self) -> None:
        """After a lost connection: an embedded server that died is started again.

        Raises BrokerUnavailable when it cannot be.
        """
        self.close()
        if self.url.startswith("embedded:"):
            try:
                embedded.revive(embedded.parse(self.url).path, timeout=self.connect_timeout)
            except ImproperlyConfigured as error:
                raise self.unavailable(error, maybe_sent=False) from error
            self._factory = None  # its socket may have moved

    def unavailable(self, error: BaseException, *, maybe_sent: bool) -> BrokerUnavailable:
        """The error to raise when the server cannot be reached."""
        scrub(error, secrets_of(self.url))
        return BrokerUnavailable(
            f"{self.address} cannot be reached: {describe(error)}",
            address=self.address,
            maybe_sent=maybe_sent,
        )

    def refuse(self, error: redis.ResponseError) -> NoReturn:
        """Raises what an error reply means to the caller."""
        scrub(error, secrets_of(self.url))
        text = str(error)
        if isinstance(error, redis.exceptions.OutOfMemoryError) or text.startswith("OOM"):
            raise BrokerFull(
                f"{self.address} is full (maxmemory reached): nothing was enqueued; "
                "workers go on and make room"
            ) from error
        if isinstance(error, redis.exceptions.ReadOnlyError) or text.startswith("MISCONF"):
            raise self.unavailable(error, maybe_sent=False) from error
        raise error


def describe(error: BaseException) -> str:
    """An error's message in one line, without what a URL may carry."""
    return str(error).split("\n", 1)[0] or type(error).__name__


_servers: dict[tuple[str, float, float], Server] = {}


def get_server(url: str, connect_timeout: float = 2.0, socket_timeout: float = 5.0) -> Server:
    """This process's one Server for a URL: pools are global, Django's backends are per thread."""
    key = (url, connect_timeout, socket_timeout)
    server = _servers.get(key)
    if server is None:
        server = _servers.setdefault(key, Server(*key))
    return server


def close_servers() -> None:
    """Closes every idle connection of this process; the next call opens anew."""
    for server in _all:
        server.close()


def _after_fork() -> None:
    """Sockets shared with the parent would mix up their replies.

    redis-py only closes the descriptor in a process that did not open it; the parent's connection
    stays open.
    """
    close_servers()


_all: WeakSet[Server] = WeakSet()
os.register_at_fork(after_in_child=_after_fork)
