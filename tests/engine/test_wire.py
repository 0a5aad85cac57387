"""A line to Redis on which replies get lost and the server goes away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from django_taskq import troubles
from django_taskq.broker.broker import Broker, Exchange
from django_taskq.clock import monotonic
from django_taskq.job import Grant, Live, new_id
from django_taskq.service import FOREVER
from django_taskq.wire import LONGEST_PAUSE, SHORTEST_PAUSE, Answer, Wire
from tests.broker.helpers import QUEUE, live, members, parked, put, ready, states
from tests.conftest import eventually
from tests.engine.proxy import Proxy
from tests.engine.rig import Recording, Rig, rigs, succeeded

Make = Callable[..., Rig]
LOGGER = "django_taskq.worker"


@pytest.fixture
def wire(far: Recording) -> Wire:
    return Wire(far)


@pytest.fixture
def make(far: Recording) -> Iterator[Make]:
    with rigs(far) as maker:
        yield maker


@pytest.fixture
def rig(make: Make, near: Broker) -> Rig:
    """A child behind the proxy that Redis knows already."""
    one = make(room=10)
    put(near, ["first"])
    assert len(one.work()) == 1
    one.consumer.flush()
    put(near, ["wakes"])
    assert one.consumer.listen()
    return one


def parcel(holder: str, want: int = 0, request: int = 1) -> Exchange:
    return Exchange(QUEUE, holder, 30_000, want > 0, request, want)


def again(wire: Wire, *parcels: Exchange) -> list[Answer]:
    """Sends again what failed, with what else there is, without a rest."""
    wire.urge()
    wire.send(parcels)
    return wire.collect()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Level and text of what the worker said."""
    return [(each.levelno, each.getMessage()) for each in caplog.records if each.name == LOGGER]


# -- the wire --------------------------------------------------------------------------------------


def test_what_is_sent_is_answered(wire: Wire, near: Broker) -> None:
    put(near, ["a"])
    sent = parcel(new_id(), want=5)

    wire.send([sent])
    assert wire.is_waiting
    assert wire.is_owed

    ((request, answer, _),) = wire.collect()
    assert request == sent
    assert [grant.id for grant in answer.grants] == ["a"]
    assert not wire.is_waiting
    assert not wire.is_owed
    assert 0 < wire.trip < 60


def test_without_parcels_nothing_is_sent(wire: Wire, far: Recording) -> None:
    wire.send([])

    assert not wire.is_waiting
    assert wire.collect() == []
    assert far.sent == []


def test_a_lost_reply_is_asked_for_again_under_the_same_names(
    wire: Wire, far: Recording, near: Broker, proxy: Proxy
) -> None:
    put(near, ["a", "b"])
    wire.send([parcel(new_id(), request=1)])
    wire.collect()
    sent = parcel(new_id(), want=2, request=2)
    proxy.losing = True
    wire.send([sent])
    assert wire.collect() == []
    assert wire.is_owed
    assert wire.has_failed(QUEUE)
    assert not wire.may_take(QUEUE)
    assert not wire.is_waiting
    assert members(near, "running") == ["a", "b"], "the script did run"

    proxy.losing = False
    ((request, answer, _),) = again(wire)

    assert request == sent._replace(resent=True)
    assert [grant.id for grant in answer.grants] == ["a", "b"]
    assert not wire.is_down


def test_what_is_sent_again_says_so_and_counts_from_the_first_time(
    wire: Wire, far: Recording, proxy: Proxy
) -> None:
    proxy.away = True
    before = monotonic()
    again(wire, parcel(new_id()))
    after = monotonic()
    again(wire)
    proxy.away = False

    (answer,) = again(wire)

    assert [trip[0].resent for trip in far.sent] == [False, True, True]
    assert before <= answer.since <= after


