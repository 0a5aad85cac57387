"""Round trips of a server's calls: tried again, read later, or sent one behind the other."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from ..exceptions import BrokerUnavailable
from . import calls as wire
from .calls import Call
from .faults import LOST_ERRORS, Fault, fault_of
from .links import Place

if TYPE_CHECKING:
    from .connection import Server

RESEND_WINDOW = 10.0  # seconds, as in common.lua: what scripts remember of a call for certain
MARGIN = 1.0  # of them, for the way to the server
LONGEST_REST = 0.25  # seconds between two tries


class Delivery:
    """Calls on their way: how often they were sent, and whether they may be sent again.

    What was refused has not been carried out, and may be sent again at any time: until the
    connect timeout is over, and for the server's ``redirect_timeout`` while a slot moves. What
    was sent and not answered may have been carried out: that is sent again only for as long as
    the scripts know it again for certain.
    """

    __slots__ = ("_departed", "_unsure_since", "begun", "failures", "server")

    def __init__(self, server: Server, unsure_since: float = 0.0) -> None:
        self.server = server
        self.begun = time.monotonic()
        self.failures = 0
        self._departed = 0.0  # when the last try was sent; 0: it was not
        self._unsure_since = unsure_since  # when one was sent first that got no answer

    def run(self, connection: Any, calls: Sequence[Call], *, asking: bool = False) -> list[Any]:
        """A reply or what its error means per call; raises what may pass if they are sent again."""
        if not connection.is_connected:
            connection.connect()
        self.departs()
        replies = wire.exchange(connection, calls, asking=asking)
        for at, reply in enumerate(replies):
            if isinstance(reply, redis.ResponseError):
                if not self._is_final(reply):
                    raise reply
                replies[at] = self.server.meaning(reply)
        return replies

    def _is_final(self, error: BaseException) -> bool:
        fault = fault_of(error)
        return fault is Fault.FINAL or (fault is Fault.ELSEWHERE and not self.server.is_cluster)

    def departs(self) -> None:
        """To be called when the connection is open and the calls are about to be sent."""
        self._departed = time.monotonic() if self.failures else self.begun
        if self._unsure_since and self._departed > self._unsure_since + RESEND_WINDOW - MARGIN:
            raise self.server.unavailable(
                redis.TimeoutError("no answer came for so long that it is not asked again"),
                maybe_sent=True,
            )

    def failed(self, error: BaseException, calls: Sequence[Call]) -> float:
        """Seconds to rest before the next try.

        Raises what the error means when there is none: BrokerUnavailable, BrokerFull, or the
        error itself.
        """
        if self._is_final(error):
            raise self.server.meaning(error)
        fault = fault_of(error)
        self.failures += 1
        # Of several calls one may have been refused, the others not.
        if self._departed and (fault is Fault.LOST or len(calls) > 1):
            self._unsure_since = self._unsure_since or self._departed
        self._departed = 0.0
        left = self._left(fault)
        if left <= 0 or fault is Fault.DENIED:
            maybe_sent = self._unsure_since > 0
            raise self.server.unavailable(error, maybe_sent=maybe_sent) from error
        at_once = self.failures == 1 or (is_redirection(error) and self.failures < 5)
        return 0.0 if at_once and fault is not Fault.NOT_NOW else min(self._rest(), left)

    def rest_after(self, error: BaseException, calls: Sequence[Call]) -> Place | None:
        """As ``failed``, and rests; where to ask this once, if the error says."""
        rest = self.failed(error, calls)
        if rest:
            time.sleep(rest)
        try:
            return self.server.recover(error)
        except BrokerUnavailable as away:
            self.failed_to_recover(away)
            return None

    def failed_to_recover(self, away: BrokerUnavailable) -> None:
        """Nobody could be asked either: the next try, if there is time for one, finds out."""
        if self._left(Fault.LOST) <= 0:
            away.maybe_sent = self._unsure_since > 0
            raise away

    def _left(self, fault: Fault) -> float:
        server = self.server
        patience = server.redirect_timeout if fault is Fault.ELSEWHERE else server.connect_timeout
        end = self.begun + patience
        if self._unsure_since:
            end = min(end, self._unsure_since + RESEND_WINDOW - MARGIN)
        return end - time.monotonic()

    def _rest(self) -> float:
        longest = min(0.01 * 2 ** min(self.failures, 10), LONGEST_REST)
        return random.uniform(longest / 2, longest)


def is_redirection(error: BaseException) -> bool:
    """MOVED or ASK, which say where to ask at once; TRYAGAIN does not."""
    return isinstance(error, redis.exceptions.AskError)


class Sent:
    """Calls whose replies were not read yet; the connection is theirs until then."""

    def __init__(self, server: Server, connection: Any, calls: Sequence[Call]) -> None:
        self._server = server
        self._connection = connection
        self._calls = calls

    def replies(self) -> list[Any]:
        """A reply or an error per call, in order: BrokerUnavailable, BrokerFull or what it is."""
        return self._server.finish(self._connection, self._calls)

    def abandon(self) -> None:
        """Closes the connection; nobody will read the replies."""
        self._connection.disconnect()


class Row:
    """Calls sent one behind the other on one connection; once that is lost, each by itself."""

    def __init__(self, server: Server) -> None:
        self.unread: deque[tuple[Call, float]] = deque()  # and when it was sent; 0: it was not
        self._server = server
        self._connection: Any = None
        self._begun = False

    def send(self, call: Call) -> None:
        if not self._begun:
            self._begun = True
            with self._losable():
                self._connection = self._server.borrow_for(call)
        departed = 0.0
        if self._connection is not None:
            with self._losable():
                departed = time.monotonic()
                wire.send(self._connection, (call,))
        self.unread.append((call, departed))

    def read(self) -> Any:
        """The reply to the oldest call. Raises BrokerUnavailable or BrokerFull."""
        call, departed = self.unread.popleft()
        if self._connection is not None:
            with self._losable():
                reply = wire.read(self._connection, call)
                if isinstance(reply, redis.ResponseError):
                    raise reply
                if reply is not wire.NO_SCRIPT:
                    return reply
                raise redis.ConnectionError("the server has forgotten the script")
        return self._server.call_again(call, departed)

    def close(self) -> None:
        if self._connection is not None and not self.unread:
            self._server.give_back(self._connection)
        elif self._connection is not None:
            self._connection.disconnect()
        self._connection = None

    @contextmanager
    def _losable(self) -> Iterator[None]:
        try:
            yield
        except (*LOST_ERRORS, redis.ResponseError):
            # Also for an error reply: asked again by itself it is raised as what it means.
            if self._connection is not None:
                self._connection.disconnect()
            self._connection = None
