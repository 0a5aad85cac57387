"""Jobs become ready when they are due; one worker keeps the time of a queue, and any may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_taskq.broker.broker import KEEPER_GRACE, Broker
from django_taskq.broker.connection import Server
from django_taskq.clock import monotonic
from django_taskq.job import Kind
from django_taskq.service import FOREVER
from django_taskq.services.timekeeper import Timekeeper
from tests.broker.helpers import FAILURE, QUEUE, Child, outcome, put, ready, states, tokens
from tests.conftest import FakeTime, eventually
from tests.engine.proxy import proxied

Make = Callable[..., Timekeeper]


@pytest.fixture
def make(broker: Broker) -> Iterator[Make]:
    """Makes timekeepers of a name, in the test's own time."""
    made: list[Timekeeper] = []

    def keeper(name: str = "one", *queues: str, of: Broker = broker) -> Timekeeper:
        made.append(Timekeeper(of, queues or [QUEUE], name))
        return made[-1]

    yield keeper
    for each in made:
        each.bell.close()


def rest_of(keeper: Timekeeper) -> int:
    """A tick that takes no time; ms until it wants the next, rounded."""
    now = monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django_taskq.services.timekeeper.monotonic", lambda: now)
        return round(keeper.tick() * 1000)


def heard(keeper: Timekeeper) -> None:
    """Waits for the token that the server has for it, as the supervisor's selector does."""
    keeper.rung()


def test_it_rests_until_the_next_job_is_due(make: Make, broker: Broker) -> None:
    put(broker, ["late"], due=-9000)
    put(broker, ["soon"], due=-4000)

    assert rest_of(make()) == 4000
    assert ready(broker) == []


def test_with_nothing_scheduled_it_rests_for_ever(make: Make) -> None:
    assert make().tick() == FOREVER


def test_what_is_due_becomes_ready(make: Make, broker: Broker, clock: FakeTime) -> None:
    put(broker, ["a"], due=-1000)
    put(broker, ["b"], due=-2000)
    keeper = make()
    clock.forward(1000)

    rest = rest_of(keeper)

    assert states(broker) == {"ready": ["a"], "scheduled": ["b"]}
    assert rest == 1000
    assert tokens(broker) == 1, "and an idle worker is woken"


def test_a_retry_becomes_ready_too(make: Make, broker: Broker, clock: FakeTime) -> None:
    put(broker, ["a"])
    child = Child(broker)
    (grant,) = child.claim()
    child.settle(outcome(grant, Kind.RETRYING, FAILURE, 3000))
    keeper = make()
    assert rest_of(keeper) == 3000
    clock.forward(3000)

    heard(keeper)
    keeper.tick()

    assert ready(broker) == ["a"]


def test_more_than_a_hundred_due_at_once_are_moved_one_after_the_other(
    make: Make, broker: Broker, clock: FakeTime
) -> None:
    put(broker, [f"a{number:03}" for number in range(250)], due=-1000)
    clock.forward(1000)
    keeper = make()

    assert rest_of(keeper) == 0, "it comes again at once"
    assert len(ready(broker)) == 100
    assert rest_of(keeper) == 0
    assert keeper.tick() == FOREVER

    assert ready(broker) == [f"a{number:03}" for number in range(250)]


def test_each_queue_has_its_own_time(make: Make, broker: Broker, clock: FakeTime) -> None:
    put(broker, ["a"], due=-1000, queue="one")
    put(broker, ["b"], due=-5000, queue="two")
    keeper = make("k", "one", "two")
    assert rest_of(keeper) == 1000
    clock.forward(1000)
    keeper._due["one"] = 0.0  # its second is over

    assert 1000 < rest_of(keeper) <= 5000, "of the other, which was asked before"

    assert ready(broker, "one") == ["a"]
    assert ready(broker, "two") == []


# -- tokens ----------------------------------------------------------------------------------------


def test_it_is_told_when_something_is_due_earlier(make: Make, broker: Broker) -> None:
    put(broker, ["late"], due=-60_000)
    keeper = make()
    keeper.tick()
    heard(keeper)  # of the first
    keeper.due = monotonic() + keeper.tick()

    put(broker, ["soon"], due=-500)
    heard(keeper)

    assert keeper.due == 0.0
    assert rest_of(keeper) == 500


def test_a_job_that_is_due_later_rings_for_nobody(make: Make, broker: Broker) -> None:
    put(broker, ["soon"], due=-500)
    keeper = make()
    keeper.tick()
    heard(keeper)
    keeper.tick()

    put(broker, ["late"], due=-60_000)

    assert tokens(broker, "timer") == 0


