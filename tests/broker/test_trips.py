"""Calls in a row: what was sent and not answered is sent again only while that is safe."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from django_taskq.broker import trips
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.trips import RESEND_WINDOW, Row
from django_taskq.exceptions import BrokerUnavailable
from tests.broker.helpers import QUEUE, draft, members
from tests.conftest import eventually
from tests.engine.proxy import Proxy, proxied

PATIENCE = 20.0  # seconds; the proxy says at once that a reply is lost


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with proxied(url) as one:
        yield one


@pytest.fixture
def far(proxy: Proxy, prefix: str) -> Iterator[Broker]:
    server = Server(proxy.url, connect_timeout=PATIENCE, socket_timeout=PATIENCE)
    yield Broker(server, prefix)
    server.close()


@pytest.mark.parametrize("late", [0.0, RESEND_WINDOW])
def test_a_call_whose_reply_was_lost_is_not_sent_again_after_the_window(
    far: Broker, broker: Broker, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    far.enqueue(QUEUE, [draft("loads the script")])
    row = Row(far.server)
    proxy.losing = True
    row.send(far.enqueue_call(QUEUE, [draft("a")]))
    eventually(lambda: proxy.lost)
    assert "a" in members(broker, "ready"), "it was carried out"
    proxy.losing = False
    clock = time.monotonic
    monkeypatch.setattr(trips.time, "monotonic", lambda: clock() + late)

    if late:
        with pytest.raises(BrokerUnavailable) as caught:
            row.read()
        assert caught.value.maybe_sent
    else:
        assert row.read() == b"E", "it knows the job again"
    row.close()
