"""A Cluster: every call finds its node, also while a slot moves and after a failover."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from django_taskq.broker.aio import AsyncServer
from django_taskq.broker.broker import Broker, Draft, Exchange
from django_taskq.broker.cluster import ClusterServer
from django_taskq.broker.connection import Server, make_server
from django_taskq.broker.doorbell import Doorbell, Ear
from django_taskq.broker.endings import Endings
from django_taskq.exceptions import BrokerUnavailable
from django_taskq.job import Kind, Outcome
from tests.broker.helpers import DAY, LEASE, draft, holder_id
from tests.conftest import eventually
from tests.topology.conftest import QUEUES, Stationed, on_one_program
from tests.topology.load import Load
from tests.topology.servers import Cluster

MANY = list("abcdefghi")  # queues on all three masters
PATIENCE = 30.0  # seconds that a thing is waited for
AT_ONCE = 20.0  # seconds in which it comes, if it was not waited for in vain
_names = iter(range(10_000))


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Server]:
    cluster.wait_ok()  # whatever the test before did, or a starved machine
    one = make_server(cluster.url)
    yield one
    one.close()


@pytest.fixture
def broker(server: Server) -> Broker:
    return Broker(server, f"t{next(_names)}")


def slot(broker: Broker, queue: str) -> int:
    return Cluster.slot_of(broker.key(queue, "jobs"))


@contextmanager
def later(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Does something from another thread while the block runs; ends with both."""
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


# -- finding the node ------------------------------------------------------------------------------


def test_every_queue_is_found_at_its_node(broker: Broker, cluster: Cluster) -> None:
    for queue in MANY:
        assert broker.enqueue(queue, [draft("one"), draft("two")]) == "NN"
        owner = cluster.master_of(slot(broker, queue))
        assert broker.server.place(broker.key(queue, "jobs")) == owner.address
        assert owner.client().hlen(broker.key(queue, "jobs")) == 2
    assert len({broker.server.place(broker.key(queue, "jobs")) for queue in MANY}) == 3


def test_one_call_for_queues_of_several_nodes(broker: Broker) -> None:
    for queue in MANY:
        broker.enqueue(queue, [draft("one")])
    holder = holder_id("child")
    asks = [Exchange(queue, holder, LEASE, True, 1, 5) for queue in MANY]
    answers = broker.exchange(asks)
    assert [answer.grants[0].id for answer in answers] == ["one"] * len(MANY)
    assert [answer.grants[0].queue for answer in answers] == MANY
    renewed = broker.renew(MANY, [holder], LEASE)
    assert [answer.holders[holder] for answer in renewed.values()] == ["O"] * len(MANY)


def test_numbers_are_given_once_to_all_queues(broker: Broker) -> None:
    numbers = {broker.number(queue): queue for queue in MANY}
    assert sorted(numbers) == list(range(1, len(MANY) + 1))
    another = Broker(broker.server, broker.prefix)
    assert another.queues() == MANY
    assert another.queue_of(3) == numbers[3]


def test_a_node_of_a_cluster_is_no_single_server(cluster: Cluster) -> None:
    broker = Broker(make_server(cluster.nodes[0].url, PATIENCE, 5.0, PATIENCE), "t")
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"redis\+cluster://"):
        [broker.enqueue(queue, [draft("one")]) for queue in MANY]
    assert time.monotonic() - begun < AT_ONCE
    broker.server.close()


# -- a slot that moves -----------------------------------------------------------------------------


async def letters(aio: AsyncServer, broker: Broker, *drafts: Draft) -> str:
    return "".join(answer.letter for answer in await aio.enqueue(broker, "a", drafts))


def test_a_slot_that_has_moved_is_followed(broker: Broker, cluster: Cluster) -> None:
    """Each way of calling meets the old node first, and is told (MOVED)."""
    broker.enqueue("a", [draft("one")])
    aio = AsyncServer(broker.server)

    def moved() -> None:
        target = cluster.move_slot(slot(broker, "a"))
        eventually(lambda: cluster.master_of(slot(broker, "a")) is target)

    async def from_coroutines() -> None:
        assert await letters(aio, broker, draft("two")) == "N"
        await asyncio.to_thread(moved)
        assert await letters(aio, broker, draft("two"), draft("three")) == "EN"
        await aio._drop(*aio._take_idle())

    moved()
    assert broker.enqueue("a", [draft("one"), draft("zero")]) == "EN"
    asyncio.run(from_coroutines())
    moved()
    batches = [[draft(f"{batch} {n}") for n in range(5)] for batch in range(4)]
    assert "".join(broker.enqueue_batches("a", batches)) == "N" * 20
    moved()
    (answer,) = broker.exchange([Exchange("a", holder_id("child"), LEASE, True, 1, 100)])
    assert len(answer.grants) == 24
    moved()
    assert [job.state for job in broker.fetch("a", ["one", "nobody"])] == ["running", None]


