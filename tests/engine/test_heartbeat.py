"""Leases are renewed, and what the answers ask for is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.clock import monotonic
from django_taskq.exceptions import BrokerUnavailable
from django_taskq.service import FOREVER
from django_taskq.services.heartbeat import Heartbeat
from django_taskq.services.janitor import Janitor
from django_taskq.services.reaper import Reaper
from django_taskq.services.timekeeper import Timekeeper
from django_taskq.table import Table
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    Child,
    members,
    outcome,
    parked,
    put,
    ready,
    scores,
    states,
    tokens,
)
from tests.conftest import FakeTime
from tests.engine.tasks import add

LEASE_S = LEASE / 1000
NEVER_HERE = "elsewhere.unknown"


class Worker:
    """A child as far as its lease goes, and what it was told."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.table = Table(bytearray(Table.size(1, 2)), 1, 2)
        self.told: list[tuple[object, ...]] = []

    def order(self, *order: object) -> None:
        self.told.append(order)


class Rig:
    """A supervisor's services over some queues and children."""

    def __init__(self, broker: Broker, queues: Sequence[str] = (QUEUE,)) -> None:
        self.broker = broker
        self.workers: list[Worker] = []
        self.reaper = Reaper(broker, queues)
        self.timekeeper = Timekeeper(broker, queues, "keeper")
        self.janitor = Janitor(broker, queues, self.reaper)
        self.heartbeat = Heartbeat(
            broker,
            queues,
            LEASE_S,
            lambda: self.workers,
            self.reaper,
            self.timekeeper,
            self.janitor,
        )

    def worker(self, name: str, *queues: str) -> tuple[Worker, Child]:
        """A child of ours, registered in the queues, and its hand in Redis."""
        child = Child(self.broker, name)
        for queue in queues:
            Child(self.broker, name, queue).exchange(0)
        self.workers.append(Worker(child.holder))
        return self.workers[-1], child

    def tick(self) -> float:
        return self.heartbeat.tick()


@pytest.fixture
def make(broker: Broker) -> Callable[..., Rig]:
    return lambda *queues: Rig(broker, queues or (QUEUE,))


@pytest.fixture
def rig(broker: Broker) -> Rig:
    return Rig(broker)


def park(broker: Broker, task: str, *ids: str, queue: str = QUEUE) -> None:
    """Sets jobs of a task aside."""
    put(broker, ids, queue)
    grants = Child(broker, "parker", queue).claim(len(ids))
    assert len(grants) == len(ids)
    broker.park(queue, [parked(grant, task) for grant in grants])


# -- leases ----------------------------------------------------------------------------------------


