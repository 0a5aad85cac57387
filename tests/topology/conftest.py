"""Servers of every kind, and a place for workers on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings

from django_taskq.compat import task_backends
from tests.processes.conftest import Station
from tests.topology.servers import Cluster, ReplicaSet, binary_of

QUEUES = [
    "critical",
    "default",
    "low",
]  # of the workers' settings; on a Cluster of three, on two masters


# For what takes long: on one program only. tests/chaos does the same on both, and for longer.
on_one_program = pytest.mark.parametrize("binary", ["valkey"], indirect=True, scope="session")


@pytest.fixture(scope="session", params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> str:
    """Each of the two programs there are, in turn."""
    return binary_of(request.param)


@pytest.fixture(scope="session")
def replica_set(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A master and two replicas under three Sentinels, which bear with a starved machine."""
    nodes = ReplicaSet(tmp_path_factory.mktemp("rs"), binary, down_after=5.0, appendonly="yes")
    try:
        yield nodes.start()
    finally:
        nodes.stop_all()


@pytest.fixture(scope="session")
def cluster(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters with a replica each, which bear with a starved machine."""
    nodes = Cluster(tmp_path_factory.mktemp("cl"), binary, node_timeout=15.0, appendonly="yes")
    try:
        yield nodes.start()
    finally:
        nodes.stop_all()


class Place(Station):
    """A station with settings of its own."""

    options: dict[str, Any]

    def env(self, **extra: str) -> dict[str, str]:
        own = {"REDIS_URL": "", "TEST_OPTIONS": json.dumps(self.options)}
        return super().env(**{**own, **extra})


Stationed = Callable[..., Place]


@contextmanager
def stationed(home: Path, url: str, **options: Any) -> Iterator[Place]:
    """A place for workers at a URL, and this process's tasks pointed there."""
    own = {"URL": url, "PREFIX": f"t{uuid4().hex[:8]}", **options}
    station = Place(home, url, own["PREFIX"])
    station.options = options
    entry = {
        "BACKEND": "django_taskq.backends.RedisBackend",
        "QUEUES": QUEUES,
        "OPTIONS": own,
    }
    with override_settings(TASKS={"default": entry}):
        try:
            yield station
        finally:
            station.close()
            task_backends["default"].server.close()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stationed]:
    """``at(url, **options)``: a place for workers there, until the test ends."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(stationed(tmp_path, url, **options))
