"""Waiting without polling: a connection of its own that blocks until something is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from .connection import Server

SLACK = 2.0  # seconds a server may be late with the answer "nothing came"


class Doorbell:
    """Waits for a token in one of some lists (``wake``, ``timer``).

    ``ask`` and ``answer`` are apart so that a loop can wait on ``fileno()`` for several things.
    """

    def __init__(self, server: Server, keys: Sequence[str]) -> None:
        self._server = server
        self._keys = list(keys)
        self._connection: Any = None
        self.asked = False

    def ask(self, patience: float) -> None:
        """Asks for a token; the server answers at the latest after ``patience`` seconds."""
        if self._connection is None:
            self._connection = self._server.connect(socket_timeout=patience + SLACK)
        with self._broken():
            self._connection.send_command("BLPOP", *self._keys, patience)
        self.asked = True

    def answer(self) -> str | None:
        """The key whose token came, None when none did. Raises BrokerUnavailable."""
        with self._broken():
            reply = self._connection.read_response()
        self.asked = False
        return reply[0].decode() if reply else None

    def wait(self, patience: float) -> str | None:
        """``ask`` and ``answer`` in one."""
        self.ask(patience)
        return self.answer()

    def fileno(self) -> int:
        """For a selector: readable when the answer is there."""
        return fileno_of(self._connection)

    def close(self) -> None:
        """Gives up; a thread that waits for the answer gets BrokerUnavailable."""
        connection, self._connection, self.asked = self._connection, None, False
        if connection is not None:
            connection.disconnect()

    def _broken(self) -> _Broken:
        return _Broken(self)


class Ear:
    """Hears what is published on one channel."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._connection: Any = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self) -> None:
        """Subscribes. Raises BrokerUnavailable."""
        self._connection = self._server.connect()
        with _Broken(self):
            self._connection.send_command("SUBSCRIBE", self._channel)
            self._connection.read_response()

    def messages(self) -> list[str]:
        """What came since; call it when ``fileno()`` is readable. Raises BrokerUnavailable."""
        heard = []
        with _Broken(self):
            heard.append(self._connection.read_response())
            while self._connection.can_read(timeout=0):
                heard.append(self._connection.read_response())
        return [message[2].decode() for message in heard if message[0] == b"message"]

    def fileno(self) -> int:
        """For a selector."""
        return fileno_of(self._connection)

    def close(self) -> None:
        """Stops hearing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()


class _Broken:
    """Closes what broke and raises BrokerUnavailable for it."""

    def __init__(self, owner: Doorbell | Ear) -> None:
        self.owner = owner

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            return
        server = self.owner._server
        self.owner.close()
        lost = (redis.RedisError, OSError, ValueError, AttributeError)  # closed by another thread
        if isinstance(error, lost):
            raise server.unavailable(error, maybe_sent=True) from error


def fileno_of(connection: Any) -> int:
    """The socket of a connection; redis-py has no public name for it."""
    return int(connection._sock.fileno())
