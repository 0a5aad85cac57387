"""A TCP proxy before a server, which can lose a reply, be away, stall, or fall silent."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from django_taskq.broker.connection import real_url


class Proxy:
    """Passes bytes on. ``losing``: scripts reach the server, their replies are lost, but not the
    one that a script has to be loaded first.

    ``away``: whoever connects is turned off at once. ``meanwhile``: done once, when the next reply
    has been lost and before its caller learns of it; the replies after it arrive. ``news``:
    seconds until a caller learns that its reply is lost. ``flowing``: cleared, nothing passes, and
    what comes is passed on when it is set again.
    """

    def __init__(self, url: str) -> None:
        self.losing = False
        self.away = False
        self.lost = 0
        self.news = 0.0
        self.meanwhile: Callable[[], object] | None = None
        self.flowing = threading.Event()
        self.flowing.set()
        self._silent: set[socket.socket] = set()
        self._target = urlsplit(real_url(url))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._sockets: set[socket.socket] = {self._listener}
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def is_used(self) -> bool:
        """Whether somebody has connected."""
        return len(self._sockets) > 1

    def go_away(self) -> None:
        """Breaks every connection and takes no new one until ``away`` is False again."""
        self.away = True
        for each in list(self._sockets - {self._listener}):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def fall_silent(self) -> None:
        """Connections of now stay open, but nothing passes through them ever again."""
        self._silent |= self._sockets

    def close(self) -> None:
        """Nothing listens any more, and every connection is broken."""
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _connect(self) -> socket.socket:
        if self._target.scheme == "unix":
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target.path)
            return server
        return socket.create_connection((self._target.hostname, self._target.port or 6379))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.away:
                    client.close()
                    continue
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        server = self._connect()
        self._sockets |= {client, server}
        asked = False
        with suppress(OSError, ValueError), client, server:
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(65536)
                    if not data:
                        return
                    self.flowing.wait()
                    if source in self._silent:
                        continue
                    asked = asked or b"EVAL" in data
                    is_reply = source is server and asked and not data.startswith(b"-NOSCRIPT")
                    if is_reply and self.losing:
                        self.lost += 1
                        if self.meanwhile is not None:
                            meanwhile, self.meanwhile, self.losing = self.meanwhile, None, False
                            meanwhile()
                        time.sleep(self.news)
                        return
                    (server if source is client else client).sendall(data)


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy before the server of ``url``."""
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
