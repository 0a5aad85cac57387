"""Who waits for a job's end: one subscriber per process for all of its ``get()`` calls.

A waiter is woken when its job's id is published, and whenever it should look for itself: once
its channel is subscribed, and after the connection was lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from .connection import Server

Wake = Callable[[], None]

IDLE = 30.0  # seconds without a waiter after which the thread ends


class Endings:
    """The subscriber of one server. Safe to use from any thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
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
        try:
            connection.send_command("SSUBSCRIBE", channel)
        except (redis.RedisError, OSError):
            pass  # the reading thread meets the same error, and subscribes everything again

    def _run(self) -> None:
        failures = 0
        idle_since = time.monotonic()
        while True:
            try:
                self._open()
                failures = 0
                while time.monotonic() - idle_since < IDLE:
                    if self._connection.can_read(timeout=1.0):
                        self._hear(self._connection.read_response())
                    if self._waiters:
                        idle_since = time.monotonic()
                if self._retire():
                    return
            except (redis.RedisError, OSError):
                failures += 1
                self._close()
                if not self._waiters and self._retire():
                    return
                time.sleep(min(0.05 * 2**failures, 2.0))
                self._server.mend()

    def _open(self) -> None:
        connection = self._server.connect(socket_timeout=5.0)
        connection.connect()
        with self._lock:
            self._connection = connection
            channels = {channel for channel, _ in self._waiters}
            for channel in channels:
                self._subscribe(connection, channel)

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
            ids = message[2].decode().split()
            with self._lock:
                wakes = [w for id in ids for w in self._waiters.get((channel, id), ())]
        for wake in wakes:
            wake()
