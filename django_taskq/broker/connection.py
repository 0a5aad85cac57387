"""Connections to one server: how they are made, shared, and what is done when they break.

Everything sent here may be sent twice (all scripts are idempotent), so one reply that does not
come is asked for again. What a Cluster does otherwise is in ``cluster.py``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import redis
from django.core.exceptions import ImproperlyConfigured

from ..address import Address
from ..exceptions import BrokerError, BrokerFull, BrokerUnavailable
from . import calls as wire
from . import embedded, sentinel
from .calls import Arg, Call, Command
from .faults import LOST_ERRORS, Fault, describe, fault_of
from .links import Links, Place
from .secrecy import scrub, secrets_of
from .trips import Delivery, Row, Sent

REDIRECT_TIMEOUT = 60.0  # seconds a call is tried while the slot of its queue moves


def real_url(url: str) -> str:
    """A URL that any client understands: an embedded server is started and named by its socket."""
    if not url.startswith("embedded:"):
        return url
    where = embedded.parse(url)
    return f"unix://{embedded.ensure(where.path, persist=where.persist)}"


class Server:
    """One Redis or Valkey server, as this process talks to it. Safe to use from any thread.

    ``connect_timeout``: seconds after which an unreachable server is given up;
    ``socket_timeout``: seconds a reply may take; ``redirect_timeout``: seconds a call is tried
    while its slot moves (on a Cluster).
    """

    is_cluster = False

    def __init__(
        self,
        url: str,
        connect_timeout: float = 2.0,
        socket_timeout: float = 5.0,
        redirect_timeout: float = REDIRECT_TIMEOUT,
    ) -> None:
        self.url = url
        self.parts = Address.parse(url)
        self.address = str(self.parts)
        self._secrets = secrets_of(self.parts)
        self.connect_timeout = connect_timeout
        self.socket_timeout = socket_timeout
        self.redirect_timeout = redirect_timeout
        self.links = Links(self.parts, connect_timeout, socket_timeout)
        self._idle: deque[Any] = deque()
        self._place: Place | None = None
        _all.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"

    # -- where it is -----------------------------------------------------------------------------

    def place(self, key: str = "") -> Place:
        """Where a key lives; may ask the network. Raises ConnectionError."""
        place = self._place  # another thread may forget it meanwhile, see mend()
        if place is None:
            place = self._place = self._find()
        return place

    def all_places(self) -> list[Place]:
        """Every master that keeps jobs; may ask the network. Raises ConnectionError."""
        return [self.place()]

    def known_place(self, key: str = "") -> Place | None:
        """As ``place()``, without asking anybody."""
        return self._place

    def _find(self) -> Place:
        parts = self.parts
        if parts.scheme == "embedded":
            where = embedded.parse(self.url)
            return str(embedded.ensure(where.path, persist=where.persist))
        if parts.is_sentinel:
            return sentinel.find_master(self)
        return parts.path or parts.hosts[0]

    def together(self, keys: Sequence[str]) -> list[list[str]]:
        """The keys in groups, each of which one blocking command can read."""
        return [list(keys)]

    # -- connections -----------------------------------------------------------------------------

    def connect(self, key: str = "") -> Any:
        """A connection of the caller's own, not opened yet."""
        return self.links.make(self.place(key))

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        """A pooled connection; one that broke is not put back."""
        connection = self._borrow()
        try:
            yield connection
        except BaseException:
            connection.disconnect()
            raise
        self.give_back(connection)

    def borrow_for(self, call: Call) -> Any:
        """A pooled connection to where the call belongs."""
        return self._borrow()

    def _take(self, place: Place) -> Any:
        return self._borrow()

    def _borrow(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self.connect()

    def give_back(self, connection: Any) -> None:
        """Puts a connection back whose replies were all read."""
        self._idle.append(connection)

    def close(self) -> None:
        """Closes what is idle; the next call opens anew."""
        while self._idle:
            self._idle.pop().disconnect()

    def forked(self) -> None:
        """In a child: what another thread of the parent was doing is not done here."""
        self.close()

    # -- calls -----------------------------------------------------------------------------------

    def call(self, call: Call) -> Any:
        """The script's reply. Raises BrokerUnavailable or BrokerFull."""
        (reply,) = self._deliver((call,), Delivery(self))
        return value_of(reply)

    def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """The replies of several scripts in one round trip, each atomic by itself.

        Raises BrokerUnavailable (``maybe_sent`` says whether they may have run) or BrokerFull.
        """
        return [value_of(reply) for reply in self.call_each(calls)]

    def call_each(self, calls: Sequence[Call]) -> list[Any]:
        """As ``call_many``, with what a call would raise in the place of its reply."""
        try:
            return self._deliver(calls, Delivery(self))
        except BrokerUnavailable as error:
            return [error] * len(calls)

    def call_again(self, call: Call, unsure_since: float) -> Any:
        """As ``call()``, of one that was sent (monotonic; 0: it was not) and not answered."""
        (reply,) = self._deliver((call,), Delivery(self, unsure_since))
        return value_of(reply)

    def _deliver(self, calls: Sequence[Call], delivery: Delivery) -> list[Any]:
        while True:
            connection = None
            try:
                connection = self._borrow()
                replies = delivery.run(connection, calls)
            except LOST_ERRORS as error:
                if connection is not None:
                    connection.disconnect()
                delivery.rest_after(error, calls)
            except redis.ResponseError as error:
                self._idle.append(connection)
                delivery.rest_after(error, calls)
            except BaseException:
                if connection is not None:
                    connection.disconnect()
                raise
            else:
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
        connection = None
        try:
            connection = self._borrow()
            wire.send(connection, calls)
        except BaseException as error:
            if connection is not None:
                connection.disconnect()
            if isinstance(error, LOST_ERRORS):
                raise self.unavailable(error, maybe_sent=True) from error
            raise
        return Sent(self, connection, calls)

    def finish(self, connection: Any, calls: Sequence[Call]) -> list[Any]:
        """A reply or an error per call that ``begin`` sent."""
        try:
            replies = wire.receive_each(connection, calls)
        except LOST_ERRORS as error:
            connection.disconnect()
            return [self.unavailable(error, maybe_sent=True)] * len(calls)
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)
        for at, reply in enumerate(replies):
            if isinstance(reply, redis.ResponseError):
                replies[at] = self.meaning(reply)
        return replies

    def call_at(self, place: Place, call: Call) -> Any:
        """The reply of one node, whatever lives there; tried once. Raises redis-py's errors."""
        connection = self._take(place)
        try:
            wire.send(connection, (call,))
            (reply,) = wire.receive_each(connection, (call,))
        except BaseException:
            connection.disconnect()
            raise
        self.give_back(connection)
        if isinstance(reply, redis.ResponseError):
            raise reply
        return reply

    def command(self, *words: Arg) -> Any:
        """The reply to a plain command; for what is no script (PUBLISH, INFO, PING).

        Like a script it may be sent twice.
        """
        return self.call(Command(*words))

    # -- errors ----------------------------------------------------------------------------------

    def recover(self, error: BaseException) -> Place | None:
        """Does what the error asks for before another try; where to ask this once, if it says."""
        self.mend()
        return None

    def mend(self) -> None:
        """After a lost connection: finds the server anew; an embedded one is started again.

        Raises BrokerUnavailable when it cannot be.
        """
        self.close()
        if self.url.startswith("embedded:"):
            try:
                embedded.revive(embedded.parse(self.url).path, timeout=self.connect_timeout)
            except ImproperlyConfigured as error:
                raise self.unavailable(error, maybe_sent=False) from error
        self._place = None  # a socket may have moved, Sentinels may have made another the master

    def unavailable(self, error: BaseException, *, maybe_sent: bool) -> BrokerUnavailable:
        """The error to raise when the server cannot be reached."""
        if isinstance(error, BrokerUnavailable):
            return error
        scrub(error, self._secrets)
        meant = BrokerUnavailable(
            f"{self.address} cannot be reached: {describe(error)}",
            address=self.address,
            maybe_sent=maybe_sent,
        )
        meant.__cause__ = error
        return meant

    def meaning(self, error: BaseException) -> BaseException:
        """What an error reply means to the caller."""
        scrub(error, self._secrets)
        meant: BaseException = error
        if isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith("OOM"):
            meant = BrokerFull(
                f"{self.address} is full (maxmemory reached): nothing was enqueued; "
                "workers go on and make room"
            )
        elif isinstance(error, redis.exceptions.AskError) and not self.is_cluster:
            hint = "it is a node of a Cluster: set redis+cluster://host:port as the URL"
            meant = self.unavailable(redis.RedisError(hint), maybe_sent=False)
        elif isinstance(error, redis.exceptions.NoPermissionError):
            meant = BrokerError(
                f"{self.address} does not let its user do this: {describe(error)}; "
                "docs/servers.md says which rights are needed"
            )
        elif fault_of(error) is not Fault.FINAL:
            return self.unavailable(error, maybe_sent=False)
        if meant is not error:
            meant.__cause__ = error
        return meant


def value_of(reply: Any) -> Any:
    """A reply; raises what stands in its place."""
    if isinstance(reply, BaseException):
        raise reply
    return reply


_servers: dict[tuple[str, float, float, float], Server] = {}


def make_server(url: str, *timeouts: float) -> Server:
    """A Server of one's own for a URL, of whatever kind that names."""
    from .cluster import ClusterServer  # which is built on this module

    kind = ClusterServer if Address.parse(url).is_cluster else Server
    return kind(url, *timeouts)


def get_server(
    url: str,
    connect_timeout: float = 2.0,
    socket_timeout: float = 5.0,
    redirect_timeout: float = REDIRECT_TIMEOUT,
) -> Server:
    """This process's one Server for a URL: pools are global, Django's backends are per thread."""
    key = (url, connect_timeout, socket_timeout, redirect_timeout)
    server = _servers.get(key)
    if server is None:
        server = _servers.setdefault(key, make_server(*key))
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
    for server in _all:
        server.forked()


_all: WeakSet[Server] = WeakSet()
os.register_at_fork(after_in_child=_after_fork)
