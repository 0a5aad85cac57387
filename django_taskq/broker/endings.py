"""Who waits for a job's end: one subscriber per process for all of its ``get()`` calls.

A waiter is woken when its job's id is published, and whenever it should look for itself: once
its channel is subscribed, and after the connection was lost.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import redis

from ..exceptions import BrokerUnavailable
from .connection import Server
from .doorbell import LOST, fileno_of
from .links import Place

Wake = Callable[[], None]

IDLE = 30.0  # seconds without a waiter after which the thread ends


class Endings:
    """The subscriber of one server, or of the nodes of a Cluster. Safe to use from any thread.

    A channel lives where its queue does, so there is a connection for each node that has one.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """As nobody waits; also in a forked child, which must not touch its parent's socket."""
        self._lock = threading.Lock()
        self._waiters: dict[tuple[str, str], set[Wake]] = {}
        self._confirmed: set[str] = set()
        self._connections: dict[Place, Any] = {}
        self._thread: threading.Thread | None = None
        self._ear, self._hammer = socket.socketpair()  # has the thread open what is missing
        self._ear.setblocking(False)
        self._hammer.setblocking(False)

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
            return
        if channel not in self._confirmed:
            place = self._server.known_place(channel)
            connection = self._connections.get(place) if place is not None else None
            if connection is None:
                with suppress(BlockingIOError):
                    self._hammer.send(b"!")
            else:
                self._subscribe(connection, channel)

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
                self._close()
                self._open()
                failures = 0
                self._listen()
                if self._retire():
                    return
            except (*LOST, BrokerUnavailable) as error:
                failures += 1
                self._close()
                if not self._waiters and self._retire():
                    return
                time.sleep(min(0.05 * 2 ** min(failures, 10), 2.0))
                with suppress(BrokerUnavailable):
                    self._server.recover(error)

    def _open(self) -> None:
        """Subscribes every channel that somebody waits for, where it lives."""
        with self._lock:
            wanted = {channel for channel, _ in self._waiters} - self._confirmed
        for channel in wanted:
            place = self._server.place(channel)
            connection = self._connections.get(place)
            if connection is None:
                connection = self._server.links.make(place, 5.0)
                connection.connect()
            with self._lock:
                self._connections[place] = connection
                self._subscribe(connection, channel)

    def _listen(self) -> None:
        """Returns once nobody has waited for a while."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < IDLE:
            with selectors.DefaultSelector() as selector:
                selector.register(self._ear, selectors.EVENT_READ)
                for connection in self._connections.values():
                    selector.register(fileno_of(connection), selectors.EVENT_READ, connection)
                while not self._hear_all(selector):
                    if self._waiters:
                        idle_since = time.monotonic()
                    elif time.monotonic() - idle_since >= IDLE:
                        return
            self._open()

    def _hear_all(self, selector: selectors.BaseSelector) -> bool:
        """Hears what comes within a second; True: a channel of another node is wanted."""
        wanted = False
        for key, _ in selector.select(1.0):
            if key.data is None:
                self._ear.recv(1024)
                wanted = True
            while key.data is not None and key.data.can_read(timeout=0):
                self._hear(key.data.read_response())
        if not all(connection.is_connected for connection in self._connections.values()):
            raise redis.ConnectionError("lost while a channel was being subscribed")
        return wanted

    def _close(self) -> None:
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        for connection in self._connections.values():
            connection.disconnect()
        self._connections.clear()
        self._confirmed.clear()

    def _retire(self) -> bool:
        """Ends the thread unless somebody came in the meantime."""
        with self._lock:
            if self._waiters:
                return False
            self._forget()
            self._thread = None
            return True

    def _hear(self, message: list[Any]) -> None:
        kind, channel = message[0], message[1].decode()
        if kind == b"sunsubscribe":
            raise redis.ConnectionError("the queue has moved to another node")
        if kind == b"ssubscribe":
            with self._lock:
                self._confirmed.add(channel)
                wakes = [w for key, ws in self._waiters.items() if key[0] == channel for w in ws]
        else:
            ids = message[2].decode().split()
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
