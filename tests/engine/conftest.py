"""Fixtures of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from tests.engine.proxy import Proxy, proxied
from tests.engine.rig import Recording
from tests.engine.support import backend, enqueued, hand, jobs, private, private_url, ran

__all__ = ["backend", "enqueued", "hand", "jobs", "private", "private_url", "ran"]


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with proxied(url) as one:
        yield one


@pytest.fixture
def far(proxy: Proxy, prefix: str) -> Iterator[Recording]:
    """A broker behind the proxy."""
    server = Server(proxy.url, connect_timeout=0.4, socket_timeout=5.0)
    yield Recording(server, prefix)
    server.close()


@pytest.fixture
def near(server: Server, prefix: str) -> Broker:
    """The same keys without the proxy."""
    return Broker(server, prefix)
