"""What ``DURABILITY`` asks for, and what is said when it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_taskq import NotReplicated
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server, make_server
from django_taskq.broker.waits import Wait, wait_for
from django_taskq.compat import task_backends
from django_taskq.exceptions import BrokerUnavailable
from django_taskq.job import State
from tests.broker.helpers import draft
from tests.processes.app import tasks
from tests.topology.conftest import Stationed
from tests.topology.servers import Node, binary_of, until

WAIT = Wait("replicated", 1, 4.0)
HASTY = Wait("replicated", 1, 0.3)  # where nobody can confirm


class Pair:
    """A master and a replica that may be held up."""

    def __init__(self, home: Path, binary: str) -> None:
        self.master = Node(home / "m", binary)
        self.replica = Node(home / "r", binary, replicaof=f"127.0.0.1 {self.master.port}")

    def start(self) -> Pair:
        self.master.start()
        self.replica.start()
        self.wait_in_step()
        return self

    def wait_in_step(self) -> None:
        """Returns when the replica confirms what is written now."""
        with self.master.client().client() as one:  # a WAIT is about its connection's writes
            until(lambda: one.set("step", "1") and one.wait(1, 1000) == 1)

    def stop(self) -> None:
        self.replica.kill()
        self.master.kill()


@pytest.fixture(scope="module")
def pair(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    one = Pair(tmp_path_factory.mktemp("pair"), binary)
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.fixture
def _held(pair: Pair) -> Iterator[None]:
    """The replica confirms nothing."""
    pair.replica.pause()
    yield
    pair.replica.resume()
    pair.wait_in_step()


@pytest.fixture
def server(pair: Pair) -> Iterator[Server]:
    one = make_server(pair.master.url)
    yield one
    one.close()


@pytest.fixture
def broker(server: Server, request: pytest.FixtureRequest) -> Broker:
    return Broker(server, str(abs(hash(request.node.name))), durability=WAIT)


@pytest.fixture
def hasty(broker: Broker) -> Broker:
    """The same, where nobody is to confirm."""
    return Broker(broker.server, broker.prefix, durability=HASTY)


@pytest.fixture
def on_pair(pair: Pair, at: Stationed) -> Any:
    return at(pair.master.url, DURABILITY="replicated", DURABILITY_TIMEOUT=WAIT.timeout)


@pytest.fixture
def hasty_on_pair(pair: Pair, at: Stationed) -> Any:
    return at(pair.master.url, DURABILITY="replicated", DURABILITY_TIMEOUT=HASTY.timeout)


def has_number() -> bool:
    """Whether the queue's number is confirmed, as it has to be once."""
    try:
        return bool(task_backends["default"].broker.number("default"))
    except BrokerUnavailable:
        return False


def enqueue(*texts: str) -> Any:
    return [tasks.note.enqueue(text) for text in texts]


@pytest.mark.usefixtures("on_pair")
def test_a_confirmed_job_is_at_the_replica(pair: Pair) -> None:
    (result,) = enqueue("one")
    jobs = task_backends["default"].broker.key("default", "jobs")
    assert pair.replica.client().hexists(jobs, result.id)


def test_without_a_confirmation_the_job_is_enqueued_all_the_same(
    hasty_on_pair: Any, request: pytest.FixtureRequest
) -> None:
    until(has_number)
    request.getfixturevalue("_held")
    with pytest.raises(NotReplicated, match=r"not confirmed by 1 replica within 0\.3 s") as caught:
        enqueue("one")
    result = caught.value.result
    assert result.enqueued_at is not None
    with pytest.raises(NotReplicated) as caught:
        asyncio.run(tasks.note.aenqueue("two"))
    assert caught.value.result.enqueued_at is not None
    with pytest.raises(NotReplicated) as caught:
        tasks.note.enqueue_many([(str(n),) for n in range(3)])
    assert len(caught.value.results) == 3
    assert all(result.enqueued_at for result in caught.value.results)
    assert result.state is State.READY
    station = hasty_on_pair
    station.burst()
    assert sorted(station.lines()) == ["0", "1", "2", "one", "two"]


@pytest.mark.usefixtures("hasty_on_pair", "_held")
def test_a_queue_that_is_new_is_not_begun() -> None:
    """Its number, part of the job's id, could be another queue's after a failover."""
    with pytest.raises(BrokerUnavailable, match="is new") as caught:
        enqueue("one")
    assert not caught.value.maybe_sent
    assert caught.value.result.enqueued_at is None


def test_what_was_not_confirmed_is_when_it_is_sent_again(
    broker: Broker, hasty: Broker, pair: Pair
) -> None:
    """An enqueue that finds its job writes nothing, and a WAIT behind nothing says nothing."""
    pair.replica.pause()
    assert hasty.enqueue("q", [draft("a")]) == "n"
    assert hasty.enqueue("q", [draft("a")]) == "e"
    assert hasty.enqueue_one("q", draft("a")) == "e"
    pair.replica.resume()
    pair.wait_in_step()
    assert broker.enqueue("q", [draft("a")]) == "E"
    assert broker.enqueue("q", [draft("a"), draft("b")]) == "EN"


def test_many_batches_are_confirmed_each(broker: Broker, hasty: Broker, pair: Pair) -> None:
    batches = [[draft(f"{batch} {n}") for n in range(2)] for batch in range(4)]
    letters = broker.enqueue_batches("q", batches)
    assert next(letters) == "NN"
    assert list(letters) == ["NN"] * 3
    pair.replica.pause()
    assert list(hasty.enqueue_batches("q", batches[:2])) == ["ee", "ee"]
    pair.replica.resume()
    pair.wait_in_step()


def test_two_replicas_are_more_than_one(server: Server) -> None:
    broker = Broker(server, "two", durability=Wait("replicated", 2, 0.1))
    assert broker.enqueue("q", [draft("a")]) == "n"


def test_the_disk_confirms(tmp_path: Path) -> None:
    node = Node(tmp_path / "n", binary_of("valkey"), appendonly="yes", appendfsync="always")
    try:
        node.start()
        broker = Broker(make_server(node.url), "t", durability=Wait("local", 1, WAIT.timeout))
        assert broker.enqueue("q", [draft("a"), draft("b")]) == "NN"
        assert broker.enqueue("q", [draft("a")]) == "E"
        node.client().config_set("appendfsync", "no")
        node.client().config_set("appendonly", "no")
        assert broker.enqueue("q", [draft("c")]) == "n", "WAITAOF is refused without an AOF"
        broker.server.close()
    finally:
        node.kill()


def test_a_wait_ends_before_the_connection_is_given_up() -> None:
    wait = wait_for("replicated", 1, 10.0, 5.0)
    assert wait is not None
    assert wait.timeout == 4.0
    assert wait_for("fast", 1, 1.0, 5.0) is None
