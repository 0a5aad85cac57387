"""The server all tests run on: a real one, shared by a test process, with a prefix per test."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

# A short path: a unix socket's may not be longer than 107 bytes.
_HOME = Path(tempfile.mkdtemp(prefix="tq-"))
os.environ.setdefault("TASKQ_URL", os.environ.get("REDIS_URL") or f"embedded://{_HOME}?persist=no")
os.environ.setdefault("TASKQ_PREFIX", f"test-{uuid4().hex[:8]}")

from django_taskq.broker import embedded  # noqa: E402
from django_taskq.broker.broker import Broker  # noqa: E402
from django_taskq.broker.connection import Server, close_servers, get_server  # noqa: E402


def eventually(check: Callable[[], Any], timeout: float = 30.0, message: str = "") -> Any:
    """What ``check`` returns once that is true; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(message or f"not within {timeout} s: {check}")
        time.sleep(0.005)


class FakeTime:
    """A clock in ms that only moves when it is told to."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def forward(self, ms: int) -> int:
        """Moves on and returns the new time."""
        self.now += ms
        return self.now


@pytest.fixture(scope="session", autouse=True)
def _server_home() -> Iterator[None]:
    yield
    close_servers()
    if os.environ["TASKQ_URL"].startswith(f"embedded://{_HOME}"):
        embedded.stop(_HOME)
        embedded.release(_HOME)
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def url() -> str:
    """The server's URL."""
    return os.environ["TASKQ_URL"]


@pytest.fixture
def server(url: str) -> Server:
    """The connection pool of this process."""
    return get_server(url)


@pytest.fixture
def prefix(server: Server) -> Iterator[str]:
    """A prefix of the test's own; its keys are deleted afterwards."""
    name = f"t{uuid4().hex[:12]}"
    yield name
    delete_keys(server, name)


def delete_keys(server: Server, prefix: str) -> None:
    """Deletes every key of a prefix."""
    cursor = b"0"
    while True:
        cursor, keys = server.command("SCAN", cursor, "MATCH", f"{prefix}:*", "COUNT", 1000)
        if keys:
            server.command("DEL", *keys)
        if cursor == b"0":
            return


@pytest.fixture
def clock() -> FakeTime:
    """The time that the scripts of ``broker`` are handed."""
    return FakeTime()


@pytest.fixture
def broker(server: Server, prefix: str, clock: FakeTime) -> Broker:
    """A broker of the test's own, in the test's own time."""
    return Broker(server, prefix, now=clock)
