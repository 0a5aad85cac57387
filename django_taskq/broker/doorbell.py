"""Waiting without polling: a connection of its own that blocks until something is there."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from .calls import ASKING, Command
from .connection import Server
from .faults import Fault, fault_of
from .links import Place
from .replies import text

SLACK = 2.0  # seconds a server may be late with the answer "nothing came"
CALLS = (0.002, 0.01, 0.05, 0.2)  # seconds that each order to stop waiting has to be obeyed
# ValueError, AttributeError: the socket was closed by another thread while this one read.
LOST = (redis.RedisError, OSError, ValueError, AttributeError)


class Doorbell:
    """Waits for a token in one of some lists (``wake``, ``timer``).

    On a Cluster that takes a connection per queue. ``ask`` and ``answer`` are apart so that a
    loop can wait on ``fileno()`` for several things.
    """

    def __init__(self, server: Server, keys: Sequence[str]) -> None:
        self._server = server
        self._keys: list[str] = []
        self._lines: list[Line] = []
        self._gate: Gate | None = None
        self._patience = 0.0
        self.tune(keys)

    def tune(self, keys: Sequence[str]) -> None:
        """Waits for these from now on; what was asked before is forgotten if they are others."""
        if list(keys) == self._keys:
            return
        self.close()
        self._keys = list(keys)
        self._lines = [Line(self._server, group) for group in self._server.together(keys)]
        self._gate = Gate() if len(self._lines) > 1 else None

    @property
    def asked(self) -> bool:
        """Whether an answer is to be expected."""
        return bool(self._keys) and all(line.asked for line in self._lines)

    def ask(self, patience: float) -> None:
        """Asks for a token; the server answers at the latest after ``patience`` seconds.

        Raises BrokerUnavailable.
        """
        self._patience = patience
        if self._gate is not None:
            self._gate.shut()
        try:
            for line in self._lines:
                if not line.asked:
                    line.ask(patience, nameable=self._gate is not None)
        except LOST as error:
            self._broken(error)

    def answer(self) -> list[str]:
        """The keys whose tokens came, none when none did. Raises BrokerUnavailable.

        On a Cluster a key may be among them because its queue has moved: look there again.
        """
        try:
            if self._gate is None:
                return self._lines[0].read()
            ready = self._gate.wait(self._lines, self._patience + SLACK)
            keys = [key for line in ready for key in line.read()]
            return keys + self._call_off()
        except LOST as error:
            self._broken(error)
            raise  # for the type checker: _broken() raises

    def wait(self, patience: float) -> list[str]:
        """``ask`` and ``answer`` in one."""
        self.ask(patience)
        return self.answer()

    def fileno(self) -> int:
        """For a selector: readable when the answer is there."""
        if self._gate is None:
            return self._lines[0].fileno()
        return self._gate.watch(self._lines)

    def close(self) -> None:
        """Gives up; a thread that waits for the answer gets BrokerUnavailable."""
        for line in self._lines:
            line.close()
        if self._gate is not None:
            self._gate.open()

    def _call_off(self) -> list[str]:
        """Ends the other lines' waiting: a token that came to one of them must not lie there.

        They answer all the same, and if a token was faster it is among the keys.
        """
        waiting = [line for line in self._lines if line.asked]
        for line in waiting:
            line.call_off()
        return [key for line in waiting if line.asked for key in line.read()]

    def _broken(self, error: Exception) -> None:
        self.close()
        raise self._server.unavailable(error, maybe_sent=True) from error


class Line:
    """One connection that blocks on the lists of one node."""

    def __init__(self, server: Server, keys: list[str]) -> None:
        self._server = server
        self._keys = keys
        self._connection: Any = None
        self._place: Place | None = None  # where ASK said to ask
        self._id = 0  # the connection's, so that its waiting can be called off
        self.asked = False

    def ask(self, patience: float, *, nameable: bool) -> None:
        if self._connection is None:
            self._open(nameable=nameable)
        if self._place is not None:
            self._place = None
            # Not in one write: what is read ahead with this answer would make no file readable.
            self._connection.send_packed_command([ASKING])
            self._connection.read_response()
        self._connection.send_command("BLPOP", *self._keys, patience)
        # Only this answer may take longer than any other.
        socket_of(self._connection).settimeout(patience + SLACK)
        self.asked = True

    def _open(self, *, nameable: bool) -> None:
        if self._place is not None:
            connection = self._server.links.make(self._place)
        else:
            connection = self._server.connect(key=self._keys[0])
        self._connection = connection
        connection.connect()
        if nameable:
            connection.send_command("CLIENT", "ID")
            self._id = int(connection.read_response())

    def read(self) -> list[str]:
        """The key whose token came. On a Cluster all keys if they are elsewhere now."""
        connection = self._connection
        if connection is None:
            raise redis.ConnectionError("closed by another thread")
        try:
            reply = connection.read_response()
        except redis.ResponseError as error:
            self.close()
            if not self._server.is_cluster or fault_of(error) is not Fault.ELSEWHERE:
                raise
            self._place = self._server.recover(error)
            return list(self._keys)
        self.asked = False
        return [reply[0].decode()] if reply else []

    def call_off(self) -> None:
        """Has the server answer now, or closes the connection where that cannot be had.

        The order to stop waiting goes another way than the one to wait, and may be faster.
        """
        place = (self._connection.host, self._connection.port)
        order = Command("CLIENT", "UNBLOCK", self._id)
        try:
            for patience in CALLS:
                self._server.call_at(place, order)
                if self._connection.can_read(timeout=patience):
                    return
        except (redis.RedisError, OSError):
            pass
        self.close()

    def fileno(self) -> int:
        return fileno_of(self._connection)

    def close(self) -> None:
        connection, self._connection, self.asked = self._connection, None, False
        if connection is not None:
            connection.disconnect()


class Gate:
    """Waits for the first of several lines, until that or until it is opened."""

    def __init__(self) -> None:
        self._selector: Any = None
        self._ear, self._hammer = socket.socketpair()
        self._ear.setblocking(False)
        self._hammer.setblocking(False)

    def watch(self, lines: Sequence[Line]) -> int:
        """A file number that is readable when one of the lines is."""
        self._end()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._ear, selectors.EVENT_READ, None)
        for line in lines:
            self._selector.register(line.fileno(), selectors.EVENT_READ, line)
        return int(self._selector.fileno())

    def wait(self, lines: Sequence[Line], timeout: float) -> list[Line]:
        """The lines that have an answer, at least one. Raises ConnectionError."""
        self.watch(lines)
        found = [key.data for key, _ in self._selector.select(timeout)]
        if None in found:
            raise redis.ConnectionError("closed by another thread")
        if not found:
            raise redis.TimeoutError("no answer came")
        return found

    def open(self) -> None:
        """Ends a wait, at once or when it begins."""
        with suppress(BlockingIOError):
            self._hammer.send(b"!")

    def shut(self) -> None:
        """From here on there is something to wait for."""
        with suppress(BlockingIOError):
            self._ear.recv(1024)

    def _end(self) -> None:
        if self._selector is not None:
            self._selector.close()
            self._selector = None


class Ear:
    """Hears what is published on one channel. Any node of a Cluster will do."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._connection: Any = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self) -> None:
        """Subscribes. Raises BrokerUnavailable."""
        try:
            self._connection = self._server.connect()
            self._connection.send_command("SUBSCRIBE", self._channel)
            self._connection.read_response()
        except LOST as error:
            self._broken(error)

    def messages(self) -> list[str]:
        """What came since; call it when ``fileno()`` is readable. Raises BrokerUnavailable."""
        heard = []
        try:
            heard.append(self._connection.read_response())
            while self._connection.can_read(timeout=0):
                heard.append(self._connection.read_response())
        except LOST as error:
            self._broken(error)
        return [text(message[2]) for message in heard if message[0] == b"message"]

    def fileno(self) -> int:
        """For a selector."""
        return fileno_of(self._connection)

    def close(self) -> None:
        """Stops hearing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _broken(self, error: Exception) -> None:
        self.close()
        raise self._server.unavailable(error, maybe_sent=True) from error


def socket_of(connection: Any) -> socket.socket:
    """The socket of a connection; redis-py has no public name for it."""
    found: socket.socket = connection._sock
    return found


def fileno_of(connection: Any) -> int:
    """For a selector."""
    return socket_of(connection).fileno()