def test_the_rests_between_tries_grow(
    wire: Wire, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[tuple[float, float]] = []
    monkeypatch.setattr(troubles.random, "uniform", lambda *ends: rests.append(ends) or 0.0)
    proxy.away = True
    again(wire, parcel(new_id()))
    for _ in range(11):
        again(wire)

    longest = [min(SHORTEST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(12)]
    assert rests == [(each / 2, each) for each in longest]


def test_a_rest_can_be_cut_short(wire: Wire, proxy: Proxy) -> None:
    proxy.away = True
    again(wire, parcel(new_id()))
    thread = threading.Thread(target=wire.rest, args=(monotonic() + 3600,), daemon=True)
    wire._troubles.met(QUEUE, OSError())
    wire._troubles._of[QUEUE] = wire._troubles._of[QUEUE]._replace(until=FOREVER)
    thread.start()
    wire.hurry.set()
    thread.join(10)

    assert not thread.is_alive()
    assert wire.next_try <= monotonic(), "and what failed is tried again"


def test_only_one_rest_is_cut_short(wire: Wire, proxy: Proxy) -> None:
    """A worker that stops while Redis is away does not try a thousand times a second."""
    proxy.away = True
    again(wire, parcel(new_id()))
    wire.hurry.set()
    wire.rest()

    assert not wire.hurry.is_set()


def test_an_outage_is_said_once_and_so_is_its_end(
    wire: Wire, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    proxy.away = True
    again(wire, parcel(new_id()))
    for _ in range(3):
        again(wire)
    ((level, text),) = lines(caplog)
    assert level == logging.ERROR
    assert "127.0.0.1" in text
    assert "goes on" in text

    proxy.away = False
    caplog.clear()
    again(wire)
    for number in range(3):
        again(wire, parcel(new_id(), request=number))

    ((level, text),) = lines(caplog)
    assert level == logging.WARNING
    assert text.endswith("works again")


# -- a consumer on such a line ---------------------------------------------------------------------


def test_jobs_whose_grant_was_lost_are_found_again(rig: Rig, near: Broker, proxy: Proxy) -> None:
    """They would wait for the end of the lease."""
    put(near, ["a", "b"])
    proxy.losing = True
    assert rig.consumer.next() is None
    assert members(near, "running") == ["wakes", "a", "b"]

    proxy.losing = False

    assert [grant.id for grant in rig.take()] == ["wakes", "a", "b"]
    assert live(near, "a").fence == 1, "claimed once"
    assert members(near, "running") == ["wakes", "a", "b"]


def test_several_queues_are_asked_again_each_for_its_own(
    make: Make, near: Broker, proxy: Proxy
) -> None:
    rig = make({"one": 1, "two": 1}, room=6)
    for queue in ("one", "two"):
        put(near, [f"{queue}{number}" for number in range(10)], queue=queue)
    first = rig.work(6)
    proxy.losing = True
    assert rig.consumer.next() is None
    proxy.losing = False

    rest = rig.work()

    ids = [grant.id for grant in first + rest]
    assert sorted(ids) == sorted(f"{queue}{n}" for queue in ("one", "two") for n in range(10))
    assert {grant.id[:3] for grant in rest if grant.queue == "one"} == {"one"}


def test_a_claim_that_never_arrived_is_made_by_the_second_sending(
    rig: Rig, near: Broker, proxy: Proxy
) -> None:
    proxy.go_away()
    assert rig.consumer.next() is None
    assert members(near, "running") == []

    proxy.away = False

    assert [grant.id for grant in rig.take()] == ["wakes"]


def test_an_outcome_whose_reply_was_lost_counts_once(
    rig: Rig, near: Broker, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    (grant,) = rig.take()
    rig.consumer.done(succeeded(grant))
    proxy.losing = True
    rig.consumer.flush()
    assert members(near, "succeeded") == ["first", "wakes"], "it was settled"
    assert rig.consumer._wire.is_owed

    proxy.losing = False
    rig.consumer.flush()

    assert members(near, "succeeded") == ["first", "wakes"]
    assert live(near, grant.id).attempt == 1
    assert not rig.consumer.has_work
    assert not [text for _, text in lines(caplog) if "lease" in text], "it is not called stale"


def test_an_outage_loses_no_outcome_and_is_said_once(
    rig: Rig, near: Broker, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [f"a{number:03}" for number in range(40)]
    put(near, ids)
    rig.room = 50
    grants = rig.take()
    proxy.go_away()
    for grant in grants[:20]:
        rig.consumer.done(succeeded(grant))
    rig.consumer.flush()
    for grant in grants[20:]:
        rig.consumer.done(succeeded(grant))
    rig.consumer.flush()
    assert len(members(near, "running")) == 41
    assert len(lines(caplog)) == 1

    proxy.away = False
    rig.consumer.flush()
    rig.consumer.flush()

    assert sorted(members(near, "succeeded")) == [*ids, "first", "wakes"]
    assert [level for level, _ in lines(caplog)] == [logging.ERROR, logging.WARNING]
    assert {live(near, id).attempt for id in ids} == {1}


def test_after_an_outage_every_queue_is_asked_again(rig: Rig, near: Broker, proxy: Proxy) -> None:
    """What came in meanwhile left its token with somebody who was not there."""
    rig.work()
    rig.consumer.flush()
    assert rig.consumer.is_empty
    put(near, ["a"])
    assert near.server.command("LPOP", near.key(QUEUE, "wake")) is not None
    proxy.go_away()
    assert rig.consumer.listen(), "it cannot wait, so it looks"
    proxy.away = False

    def got() -> list[str]:
        return [grant.id for grant in rig.take()]

    assert eventually(got) == ["a"]


def test_who_listens_notices_the_outage(
    rig: Rig, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    rig.work()
    rig.consumer.flush()
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(rig.consumer.listen()), daemon=True)
    thread.start()
    eventually(lambda: rig.consumer._bell.asked)

    proxy.go_away()
    thread.join(30)

    assert told == [True]
    assert [level for level, _ in lines(caplog)] == [logging.ERROR]


def test_a_parked_job_is_parked_once_redis_is_back(rig: Rig, near: Broker, proxy: Proxy) -> None:
    (grant,) = rig.take()
    proxy.go_away()
    rig.consumer.done(parked(grant, "app.unknown"))
    rig.consumer.flush()
    assert not rig.consumer.is_empty

    proxy.away = False
    rig.consumer.flush()
    rig.consumer.flush()

    assert states(near) == {"waiting": ["wakes"], "succeeded": ["first"]}


def test_farewell_waits_for_a_server_that_comes_back(rig: Rig, near: Broker, proxy: Proxy) -> None:
    (grant,) = rig.take()
    rig.consumer.done(succeeded(grant))
    proxy.go_away()
    rig.consumer.flush()
    thread = threading.Thread(target=rig.consumer.farewell, args=(30.0,), daemon=True)
    thread.start()
    eventually(lambda: len(rig.broker.sent) > 4)

    proxy.away = False
    thread.join(20)

    assert members(near, "succeeded") == ["first", "wakes"]


def test_farewell_does_not_wait_for_ever(rig: Rig, near: Broker, proxy: Proxy) -> None:
    (grant,) = rig.take()
    rig.consumer.done(succeeded(grant))
    proxy.go_away()
    rig.consumer.farewell(0.2)

    assert members(near, "running") == ["wakes"]
    assert ready(near) == []


def test_a_lease_that_ended_during_an_outage_is_noticed(
    rig: Rig, near: Broker, proxy: Proxy
) -> None:
    """What was sent under it is not recorded, and nothing is claimed with it."""
    put(near, ["a"])
    rig.room = 1
    (grant,) = rig.take(1)
    proxy.go_away()
    rig.consumer.done(succeeded(grant))
    assert rig.consumer.next() is None
    near.reclaim(QUEUE, rig.holder, b"", died=True)

    proxy.away = False
    assert rig.consumer.next() is None

    assert rig.consumer.lost
    assert ready(near) == ["wakes", "a"]
    assert members(near, "succeeded") == ["first"]


def test_a_grant_is_not_mistaken_for_another_holders(
    make: Make, near: Broker, proxy: Proxy
) -> None:
    """Both number their requests from one."""
    mine, other = make(room=2), make(room=2)
    put(near, ["a", "b", "c", "d"])
    other.take(1)
    warm = Grant(QUEUE, "none", b"", Live())
    mine.consumer.done(succeeded(warm))
    mine.consumer.flush()

    proxy.losing = True
    assert mine.consumer.next() is None
    proxy.losing = False

    assert [grant.id for grant in mine.take(2)] == ["c", "d"]


def test_an_error_that_is_no_outage_is_tried_again_after_a_rest_too(
    wire: Wire, near: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    near.server.command("SET", near.key(QUEUE, "holders"), "what a person did")
    before = monotonic()
    assert again(wire, parcel(new_id(), want=1)) == []
    assert wire.has_failed(QUEUE)
    assert wire.is_owed
    assert wire.next_try >= before + SHORTEST_PAUSE / 2
    assert "WRONGTYPE" in caplog.text

    near.server.command("DEL", near.key(QUEUE, "holders"))
    ((_, answer, _),) = again(wire)

    assert answer.alive
    assert not wire.is_owed


# -- one queue is broken, the others go on ---------------------------------------------------------


def spoil(broker: Broker, queue: str, key: str) -> Callable[[], object]:
    """Makes a key of a queue something that no script can work with; mends it when called."""
    name = broker.key(queue, key)
    broker.server.command("RENAME", name, f"{name}-aside")
    broker.server.command("SET", name, "what a person did")
    return lambda: broker.server.command("RENAME", f"{name}-aside", name)


def test_an_error_of_one_queue_is_its_own(
    wire: Wire, near: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    put(near, ["a", "later"], queue="one")
    put(near, ["b"], queue="two")
    mend = spoil(near, "one", "wake")
    holder = new_id()
    asks = [Exchange(queue, holder, 30_000, True, 1, 1) for queue in ("one", "two")]

    ((request, answer, _),) = again(wire, *asks)

    assert (request.queue, [grant.id for grant in answer.grants]) == ("two", ["b"])
    assert not wire.may_take("one")
    assert wire.may_take("two")
    for _ in range(3):
        again(wire)
    ((level, text),) = lines(caplog)
    assert level == logging.ERROR
    assert "queue one" in text
    assert "taskq doctor" in text

    mend()
    ((request, answer, _),) = again(wire)

    assert (request.queue, [grant.id for grant in answer.grants]) == ("one", ["a"])
    assert lines(caplog)[-1] == (
        logging.WARNING,
        "queue one: the exchange with Redis works again",
    )


def test_a_consumer_goes_on_with_the_queues_that_answer(
    make: Make, near: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_taskq.wire.SHORTEST_PAUSE", 60.0)  # urge() ends it
    monkeypatch.setattr("django_taskq.wire.LONGEST_PAUSE", 60.0)
    rig = make({"one": 1, "two": 1}, room=2)
    put(near, ["a", "b"], queue="one")
    put(near, ["c", "d"], queue="two")
    first = rig.take(2)
    mend = spoil(near, "one", "holders")
    for grant in first:
        rig.consumer.done(succeeded(grant))

    assert {grant.queue for grant in rig.work()} == {"two"}
    rig.consumer.flush()

    assert members(near, "succeeded", "two") == ["c", "d"]
    assert not rig.consumer.is_empty, "it has an outcome for the other"
    put(near, ["e"], queue="two")
    assert rig.consumer.listen(), "and hears of new work"
    assert [grant.id for grant in rig.work()] == ["e"]

    mend()
    rig.consumer._wire.urge()
    assert rig.consumer.has_work
    assert eventually(lambda: [grant.id for grant in rig.work()]) == ["b"]
    rig.consumer.flush()
    assert members(near, "succeeded", "one") == ["a", "b"]
    assert rig.consumer.is_empty


def test_farewell_settles_what_can_be_settled(make: Make, near: Broker) -> None:
    rig = make({"one": 1, "two": 1}, room=2)
    put(near, ["a"], queue="one")
    put(near, ["b"], queue="two")
    spoil_after = rig.take(2)
    assert len(spoil_after) == 2
    spoil(near, "one", "running")
    for grant in spoil_after:
        rig.consumer.done(succeeded(grant))

    rig.consumer.farewell(0.2)

    assert members(near, "succeeded", "two") == ["b"]


def test_what_is_buffered_of_a_queue_is_given_up_with_its_lease(make: Make, near: Broker) -> None:
    rig = make({"one": 1, "two": 1}, room=6)
    for queue in ("one", "two"):
        put(near, [f"{queue}{number}" for number in range(3)], queue=queue)
    assert rig.consumer.next() is not None

    rig.consumer.give_up("one")

    assert {grant.queue for grant in rig.consumer.buffer} == {"two"}
    put(near, ["more"], queue="one")
    assert {grant.queue for grant in rig.work()} == {"two"}, "and nothing is claimed of it"
