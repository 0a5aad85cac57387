"""How long a call is tried, by what its answer said; each answer from a real server."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
import redis

from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import make_server
from django_taskq.broker.trips import MARGIN, RESEND_WINDOW, Delivery
from django_taskq.exceptions import BrokerUnavailable
from tests.broker.helpers import draft
from tests.topology.servers import Node, free_port, until


@pytest.fixture
def node(binary: str, tmp_path: Path) -> Iterator[Node]:
    one = Node(tmp_path / "n", binary, appendonly="yes", enable_debug_command="yes")
    yield one.start()
    one.kill()


def broker_at(node: Node, connect_timeout: float = 5.0, socket_timeout: float = 5.0) -> Broker:
    return Broker(make_server(node.url, connect_timeout, socket_timeout), "t")


@contextmanager
def soon(act: Callable[[], object], seconds: float = 0.3) -> Iterator[None]:
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_a_replica_that_becomes_a_master_is_waited_for(node: Node) -> None:
    broker = broker_at(node)
    node.command("REPLICAOF", "127.0.0.1", free_port())
    with soon(lambda: node.command("REPLICAOF", "NO", "ONE")):
        assert broker.enqueue("q", [draft("a")]) == "N"


def test_a_replica_that_stays_one_is_given_up_and_nothing_was_sent(node: Node) -> None:
    broker = broker_at(node, 0.3)
    node.command("REPLICAOF", "127.0.0.1", free_port())
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="READONLY") as caught:
        broker.enqueue("q", [draft("a")])
    assert 0.2 < time.monotonic() - begun < 10
    assert not caught.value.maybe_sent


def test_too_few_replicas_are_waited_for(node: Node) -> None:
    broker = broker_at(node)
    node.command("CONFIG", "SET", "min-replicas-to-write", 1)
    with soon(lambda: node.command("CONFIG", "SET", "min-replicas-to-write", 0)):
        assert broker.enqueue("q", [draft("a")]) == "N"


def test_a_server_that_reads_its_data_is_waited_for(node: Node) -> None:
    broker = broker_at(node, 30.0)
    broker.enqueue("q", [draft(str(n)) for n in range(400)])
    for at in range(300):
        node.client().set(f"key{at}", "x")
    node.command("BGREWRITEAOF")
    until(lambda: node.info("persistence")["aof_rewrite_in_progress"] == 0)
    node.stop()
    with node._conf.open("a") as conf:
        conf.write("key-load-delay 10000\nloading-process-events-interval-bytes 1024\n")
    node.start(wait=False)

    def loads() -> bool:
        try:
            node.command("PING")
        except redis.BusyLoadingError:
            return True
        except redis.ConnectionError:
            pass
        return False

    until(loads, message="it says that it loads")
    begun = time.monotonic()
    assert broker.enqueue("q", [draft("0"), draft("new")]) == "EN"
    assert time.monotonic() - begun < 25


def test_somebodys_long_script_is_waited_for(node: Node) -> None:
    broker = broker_at(node)
    broker.enqueue("q", [draft("a")])
    node.command("CONFIG", "SET", "busy-reply-threshold", 20)
    endless = threading.Thread(target=lambda: endless_script(node))
    endless.start()
    until(lambda: is_busy(node), message="it is busy")
    with soon(lambda: node.command("SCRIPT", "KILL")):
        assert broker.enqueue("q", [draft("a"), draft("b")]) == "EN"
    endless.join()


def endless_script(node: Node) -> None:
    with pytest.raises(redis.ResponseError):
        node.command("EVAL", "while true do end", 0, timeout=20.0)


def is_busy(node: Node) -> bool:
    try:
        node.client().ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def test_a_wrong_password_is_not_tried_again(node: Node) -> None:
    broker = Broker(make_server(node.url.replace("//", "//nobody:s3cret@"), 30.0), "t")
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable) as caught:
        broker.enqueue("q", [draft("a")])
    assert time.monotonic() - begun < 20
    assert "s3cret" not in f"{caught.value}{caught.value.address}{broker.server}"


def test_a_frozen_server_may_have_taken_the_job(node: Node) -> None:
    broker = broker_at(node, 30.0, 0.3)
    broker.enqueue("q", [draft("a")])
    node.pause()
    broker.server.connect_timeout = 0.3
    with pytest.raises(BrokerUnavailable) as caught:
        broker.enqueue("q", [draft("b")])
    assert caught.value.maybe_sent
    node.resume()
    broker.server.connect_timeout = 30.0
    until(lambda: broker.enqueue("q", [draft("b")]) == "E")


def test_the_window_is_the_scripts_own() -> None:
    common = files("django_taskq.broker").joinpath("lua", "common.lua").read_text()
    ms = re.search(r"RESEND_WINDOW = (\d+)", common)
    assert ms is not None
    assert int(ms[1]) == RESEND_WINDOW * 1000


def test_what_may_have_run_is_not_sent_again_after_the_window(node: Node) -> None:
    """However long a call may be tried: the scripts would not know it any more."""
    server = make_server(node.url, 60.0)
    call = Broker(server, "t").enqueue_call("q", [draft("a")])
    lost = redis.ConnectionError("lost")
    delivery = Delivery(server)
    delivery.departs()
    delivery.failed(lost, (call,))
    delivery.departs()
    delivery._unsure_since -= RESEND_WINDOW - MARGIN
    with pytest.raises(BrokerUnavailable) as caught:
        delivery.departs()
    assert caught.value.maybe_sent
    with pytest.raises(BrokerUnavailable) as caught:
        delivery.failed(redis.ReadOnlyError("READONLY"), (call,))
    assert caught.value.maybe_sent


def test_what_was_refused_may_be_sent_again_for_longer(node: Node) -> None:
    server = make_server(node.url, 60.0)
    call = Broker(server, "t").enqueue_call("q", [draft("a")])
    delivery = Delivery(server)
    delivery.begun -= 2 * RESEND_WINDOW
    for _ in range(3):
        delivery.departs()
        assert delivery.failed(redis.ReadOnlyError("READONLY"), (call,)) > 0
    delivery.begun -= 60
    with pytest.raises(BrokerUnavailable) as caught:
        delivery.failed(redis.ReadOnlyError("READONLY"), (call,))
    assert not caught.value.maybe_sent


def test_a_port_where_nobody_listens_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BrokerUnavailable) as caught:
        Broker(make_server(f"redis://127.0.0.1:{port}", 0.2), "t").enqueue("q", [draft("a")])
    assert not caught.value.maybe_sent