def test_it_goes_on_listening_after_a_token_and_after_none(
    make: Make, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_taskq.services.timekeeper.PATIENCE", 0.05)
    keeper = make()
    keeper.tick()
    assert keeper.bell.asked

    heard(keeper)  # none came in time
    assert not keeper.bell.asked
    keeper.tick()
    assert keeper.bell.asked

    put(broker, ["a"], due=-500)
    heard(keeper)
    keeper.tick()
    assert keeper.bell.asked


def test_the_end_of_its_patience_asks_redis_for_nothing(
    make: Make, broker: Broker, clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_taskq.services.timekeeper.PATIENCE", 0.05)
    put(broker, ["a"], due=-9000)
    keeper = make()
    keeper.tick()
    heard(keeper)
    keeper.tick()
    heard(keeper)
    calls: list[Any] = []
    monkeypatch.setattr(broker, "promote", lambda *args, **more: calls.append(args))

    keeper.tick()

    assert calls == []


# -- two keepers -----------------------------------------------------------------------------------


def test_of_two_keepers_one_keeps_the_time(make: Make, broker: Broker, clock: FakeTime) -> None:
    put(broker, ["a"], due=-1000)
    first, second = make("one"), make("two")

    assert rest_of(first) == 1000
    assert rest_of(second) == 1000 + KEEPER_GRACE


def test_the_other_takes_over_when_the_keeper_is_late(
    make: Make, broker: Broker, clock: FakeTime
) -> None:
    put(broker, ["a"], due=-1000)
    first, second = make("one"), make("two")
    first.tick()
    second.tick()

    clock.forward(1000)
    second._due[QUEUE] = 0.0
    assert rest_of(second) == KEEPER_GRACE, "not its business yet"
    assert ready(broker) == []

    clock.forward(KEEPER_GRACE)
    second._due[QUEUE] = 0.0
    second.tick()
    assert ready(broker) == ["a"]


def test_one_that_was_replaced_does_not_promote_beside_the_other(
    make: Make, broker: Broker, clock: FakeTime
) -> None:
    put(broker, ["a"], due=-1000)
    first, second = make("one"), make("two")
    first.tick()
    clock.forward(1000 + KEEPER_GRACE)
    second.tick()
    put(broker, ["b"], due=-1000)
    second._due[QUEUE] = 0.0
    second.tick()
    clock.forward(1000)

    first._due[QUEUE] = 0.0
    assert rest_of(first) == KEEPER_GRACE

    assert states(broker) == {"ready": ["a"], "scheduled": ["b"]}


def test_whoever_hears_the_token_becomes_the_keeper(
    make: Make, broker: Broker, clock: FakeTime
) -> None:
    """The other sleeps until a later head; it may not even be told."""
    put(broker, ["late"], due=-60_000)
    first, second = make("one"), make("two")
    first.tick()
    heard(first)
    first.tick()
    first.bell.close()
    second.tick()

    put(broker, ["soon"], due=-500)
    heard(second)

    assert rest_of(second) == 500
    clock.forward(500)
    second._due[QUEUE] = 0.0
    second.tick()
    assert ready(broker) == ["soon"]


def test_force_is_used_once(make: Make, broker: Broker, clock: FakeTime) -> None:
    put(broker, ["a"], due=-500)
    first, second = make("one"), make("two")
    second.tick()
    heard(second)
    second.tick()
    put(broker, ["b"], due=-100)
    first._due[QUEUE] = 0.0
    first._force.add(QUEUE)
    first.tick()  # it is the keeper now

    second._due[QUEUE] = 0.0
    assert rest_of(second) == 100 + KEEPER_GRACE


def test_with_two_keepers_every_job_is_promoted_once_and_in_time(
    make: Make, broker: Broker, clock: FakeTime
) -> None:
    ids = [f"a{number:02}" for number in range(20)]
    for number, id in enumerate(ids):
        put(broker, [id], due=-100 * (number + 1))
    keepers = [make("one"), make("two")]
    late = []
    for _ in range(20):
        clock.forward(100)
        for keeper in keepers:
            keeper._due[QUEUE] = 0.0
            keeper.tick()
        late.append(len(states(broker).get("scheduled", [])))

    assert late == list(range(19, -1, -1))
    assert ready(broker) == ids


# -- hints -----------------------------------------------------------------------------------------


def test_a_hint_brings_it_forward(make: Make) -> None:
    keeper = make()
    keeper.due = monotonic() + keeper.tick()
    assert keeper.due == FOREVER

    before = monotonic()
    keeper.hint(QUEUE, 2000)

    assert before + 2 <= keeper.due <= monotonic() + 2


def test_a_hint_never_puts_it_off(make: Make, broker: Broker) -> None:
    put(broker, ["a"], due=-1000)
    keeper = make()
    keeper.due = monotonic() + keeper.tick()
    before = keeper.due

    keeper.hint(QUEUE, 5000)
    keeper.hint(QUEUE, -1)

    assert keeper.due == before


def test_a_hint_makes_good_a_token_that_was_lost(
    make: Make, broker: Broker, clock: FakeTime
) -> None:
    keeper = make()
    keeper.due = monotonic() + keeper.tick()
    broker.server.command("DEL", broker.key(QUEUE, "timer"))
    keeper.bell.close()
    put(broker, ["a"], due=-1000)
    broker.server.command("LPOP", broker.key(QUEUE, "timer"))  # by one that was killed

    before = monotonic()
    keeper.hint(QUEUE, broker.renew([QUEUE], [], 30_000)[QUEUE].next_due)
    assert before + 1 <= keeper.due <= monotonic() + 1
    clock.forward(1000)
    keeper._due[QUEUE] = keeper.due = 0.0
    keeper.run(monotonic())

    assert ready(broker) == ["a"]


# -- outages ---------------------------------------------------------------------------------------


def test_after_an_outage_it_looks_at_every_queue(
    make: Make, url: str, prefix: str, clock: FakeTime, broker: Broker
) -> None:
    with proxied(url) as proxy:
        far = Broker(Server(proxy.url, connect_timeout=0.2), prefix, now=clock)
        keeper = make("one", "one", "two", of=far)
        keeper.run(monotonic())
        proxy.go_away()
        put(broker, ["a"], due=-100, queue="one")
        put(broker, ["b"], due=-100, queue="two")
        keeper.rung()
        assert 0 < keeper.due < FOREVER
        assert keeper.tick() < keeper.longest_delay, "it tries again"
        clock.forward(100)

        proxy.away = False

        def both() -> bool:
            keeper.due = 0.0
            keeper.run(monotonic())
            return ready(broker, "one") == ["a"] and ready(broker, "two") == ["b"]

        eventually(both)
        far.server.close()
