"""Schedules that other sources than code describe, read by a process that may wait for them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from django.db import close_old_connections, reset_queries

from ..deaths import die_with_parent
from ..exceptions import TaskqError
from ..hygiene import close_all
from ..isolation import Make
from ..periodic import Declaration, Source, sources
from ..service import Service

logger = logging.getLogger("django_taskq.worker")

INTERVAL = 5.0  # seconds between two looks at the sources
CHUNK = 1 << 20  # bytes


class Rows(Service):
    """Keeps the process that reads, where there is something to read.

    A database that does not answer would hold up the supervisor's leases, so it has no part in it.
    ``before``: called before the fork; ``follow``: takes all rows whenever one has changed, or
    None if they cannot be read.
    """

    def __init__(
        self,
        alias: str,
        make: Make,
        method: str,
        before: Callable[[], None],
        follow: Callable[[list[Declaration] | None], None],
    ) -> None:
        super().__init__()
        self._alias = alias
        self._make = make
        self._method = method
        self._before = before
        self._follow = follow
        self._process: Any = None
        self._channel: socket.socket | None = None
        self._heard = b""

    @property
    def is_open(self) -> bool:
        return self._channel is not None

    def tick(self) -> float:
        if self._process is not None and not self._process.is_alive():
            logger.error("the reader of schedules is gone; starting another")
            self.close()
        if self._process is None and sources():
            self._start()
        return INTERVAL

    def _start(self) -> None:
        self._before()
        context: Any = multiprocessing.get_context(self._method)
        ours, theirs = socket.socketpair()
        process = context.Process(
            target=run_reader, args=(self._alias, self._make, theirs), name="taskq-schedules"
        )
        try:
            process.start()
        except OSError as error:
            logger.error("schedules cannot be read: no process can be started: %s", error)
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

    def ask(self) -> None:
        """Has the sources looked at now."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.send(b"?")

    def read(self) -> None:
        """What came; a line has all rows."""
        assert self._channel is not None
        try:
            part = self._channel.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self._channel.close()  # it ended; the next tick starts another
            self._channel = None
            return
        self._heard += part
        *lines, self._heard = self._heard.split(b"\n")
        if lines:
            try:
                rows = msgspec.json.decode(lines[-1], type=list[Declaration] | None)
            except msgspec.MsgspecError as error:
                logger.error("schedules cannot be understood: %s", error)
            else:
                self._follow(rows)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._channel is not None:
            self._channel.close()
        self._process = self._channel = None
        self._heard = b""


class Reader:
    """Looks at the sources and tells what changed; the whole duty of its process."""

    def __init__(self, found: list[Source]) -> None:
        self._sources = found
        self._versions: list[Any] = []
        self._failing = False

    def look(self) -> bytes | None:
        """All rows as a line, if any changed since; ``null`` when they could never be read."""
        try:
            close_old_connections()
            reset_queries()
            versions = [source.version() for source in self._sources]
            if versions == self._versions:
                return None
            rows = [row for source in self._sources for row in source.load()]
            self._versions = versions
        except Exception as error:
            close_all()
            if self._failing:
                return None
            self._failing = True
            logger.error("schedules cannot be read (%s); what is known goes on", said(error))
            return None if self._versions else b"null\n"
        if self._failing:
            logger.warning("schedules can be read again")
            self._failing = False
        return msgspec.json.encode(rows) + b"\n"


def said(error: Exception) -> str:
    """An error's class alone: what a driver says can quote the connection's settings."""
    return str(error) if isinstance(error, TaskqError) else type(error).__name__


def run_reader(alias: str, make: Make, channel: socket.socket) -> None:
    """The body of the process: never returns."""
    die_with_parent()
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN):
        signal.signal(number, lambda *_: None)  # the supervisor decides
    signal.set_wakeup_fd(-1)
    code = 1
    try:
        make(alias)  # a process that was spawned has to set Django up
        reader = Reader(sources())
        while os.getppid() == parent:
            line = reader.look()
            if line is not None:
                channel.sendall(line)
            if select.select([channel], [], [], INTERVAL)[0] and not channel.recv(CHUNK):
                break
        code = 0
    except OSError:
        code = 0  # the supervisor is gone
    except BaseException:
        logger.exception("the reader of schedules failed")
    finally:
        logging.shutdown()
        os._exit(code)
