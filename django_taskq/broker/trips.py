"""Round trips of a server's calls: tried again, read later, or sent one behind the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from ..exceptions import BrokerUnavailable
from . import calls as wire
from .calls import Call

if TYPE_CHECKING:
    from .connection import Server


class Delivery:
    """One call on its way: how often it was sent, and whether it may be sent again.

    A pooled connection may have been closed by the server long ago, so the first failure is
    followed by a try on a fresh one at once; then it is tried until the connect timeout is over.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.begun = time.monotonic()
        self.sent = False
        self.failures = 0

    def run(self, connection: Any, calls: Sequence[Call]) -> list[Any]:
        if not connection.is_connected:
            connection.connect()
        self.sent = True
        return wire.exchange(connection, calls)

    def failed(self, error: BaseException) -> None:
        """Returns when it is worth another try; raises BrokerUnavailable when it is not."""
        self.failures += 1
        left = self.server.connect_timeout - (time.monotonic() - self.begun)
        rejected = isinstance(error, redis.AuthenticationError | redis.exceptions.BusyLoadingError)
        if rejected and self.failures == 1:
            self.sent = False
        if rejected or left <= 0:
            raise self.server.unavailable(error, maybe_sent=self.sent) from error
        if self.failures > 1:
            time.sleep(min(0.01 * 2**self.failures, 0.25, left))
        self.server.mend()


class Sent:
    """Calls whose replies were not read yet; the connection is theirs until then."""

    def __init__(self, server: Server, connection: Any, calls: Sequence[Call]) -> None:
        self._server = server
        self._connection = connection
        self._calls = calls

    def replies(self) -> list[Any]:
        """The replies, in order. Raises BrokerUnavailable or BrokerFull."""
        return self._server.finish(self._connection, self._calls)

    def abandon(self) -> None:
        """Closes the connection; nobody will read the replies."""
        self._connection.disconnect()


class Row:
    """Calls sent one behind the other on one connection; once that is lost, each by itself."""

    def __init__(self, server: Server) -> None:
        self.unread: deque[Call] = deque()
        self._server = server
        self._connection: Any = server._borrow()

    def send(self, call: Call) -> None:
        self.unread.append(call)
        if self._connection is not None:
            with self._losable():
                wire.send(self._connection, (call,))

    def read(self) -> Any:
        """The reply to the oldest call. Raises BrokerUnavailable or BrokerFull."""
        call = self.unread.popleft()
        if self._connection is not None:
            with self._losable():
                return self._connection.read_response()
        try:
            return self._server.call(call)
        except BrokerUnavailable as error:
            error.maybe_sent = True  # on the connection that was lost
            raise

    def close(self) -> None:
        if self._connection is not None and not self.unread:
            self._server._idle.append(self._connection)
        elif self._connection is not None:
            self._connection.disconnect()
        self._connection = None

    @contextmanager
    def _losable(self) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, OSError, redis.ResponseError):
            # Also for an error reply: asked again by itself it is raised as what it means.
            self._connection.disconnect()
            self._connection = None