def test_what_is_asked_while_a_slot_moves_waits_for_it(broker: Broker, cluster: Cluster) -> None:
    """Half of the keys are there: TRYAGAIN, under the same ids, until all are."""
    broker.enqueue("b", [draft("one")])
    place = slot(broker, "b")
    source, target = cluster.begin_move(place)
    cluster.migrate_keys(place, source, target, [broker.key("b", "jobs")])

    def finish() -> None:
        cluster.migrate_keys(place, source, target)
        cluster.end_move(place, target)

    begun = time.monotonic()
    with later(0.5, finish):
        assert broker.enqueue("b", [draft("one"), draft("two")]) == "EN"
        assert time.monotonic() - begun > 0.4
    source, target = cluster.begin_move(place)
    cluster.migrate_keys(place, source, target)
    with later(0.5, finish):
        (answer,) = broker.exchange([Exchange("b", holder_id("child"), LEASE, True, 1, 9)])
    assert [grant.id for grant in answer.grants] == ["one", "two"]


def test_a_single_key_is_found_where_the_slot_moves_to(broker: Broker, cluster: Cluster) -> None:
    """ASK: the number of a queue that is new, while the hash of numbers is on its way."""
    assert broker.number("a") == 1
    place = Cluster.slot_of(f"{broker.prefix}:queues")
    source, target = cluster.begin_move(place)
    cluster.migrate_keys(place, source, target)
    assert broker.number("b") == 2
    assert Broker(broker.server, broker.prefix).number("a") == 1
    cluster.end_move(place, target)
    assert broker.number("c") == 3


def test_a_move_that_does_not_end_is_given_up(cluster: Cluster) -> None:
    server = make_server(cluster.url, 2.0, 5.0, 0.4)
    broker = Broker(server, f"t{next(_names)}")
    broker.enqueue("a", [draft("one")])
    place = slot(broker, "a")
    source, target = cluster.begin_move(place)
    cluster.migrate_keys(place, source, target, [broker.key("a", "jobs")])
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"TRYAGAIN|ASK") as caught:
        broker.enqueue("a", [draft("two")])
    assert 0.3 < time.monotonic() - begun < AT_ONCE
    assert not caught.value.maybe_sent
    cluster.migrate_keys(place, source, target)
    cluster.end_move(place, target)
    assert broker.enqueue("a", [draft("two")]) == "N"
    server.close()


# -- waiting without polling -----------------------------------------------------------------------


@pytest.fixture
def bell(broker: Broker) -> Iterator[Doorbell]:
    one = Doorbell(broker.server, [broker.key(queue, "wake") for queue in MANY])
    yield one
    one.close()


def test_one_bell_for_all_queues(broker: Broker, bell: Doorbell) -> None:
    assert bell.wait(0.05) == []
    with later(0.1, lambda: broker.enqueue("d", [draft("one")])):
        begun = time.monotonic()
        assert bell.wait(PATIENCE) == [broker.key("d", "wake")]
    assert time.monotonic() - begun < AT_ONCE
    broker.enqueue("a", [draft("one")])
    broker.enqueue("i", [draft("one")])
    heard = {key for _ in range(2) for key in bell.wait(0.1)}
    assert heard == {broker.key("a", "wake"), broker.key("i", "wake")}


def test_nothing_waits_on_behind_an_answer(broker: Broker, bell: Doorbell) -> None:
    """A token must not go to somebody who has turned away; the others' reads are called off."""
    key = broker.key("a", "wake")
    for _ in range(200):
        broker.server.command("RPUSH", key, "1")
        begun = time.monotonic()
        assert bell.wait(PATIENCE) == [key]
        assert time.monotonic() - begun < AT_ONCE, "a read that had not arrived was not called off"
    broker.enqueue("e", [draft("one")])
    assert broker.server.command("LLEN", broker.key("e", "wake")) == 1


def test_a_bell_is_closed_by_another_thread(bell: Doorbell) -> None:
    bell.wait(0.01)
    with later(0.1, bell.close):
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            bell.wait(PATIENCE)
    assert time.monotonic() - begun < AT_ONCE
    assert bell.wait(0.01) == []


def test_a_bell_follows_its_queue(broker: Broker, bell: Doorbell, cluster: Cluster) -> None:
    """The node tells who waits there; the queue is looked at, as a token may have been missed."""
    bell.wait(0.01)
    with later(0.1, lambda: cluster.move_slot(slot(broker, "a"))):
        assert bell.wait(PATIENCE) == [broker.key("a", "wake")]
    with later(0.2, lambda: broker.enqueue("a", [draft("one")])):
        assert bell.wait(PATIENCE) == [broker.key("a", "wake")]


