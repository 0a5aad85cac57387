"""Who waits for a job's end: one subscriber per process for all of its ``get()`` calls.

A waiter is woken when its job's id is published, and whenever it should look for itself: once
its channel is subscribed, and after the connection was lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import redis

from ..exceptions import BrokerUnavailable
from .connection import Server

Wake = Callable[[], None]

# ValueError, AttributeError: the socket was closed by another thread while this one read.
LOST = (redis.RedisError, OSError, BrokerUnavailable, ValueError, AttributeError)
IDLE = 30.0  # seconds without a waiter after which the thread ends


class Endings:
    """The subscriber of one server. Safe to use from any thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """As nobody waits; also in a forked child, which must not touch its parent's socket."""
        self._lock = threading.Lock()
        self._waiters: dict[tuple[str, str], set[Wake]] = {}
        self._confirmed: set[str] = set()
        self._connection: Any = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def waiting(self, channel: str, id: str, wake: Wake) -> Iterator[None]:
        """Calls ``wake`` from another thread, perhaps more than once, until the block is left."""
        key = (channel, id)
        with self._lock:
            self._waiters.setdefault(key, set()).add(wake)
            self._attend(channel)
        try:
            yield
        finally:
            with self._lock:
                self._waiters[key].discard(wake)
                if not self._waiters[key]:
                    del self._waiters[key]

    def _attend(self, channel: str) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="taskq-endings", daemon=True)
            self._thread.start()
        elif self._connection is not None and channel not in self._confirmed:
            self._subscribe(self._connection, channel)

    def _subscribe(self, connection: Any, channel: str) -> None:
        # The reading thread notices a lost connection too, and subscribes everything again;
        # redis-py would silently open another one, on which the other channels are missing.
        if connection.is_connected:
            with suppress(redis.RedisError, OSError):
                connection.send_command("SSUBSCRIBE", channel)

    def _run(self) -> None:
        failures = 0
        while True:
            try:
                connection = self._open()
                failures = 0
                self._listen(connection)
                if self._retire():
                    return
            except LOST:
                failures += 1
                self._close()
                if not self._waiters and self._retire():
                    return
                time.sleep(min(0.05 * 2 ** min(failures, 10), 2.0))
                with suppress(BrokerUnavailable):
                    self._server.mend()

    def _open(self) -> Any:
        self._close()
        connection = self._server.connect(socket_timeout=5.0)
        connection.connect()
        with self._lock:
            self._connection = connection
            channels = {channel for channel, _ in self._waiters}
            for channel in channels:
                self._subscribe(connection, channel)
        return connection

    def _listen(self, connection: Any) -> None:
        """Returns once nobody has waited for a while."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < IDLE:
            if not connection.is_connected:
                raise redis.ConnectionError("lost while a channel was being subscribed")
            if connection.can_read(timeout=1.0):
                self._hear(connection.read_response())
            if self._waiters:
                idle_since = time.monotonic()

    def _close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.disconnect()
            self._connection = None
            self._confirmed.clear()

    def _retire(self) -> bool:
        """Ends the thread unless somebody came in the meantime."""
        with self._lock:
            if self._waiters:
                return False
            if self._connection is not None:
                self._connection.disconnect()
            self._connection = self._thread = None
            self._confirmed.clear()
            return True

    def _hear(self, message: list[Any]) -> None:
        kind, channel = message[0], message[1].decode()
        if kind == b"ssubscribe":
            with self._lock:
                self._confirmed.add(channel)
                wakes = [w for key, ws in self._waiters.items() if key[0] == channel for w in ws]
        else:
            ids = message[2].decode("utf-8", "replace").split()
            with self._lock:
                wakes = [w for id in ids for w in self._waiters.get((channel, id), ())]
        for wake in wakes:
            with suppress(RuntimeError):  # its event loop was closed before it stopped waiting
                wake()


def _after_fork() -> None:
    for endings in list(_all):
        endings._begin()


_all: WeakSet[Endings] = WeakSet()
os.register_at_fork(after_in_child=_after_fork)
