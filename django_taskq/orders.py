"""The line from a supervisor to its child: an order is a line of JSON, and arrives whole."""

from __future__ import annotations

import socket
from typing import Any

import msgspec

MOST_UNSENT = 1 << 16  # bytes that wait for a child that does not read; then orders are dropped


class Giver:
    """The supervisor's end. Never blocks."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._unsent = b""

    def give(self, *order: object) -> bool:
        """Sends an order, now or later; False if it is dropped, because too much waits already."""
        if len(self._unsent) > MOST_UNSENT:
            return False
        self._unsent += msgspec.json.encode(order) + b"\n"
        self.flush()
        return True

    def flush(self) -> None:
        """Sends what there was no room for."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._end.send(self._unsent) :]
        except BlockingIOError:
            pass  # a part of a line may be on its way: the rest has to follow
        except OSError:
            self._unsent = b""  # the child is dead

    def close(self) -> None:
        self._end.close()


class Taker:
    """The child's end."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._begun = b""  # a line whose end has not come yet

    def fileno(self) -> int:
        return self._end.fileno()

    def take(self) -> list[Any]:
        """The orders that have come. Raises EOFError when the supervisor is gone."""
        try:
            data = self._end.recv(65536)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        *lines, self._begun = (self._begun + data).split(b"\n")
        return [msgspec.json.decode(line) for line in lines]