def test_the_control_channel_is_heard_on_any_node(broker: Broker) -> None:
    ears = [Ear(broker.server, broker.control) for _ in range(6)]
    for ear in ears:
        ear.open()
    broker.server.command("PUBLISH", broker.control, "hello")
    assert [ear.messages() for ear in ears] == [["hello"]] * 6
    for ear in ears:
        ear.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def end(broker: Broker, queue: str, request: int) -> None:
    """Claims the one job there is, and settles it."""
    ask = Exchange(queue, holder_id(f"of {queue}"), LEASE, True, request, 1)
    (answer,) = broker.exchange([ask])
    told = (Outcome(answer.grants[0], Kind.SUCCEEDED, b"1", DAY),)
    broker.exchange([ask._replace(want=0, request=request + 1, outcomes=told)])


def test_ends_are_heard_of_queues_that_move(
    broker: Broker, cluster: Cluster, stack: ExitStack
) -> None:
    endings = Endings(broker.server)
    woken = {queue: threading.Event() for queue in MANY}

    def heard(queue: str, request: int) -> bool:
        woken[queue].clear()
        end(broker, queue, request)
        return woken[queue].wait(PATIENCE)

    for queue in MANY:
        broker.enqueue(queue, [draft("one"), draft("two")])
        channel = broker.key(queue, "ended")
        for id in ("one", "two"):
            stack.enter_context(endings.waiting(channel, id, woken[queue].set))
        assert woken[queue].wait(PATIENCE), "the subscription was never confirmed"
    assert all(heard(queue, 1) for queue in MANY)
    woken["b"].clear()
    cluster.move_slot(slot(broker, "b"))
    assert woken["b"].wait(PATIENCE), "nobody noticed that the channel is elsewhere now"
    assert all(heard(queue, 3) for queue in MANY)


# -- under load ------------------------------------------------------------------------------------


def test_slots_move_under_load(cluster: Cluster, at: Stationed) -> None:
    station = at(cluster.url)
    station.worker()
    load = Load(station, 900, tuple(QUEUES))
    for count in range(100, 900, 100):
        load.until(count)
        cluster.move_slot(cluster.slot_of(f"{{{QUEUES[count // 100 % 3]}}}"))
    load.until(900)
    assert load.lost() == []
    assert load.unavailable == 0, "a move is no outage"
    assert len(station.lines()) == 900, "a job ran twice"


@pytest.fixture
def watchful(binary: str, tmp_path: Path) -> Iterator[Cluster]:
    """One of the test's own, where a silent master is taken for dead after two seconds."""
    nodes = Cluster(tmp_path / "cl", binary, node_timeout=2.0, appendonly="yes")
    try:
        yield nodes.start()
    finally:
        nodes.stop_all()


@on_one_program
def test_a_failover_under_load(watchful: Cluster, at: Stationed) -> None:
    """kill -9 of the master of a queue; jobs of the others go on, and none is lost."""
    station = at(watchful.url, DURABILITY="replicated", DURABILITY_TIMEOUT=1)
    station.worker()
    watchful.wait_ok()
    load = Load(station, 300, tuple(QUEUES))
    load.until(100)
    place = watchful.slot_of("{default}")
    old = watchful.kill_master(place)

    def replace() -> None:
        """Comes back as the replica that the new master waits for."""
        assert watchful.wait_new_master(place, old) is not old
        old.start()

    with later(0, replace):
        load.until(300)
    assert load.lost() == []
    assert watchful.master_of(place) is not old
    watchful.wait_ok()


def test_the_slots_are_learnt_from_who_answers(cluster: Cluster) -> None:
    """One of the hosts in the URL is dead, and one knows no Cluster."""
    server = make_server(f"redis+cluster://127.0.0.1:1,{cluster.url.partition('//')[2]}")
    assert isinstance(server, ClusterServer)
    assert server.command("PING") == b"PONG"
    assert len(server.slots.masters) == 3
    server.close()
    nobody = make_server("redis+cluster://127.0.0.1:1", 0.2)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        nobody.command("PING")


def test_a_child_does_not_wait_for_a_thread_of_its_parent(cluster: Cluster) -> None:
    """Which was asking who serves what when the process forked."""
    server = make_server(cluster.url)
    assert isinstance(server, ClusterServer)
    with server._asking:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            os._exit(0 if server.command("PING") == b"PONG" else 1)
    assert os.waitpid(child, 0)[1] == 0
    server.close()
