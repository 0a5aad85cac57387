"""Processes beside the supervisor, which may wait for a database.

One that does not answer would hold up the supervisor's leases, so it has no part in them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..deaths import die_with_parent, ignore_signals, leave
from ..isolation import Make
from ..service import Service

logger = logging.getLogger("django_taskq.worker")

INTERVAL = 5.0  # seconds between two looks at whether it lives
CHUNK = 1 << 20  # bytes

Body = Callable[[str, Make, "Line"], None]  # what the process does for a backend's alias


class Beside(Service):
    """Keeps one such process.

    ``before``: called before the fork; ``body``: what it does; ``what``: its name, for the log.
    """

    def __init__(
        self,
        alias: str,
        make: Make,
        method: str,
        before: Callable[[], None],
        body: Body,
        what: str,
    ) -> None:
        super().__init__()
        self.what = what
        self._alias = alias
        self._make = make
        self._method = method
        self._before = before
        self._body = body
        self._process: Any = None
        self._channel: socket.socket | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there is something for it to do."""
        return True

    @property
    def is_open(self) -> bool:
        return self._channel is not None

    def tick(self) -> float:
        if self._process is not None and not self._process.is_alive():
            logger.error("the %s is gone; starting another", self.what)
            self.close()
        if self._process is None and self.is_wanted:
            self._start()
        return INTERVAL

    def _start(self) -> None:
        self._before()
        context: Any = multiprocessing.get_context(self._method)
        ours, theirs = socket.socketpair()
        process = context.Process(
            target=run_beside,
            args=(self._alias, self._make, theirs, self._body, self.what),
            name=f"taskq-{self.what.replace(' ', '-')}",
        )
        try:
            process.start()
        except OSError as error:
            logger.error("there is no %s: no process can be started: %s", self.what, error)
            ours.close()
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        self._channel, self._process = ours, process

    def fileno(self) -> int:
        """For a selector."""
        assert self._channel is not None
        return self._channel.fileno()

    def tell(self, word: bytes) -> None:
        """Wakes it."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.send(word)

    def read(self) -> None:
        """What came."""
        assert self._channel is not None
        try:
            part = self._channel.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if part:
            self.heard(part)
        else:
            self._channel.close()  # it ended; the next tick starts another
            self._channel = None

    def heard(self, part: bytes) -> None:
        """Takes what the process sent."""

    def close(self, patience: float = 0.0) -> None:
        """Ends the process; it has so many seconds to come to its end."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            if patience:
                self._process.join(patience)
            self._process.kill()
            self._process.join()
        self._process = self._channel = None


class Line:
    """The process's end of the channel."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._parent = os.getppid()
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether the supervisor is there and wants it to go on."""
        return not self._closed and os.getppid() == self._parent

    def send(self, raw: bytes) -> None:
        self._channel.sendall(raw)

    def wait(self, seconds: float) -> None:
        """Rests until it is woken."""
        if select.select([self._channel], [], [], seconds)[0]:
            self._closed = not self._channel.recv(CHUNK)


def run_beside(alias: str, make: Make, channel: socket.socket, body: Body, what: str) -> None:
    """All of the process: never returns."""
    die_with_parent()
    ignore_signals()
    code = 1
    try:
        body(alias, make, Line(channel))
        code = 0
    except OSError:
        code = 0  # the supervisor is gone
    except BaseException:
        logger.exception("the %s failed", what)
    finally:
        leave(code)