def test_a_lease_that_was_renewed_counts_from_before_it_was_asked_for(
    rig: Rig, broker: Broker, clock: FakeTime
) -> None:
    worker, _ = rig.worker("a", QUEUE)
    clock.forward(LEASE // 3)
    before = monotonic()

    rig.tick()

    assert before + LEASE_S <= worker.table.lease(0) <= monotonic() + LEASE_S
    assert scores(broker, "holders") == {worker.holder: clock.now + LEASE}


def test_a_child_that_never_claimed_has_no_lease(rig: Rig) -> None:
    worker, _ = rig.worker("a")

    rig.tick()

    assert worker.table.lease(0) == 0.0


def test_a_lost_lease_ends_at_once(rig: Rig, clock: FakeTime) -> None:
    worker, _ = rig.worker("a", QUEUE)
    worker.table.extend(0, monotonic() + LEASE_S)
    clock.forward(LEASE)

    rig.tick()

    assert 0 < worker.table.lease(0) <= monotonic()


def test_a_lease_that_is_unknown_again_is_not_prolonged(rig: Rig, broker: Broker) -> None:
    """It was reaped as a whole: the child ends when the time it has left is over."""
    worker, _ = rig.worker("a", QUEUE)
    until = monotonic() + 5.0
    worker.table.extend(0, until)
    broker.reclaim(QUEUE, worker.holder, b"", died=True)

    rig.tick()

    assert worker.table.lease(0) == until


def test_a_lease_that_is_lost_in_one_queue_is_lost_there(make: Any, broker: Broker) -> None:
    """Only a new child can have one there again."""
    rig = make("one", "two")
    worker, _ = rig.worker("a", "one", "two")
    broker.server.command("ZADD", broker.key("two", "holders"), 0, worker.holder)

    rig.tick()

    assert worker.table.lease(0) > monotonic()
    assert 0 < worker.table.lease(1) <= monotonic()
    assert worker.told == [("retire",)]


def test_a_queue_that_was_not_asked_yet_does_not_hold_up_the_others(make: Any) -> None:
    rig = make("one", "two")
    worker, _ = rig.worker("a", "one")

    rig.tick()

    assert worker.table.lease(0) > monotonic()


def test_every_child_has_its_own_lease(rig: Rig, clock: FakeTime) -> None:
    old, _ = rig.worker("old", QUEUE)
    clock.forward(LEASE // 2)
    young, _ = rig.worker("young", QUEUE)
    clock.forward(LEASE // 2)

    rig.tick()

    assert old.table.lease(0) <= monotonic()
    assert young.table.lease(0) > monotonic()


def test_it_comes_three_times_a_lease(rig: Rig) -> None:
    rig.worker("a", QUEUE)

    assert rig.tick() == LEASE_S / 3


def test_it_comes_when_somebodys_lease_ends(rig: Rig, broker: Broker, clock: FakeTime) -> None:
    Child(broker, "dying").exchange(0)
    clock.forward(LEASE - 500)

    assert rig.tick() == pytest.approx(0.52)


# -- what the answers ask for ----------------------------------------------------------------------


def test_a_child_is_told_what_to_cancel(rig: Rig, broker: Broker) -> None:
    (mine, my_hand), (other, _) = rig.worker("a", QUEUE), rig.worker("b", QUEUE)
    put(broker, ["one"])
    (grant,) = my_hand.claim()
    broker.cancel(QUEUE, [("one", TASK)], FAILURE, DAY)

    rig.tick()

    assert mine.told == [("cancel", "one", grant.live.fence)]
    assert other.told == []


def test_a_job_of_another_worker_is_not_our_business(rig: Rig, broker: Broker) -> None:
    mine, _ = rig.worker("a", QUEUE)
    put(broker, ["one"])
    Child(broker, "stranger").claim()
    broker.cancel(QUEUE, [("one", TASK)], FAILURE, DAY)

    rig.tick()

    assert mine.told == []


def test_the_timekeeper_is_told_what_is_due(rig: Rig, broker: Broker) -> None:
    put(broker, ["one"], due=-2000)
    rig.timekeeper._due[QUEUE] = rig.timekeeper.due = FOREVER

    before = monotonic()
    rig.tick()

    assert before + 2 <= rig.timekeeper.due <= monotonic() + 2


def test_what_others_left_behind_is_reaped(rig: Rig, broker: Broker, clock: FakeTime) -> None:
    put(broker, ["one"])
    Child(broker, "gone").claim()
    for _ in range(3):
        clock.forward(LEASE // 3)
        rig.tick()
    assert rig.reaper.due == 0.0

    rig.reaper.run(monotonic())

    assert ready(broker) == ["one"]


@pytest.mark.parametrize("percent", [0, 91, 300])
def test_children_see_how_full_redis_is(
    rig: Rig, broker: Broker, monkeypatch: pytest.MonkeyPatch, percent: int
) -> None:
    """Of the answer; a server of its own would be needed to fill one."""
    worker, _ = rig.worker("a", QUEUE)
    renew = broker.renew
    monkeypatch.setattr(
        broker,
        "renew",
        lambda *args: {
            queue: answer._replace(memory=percent) for queue, answer in renew(*args).items()
        },
    )

    rig.janitor.tick()
    ended = Child(broker, "b")
    put(broker, "x")
    ended.settle(outcome(ended.claim()[0], "S", delay=0))
    broker.server.command("ZADD", broker.key(QUEUE, "succeeded"), 1, "x")  # its time is over
    rig.janitor.due = FOREVER

    rig.tick()
    rig.janitor.run(monotonic())

    assert worker.table.memory == min(percent, 255)
    assert members(broker, "succeeded") == ([] if percent > 90 else ["x"]), "and make room"


# -- parked jobs -----------------------------------------------------------------------------------


def test_parked_jobs_of_tasks_known_here_go_back(rig: Rig, broker: Broker, clock: FakeTime) -> None:
    park(broker, add.module_path, "known")
    park(broker, NEVER_HERE, "unknown")
    clock.forward(1000)

    rig.tick()

    assert states(broker) == {"ready": ["known"], "waiting": ["unknown"]}
    assert tokens(broker) == 1


def test_a_parked_job_waits_for_its_time(rig: Rig, broker: Broker, clock: FakeTime) -> None:
    park(broker, add.module_path, "known")
    clock.forward(999)
    rig.tick()
    assert ready(broker) == []

    clock.forward(1)
    rig.tick()
    assert ready(broker) == ["known"]


def test_names_beyond_fifty_have_their_turn(rig: Rig, broker: Broker, clock: FakeTime) -> None:
    for number in range(120):
        park(broker, f"a.unknown{number:03}", f"u{number}")
    park(broker, add.module_path, "known")  # behind all of them
    clock.forward(1000)

    for _ in range(2):
        rig.tick()
        assert ready(broker) == []
    rig.tick()

    assert ready(broker) == ["known"]


def test_the_turns_begin_again(rig: Rig, broker: Broker, clock: FakeTime) -> None:
    for number in range(60):
        park(broker, f"a.unknown{number:03}", f"u{number}")
    park(broker, add.module_path, "one")
    clock.forward(1000)
    for _ in range(2):
        rig.tick()
    assert ready(broker) == ["one"]

    (grant,) = Child(broker, "parker").claim()
    broker.park(QUEUE, [parked(grant, add.module_path)])
    clock.forward(2000)
    for _ in range(2):
        rig.tick()

    assert ready(broker) == ["one"]


def test_many_names_in_one_queue_do_not_hide_those_of_another(
    make: Any, broker: Broker, clock: FakeTime
) -> None:
    """One cursor serves all queues: it must not run ahead of any."""
    rig = make("one", "two")
    for number in range(60):
        park(broker, f"a.unknown{number:03}", f"a{number}", queue="one")
        park(broker, f"z.unknown{number:03}", f"z{number}", queue="two")
    park(broker, add.module_path, "known", queue="one")  # between the two
    clock.forward(1000)

    for _ in range(6):
        rig.tick()

    assert ready(broker, "one") == ["known"]
    assert members(broker, "waiting", "two")


# -- one queue is broken, the others go on ---------------------------------------------------------


def spoiled(broker: Broker, queue: str, key: str) -> Callable[[], object]:
    """Makes a key of a queue something that no script can work with; mends it when called."""
    name = broker.key(queue, key)
    broker.server.command("RENAME", name, f"{name}-aside")
    broker.server.command("SET", name, "what a person did")
    return lambda: broker.server.command("RENAME", f"{name}-aside", name)


def test_leases_go_on_in_the_queues_that_answer(
    make: Any, broker: Broker, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make("one", "two")
    worker, _ = rig.worker("a", "one", "two")
    rig.tick()
    mend = spoiled(broker, "one", "holders")
    old = worker.table.lease(0)
    clock.forward(LEASE // 3)

    for _ in range(3):
        assert 0 <= rig.tick() <= rig.heartbeat.longest_delay

    assert worker.table.lease(0) == old
    assert worker.table.lease(1) > old
    assert scores(broker, "holders", "two") == {worker.holder: clock.now + LEASE}
    assert caplog.text.count("WRONGTYPE") == 1
    assert "queue one: heartbeat failed" in caplog.text
    assert worker.told == []

    mend()
    rig.tick()

    assert worker.table.lease(0) > old
    assert "queue one: heartbeat works again" in caplog.text


def test_a_child_whose_lease_ended_meanwhile_makes_room_for_another(
    make: Any, broker: Broker
) -> None:
    """It has stopped what it held of that queue, whatever Redis says when it answers again."""
    rig = make("one", "two")
    worker, _ = rig.worker("a", "one", "two")
    worker.table.extend(0, ended := monotonic() - 1.0)

    rig.tick()

    assert worker.table.lease(0) == ended
    assert worker.table.lease(1) > monotonic()
    assert worker.told == [("retire",)]


def test_due_jobs_are_promoted_in_the_queues_that_answer(
    make: Any, broker: Broker, clock: FakeTime
) -> None:
    rig = make("one", "two")
    for queue in ("one", "two"):
        put(broker, ["late"], due=-1000, queue=queue)
    mend = spoiled(broker, "one", "scheduled")
    clock.forward(1000)

    assert rig.timekeeper.tick() < rig.timekeeper.longest_delay
    assert ready(broker, "two") == ["late"]

    mend()
    rig.timekeeper.troubles.urge()
    rig.timekeeper.tick()
    assert ready(broker, "one") == ["late"]
    rig.timekeeper.bell.close()


def test_the_dead_are_buried_in_the_queues_that_answer(make: Any, broker: Broker) -> None:
    rig = make("one", "two")
    for queue in ("one", "two"):
        put(broker, [queue], queue=queue)
        Child(broker, "a", queue).claim()
    mend = spoiled(broker, "one", "running")

    rig.reaper.died(Child(broker, "a").holder, {}, "killed")
    assert 0 <= rig.reaper.tick() < rig.reaper.longest_delay
    assert "one" in rig.reaper.troubles
    assert ready(broker, "two") == ["two"]

    mend()
    rig.reaper.troubles.urge()
    assert rig.reaper.tick() == FOREVER
    assert ready(broker, "one") == ["one"]


def test_the_janitor_sees_to_the_queues_that_answer(make: Any, broker: Broker) -> None:
    rig = make("one", "two")
    for queue in ("one", "two"):
        put(broker, ["old"], queue=queue)
        Child(broker, "a", queue).settle(
            outcome(Child(broker, "a", queue).claim()[0], "S", b"1", 0)
        )
    spoiled(broker, "one", "succeeded")
    broker.server.command("DEL", broker.key("two", "jobs"))  # what a sweep finds
    rig.janitor.tick()

    assert rig.janitor._trimming == ["one"]


def test_releases_that_fail_are_tried_again_after_a_rest_and_renew_no_faster(
    make: Any, broker: Broker, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make(QUEUE)
    rig.worker("a", QUEUE)
    park(broker, add.module_path, "a")
    clock.forward(1000)
    broker.server.command("SET", broker.key(QUEUE, "calls"), "what a person did")

    rests = [rig.tick() for _ in range(5)]

    assert all(rest > 0.5 for rest in rests)
    assert caplog.text.count("releasing parked jobs failed") == 1
    assert "works again" not in caplog.text


def test_of_several_nodes_the_fullest_counts(make: Any, broker: Broker, monkeypatch: Any) -> None:
    rig = make("one", "two")
    worker, _ = rig.worker("a", "one", "two")
    renew = broker.renew

    def told(*args: Any) -> Any:
        shares = iter((97, 10))
        return {queue: each._replace(memory=next(shares)) for queue, each in renew(*args).items()}

    monkeypatch.setattr(broker, "renew", told)
    rig.tick()

    assert worker.table.memory == 97


def test_it_is_cut_off_when_no_queue_can_be_reached_and_not_when_one_is_broken(
    make: Any, broker: Broker
) -> None:
    rig = make("one", "two")
    heartbeat = rig.heartbeat
    assert not heartbeat.is_cut_off

    heartbeat.troubles.met("one", BrokerUnavailable("away", address="there"))
    assert not heartbeat.is_cut_off
    heartbeat.troubles.met("two", ValueError("broken"))
    assert not heartbeat.is_cut_off
    heartbeat.troubles.met("two", BrokerUnavailable("away", address="there"))
    assert heartbeat.is_cut_off

    rig.tick()
    assert not heartbeat.is_cut_off
