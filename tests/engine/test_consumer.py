"""A child's talk with Redis: what it claims, what it settles, and when it says nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_taskq.asks import NOTHING, gate
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.broker.connection import Server
from django_taskq.clock import monotonic
from django_taskq.codec import decode_failures
from django_taskq.exceptions import ResultTruncated, TaskFailed
from django_taskq.execution import Attempt, Runner
from django_taskq.job import TRUNCATED, Kind, Outcome, State
from django_taskq.service import FOREVER
from django_taskq.services import consumer as consumer_module
from django_taskq.services.consumer import LEAN_BYTES
from tests.broker.helpers import (
    ENVELOPE,
    QUEUE,
    live,
    members,
    parked,
    put,
    ready,
    state_of,
    states,
    take_token,
    tokens,
)
from tests.conftest import eventually
from tests.engine.rig import Recording, Rig, rigs, succeeded
from tests.engine.tasks import add, fail, large

Make = Callable[..., Rig]
WEIGHTS = {"critical": 6, "default": 3, "low": 1}
LONG = 60.0  # seconds that nothing takes here, on however busy a machine
QUICK = 0.000_14  # seconds; ten milliseconds of it are 71 jobs, and no batch is below 64


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens and is not woken does not come back in time."""
    monkeypatch.setattr(consumer_module, "WAKE_PATIENCE", LONG)


@pytest.fixture
def broker(server: Server, prefix: str) -> Recording:
    """A broker in Redis' own time."""
    return Recording(server, prefix)


@pytest.fixture
def make(broker: Recording) -> Iterator[Make]:
    with rigs(broker) as maker:
        yield maker


@pytest.fixture
def rig(make: Make) -> Rig:
    return make()


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def listening(rig: Rig) -> tuple[threading.Thread, list[bool]]:
    """A thread that waits for a token, and what it will be told."""
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(rig.consumer.listen()), daemon=True)
    thread.start()
    eventually(lambda: rig.consumer._bell.asked)
    return thread, told


# -- claim and settle ------------------------------------------------------------------------------


def test_a_job_is_claimed_run_and_settled(rig: Rig) -> None:
    put(rig.broker, ["a"])

    grant = rig.consumer.next()
    assert grant is not None
    assert (grant.id, grant.queue) == ("a", QUEUE)
    assert states(rig.broker) == {"running": ["a"]}

    rig.consumer.done(succeeded(grant))
    rig.consumer.flush()
    assert states(rig.broker) == {"succeeded": ["a"]}


def test_outcomes_leave_with_the_next_claim(rig: Rig) -> None:
    rig.room = 1
    put(rig.broker, ["a", "b"])
    rig.work(1)
    trips = len(rig.broker.sent)

    assert [grant.id for grant in rig.take(1)] == ["b"]

    assert len(rig.broker.sent) == trips + 1
    assert states(rig.broker) == {"succeeded": ["a"], "running": ["b"]}


def test_what_was_settled_is_counted_and_what_goes_back_is_not(rig: Rig) -> None:
    put(rig.broker, names("a", 4))
    good, bad, *rest = rig.take()

    rig.consumer.done(succeeded(good))
    rig.consumer.done(Outcome(bad, Kind.DEAD, b"", 60_000, 1))
    for grant in rest:
        rig.consumer.done(Outcome(grant, Kind.RETURNED))
    rig.consumer.flush()

    assert rig.ended == [2, 1]


def test_jobs_come_in_the_order_of_the_queue(rig: Rig) -> None:
    put(rig.broker, names("a", 25))
    put(rig.broker, ["urgent"], priority=9)

    assert [grant.id for grant in rig.work()] == ["urgent", *names("a", 25)]


def test_no_more_is_claimed_than_there_is_room_for(rig: Rig) -> None:
    rig.room = 3
    put(rig.broker, names("a", 10))

    rig.consumer.next()

    assert members(rig.broker, "running") == names("a", 3)
    assert len(rig.consumer.buffer) == 2


def test_without_room_nothing_is_claimed(rig: Rig) -> None:
    rig.room = 0
    put(rig.broker, ["a"])

    assert rig.consumer.next() is None
    assert rig.broker.sent == []


def test_what_is_buffered_takes_up_room(rig: Rig) -> None:
    rig.room = 4
    put(rig.broker, names("a", 20))
    rig.measure(10.0)
    rig.take(1)
    assert len(rig.consumer.buffer) == 3

    rig.consumer.flush()
    rig.take(2)

    assert members(rig.broker, "running") == names("a", 4)


def test_one_hand_leads_and_the_others_do_not_wait_for_it(rig: Rig) -> None:
    put(rig.broker, ["a"])
    with rig.consumer._leading:
        assert rig.consumer.leading
        assert rig.consumer.next() is None

    assert rig.consumer.next() is not None


def test_many_hands_get_every_job_once(rig: Rig) -> None:
    ids = names("a", 600)
    put(rig.broker, ids)
    rig.measure(QUICK)
    got: list[str] = []

    def hand() -> None:
        while not rig.consumer.is_empty:
            got.extend(grant.id for grant in rig.work())
            if rig.consumer.outcomes:
                rig.consumer.flush()

    hands = [threading.Thread(target=hand, daemon=True) for _ in range(4)]
    for each in hands:
        each.start()
    for each in hands:
        each.join(20)

    assert sorted(got) == ids
    rig.consumer.flush()
    assert sorted(members(rig.broker, "succeeded")) == ids


# -- the lease -------------------------------------------------------------------------------------


def test_the_lease_counts_from_before_the_first_claim_was_sent(rig: Rig) -> None:
    before = monotonic()
    rig.consumer.next()
    after = monotonic()

    ((_, since),) = rig.registered
    assert before <= since <= after
    assert members(rig.broker, "holders") == [rig.holder]


def test_a_queue_is_told_of_the_holder_with_its_first_claim_only(make: Make) -> None:
    rig = make({"one": 1, "two": 1})
    put(rig.broker, names("a", 30), queue="one")
    put(rig.broker, names("b", 30), queue="two")
    rig.take(40)

    firsts = [parcel.queue for parcel in rig.broker.parcels if parcel.first]
    assert sorted(firsts) == ["one", "two"]
    assert len(rig.registered) == 2


def test_settling_alone_registers_nobody(make: Make) -> None:
    """A lease begins with a claim; a first exchange that only settles starts none."""
    first, second = make(), make()
    put(first.broker, ["a"])
    (grant,) = first.take()
    second.consumer.done(succeeded(grant))
    second.consumer.flush()

    assert members(first.broker, "holders") == [first.holder]
    assert second.registered == []


def test_a_lost_lease_is_noticed_and_nothing_more_is_claimed(rig: Rig) -> None:
    rig.room = 1
    put(rig.broker, ["a", "b", "c"])
    rig.take(1)
    assert not rig.consumer.lost
    rig.broker.server.command("ZADD", rig.broker.key(QUEUE, "holders"), 0, rig.holder)

    assert rig.consumer.next() is None

    assert rig.consumer.lost
    assert ready(rig.broker) == ["b", "c"]
    trips = len(rig.broker.sent)
    assert rig.consumer.next() is None
    assert len(rig.broker.sent) == trips


def test_an_outcome_that_came_too_late_is_said_and_dropped(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    put(rig.broker, ["a"])
    (grant,) = rig.take()
    rig.broker.reclaim(QUEUE, rig.holder, b"", died=True)

    rig.consumer.done(succeeded(grant))
    rig.consumer.flush()

    assert states(rig.broker) == {"ready": ["a"]}
    (record,) = [each for each in caplog.records if "lease was lost" in each.message]
    assert record.job_id == "a"  # type: ignore[attr-defined]


# -- prefetch --------------------------------------------------------------------------------------


def test_nothing_is_prefetched_of_tasks_that_were_never_measured(rig: Rig) -> None:
    put(rig.broker, names("a", 200))

    rig.take(1)

    assert len(rig.consumer.buffer) == rig.room - 1


def test_short_jobs_are_prefetched(rig: Rig) -> None:
    put(rig.broker, names("a", 300))
    rig.measure(QUICK)

    rig.take(1)

    assert 64 <= len(rig.consumer.buffer) + 1 - rig.room <= 71


def test_long_jobs_are_not_prefetched(rig: Rig) -> None:
    put(rig.broker, names("a", 300))
    rig.measure(0.5)

    rig.take(1)

    assert len(rig.consumer.buffer) == rig.room - 1


def test_prefetch_ends_while_an_unknown_task_runs(rig: Rig) -> None:
    put(rig.broker, names("a", 300))
    rig.measure(QUICK)
    rig.consumer.pace.begins("never seen")

    rig.take(1)

    assert len(rig.consumer.buffer) == rig.room - 1


def test_prefetch_ends_while_the_slots_are_stuck(rig: Rig) -> None:
    put(rig.broker, names("a", 300))
    rig.measure(QUICK)
    rig.consumer.stuck = True

    rig.take(1)

    assert len(rig.consumer.buffer) == rig.room - 1


def test_the_next_batch_is_on_its_way_before_the_buffer_is_empty(rig: Rig) -> None:
    put(rig.broker, names("a", 400))
    rig.measure(QUICK)
    rig.take(1)
    full = len(rig.consumer.buffer)
    trips = len(rig.broker.sent)
    rig.work(full - 20)

    assert len(rig.consumer.buffer) > 0
    assert len(rig.broker.sent) == trips + 1
    assert rig.consumer.has_work


def test_an_answer_that_nobody_reads_is_due(rig: Rig) -> None:
    """What it brings would lie behind a long job while another worker idles."""
    rig.room = 1
    rig.measure(0.004)
    put(rig.broker, names("a", 10))
    rig.take(3)  # the last one left with a claim on its way, and runs for hours
    eventually(lambda: len(members(rig.broker, "running")) > 3)
    assert not rig.consumer.buffer
    assert not rig.consumer.outcomes

    eventually(lambda: rig.consumer.is_due, timeout=2)
    rig.consumer.flush()

    assert rig.consumer.buffer, "from where it is given back after a while"
    assert not rig.consumer.is_due


# -- dry queues ------------------------------------------------------------------------------------


def test_where_all_queues_are_dry_nobody_is_asked(make: Make) -> None:
    rig = make(WEIGHTS)
    for _ in range(3):
        rig.take()
    trips = len(rig.broker.sent)

    for _ in range(10):
        assert rig.consumer.next() is None

    assert len(rig.broker.sent) == trips
    assert rig.consumer.is_empty


def test_nobody_listens_while_a_queue_may_have_more(rig: Rig) -> None:
    put(rig.broker, names("a", 20))
    rig.take(1)

    assert not rig.consumer.listen()


def test_who_is_let_in_by_an_end_is_asked_for_without_a_token(rig: Rig) -> None:
    narrow = NOTHING + gate("g", "g", 1, None)
    rig.broker.enqueue(QUEUE, [Draft(id, ENVELOPE, ask=narrow) for id in "ab"])
    (first,) = rig.take()
    assert rig.consumer.is_empty

    rig.consumer.done(succeeded(first))
    rig.consumer.flush()

    assert not rig.consumer.is_empty
    take_token(rig.broker)
    assert [grant.id for grant in rig.take()] == ["b"]


def test_a_new_job_wakes_who_listens(rig: Rig) -> None:
    rig.take()
    thread, told = listening(rig)

    put(rig.broker, ["a"])
    thread.join(10)

    assert told == [True]
    assert [grant.id for grant in rig.take()] == ["a"]


def test_only_the_queue_that_woke_it_is_asked(make: Make) -> None:
    rig = make(WEIGHTS)
    rig.take()
    thread, _ = listening(rig)
    before = len(rig.broker.parcels)

    put(rig.broker, ["a"], queue="low")
    thread.join(10)
    assert [grant.queue for grant in rig.take(1)] == ["low"]

    assert [parcel.queue for parcel in rig.broker.parcels[before:]] == ["low"]


def test_only_one_hand_listens(rig: Rig) -> None:
    rig.take()
    thread, _ = listening(rig)

    assert not rig.consumer.listen()

    put(rig.broker, ["a"])
    thread.join(10)


def test_a_token_that_was_lost_with_its_worker_is_made_good_by_the_next_renewal(rig: Rig) -> None:
    rig.take()
    put(rig.broker, ["a"])
    assert take_token(rig.broker), "another worker took it and was killed"
    thread, told = listening(rig)

    rig.broker.renew([QUEUE], [rig.holder], 30_000)
    thread.join(10)

    assert told == [True]
    assert [grant.id for grant in rig.take()] == ["a"]


def test_a_job_for_each_of_two_idle_workers_wakes_both(make: Make) -> None:
    """The first to come drops the token again, because it leaves a job."""
    first, second = make(room=1), make(room=1)
    for rig in (first, second):
        rig.take()
    threads = [listening(rig)[0] for rig in (first, second)]

    put(first.broker, ["a", "b"])
    eventually(lambda: not all(thread.is_alive() for thread in threads))
    early, late = (first, second) if not threads[0].is_alive() else (second, first)
    assert [grant.id for grant in early.take(1)] == ["a"]
    for thread in threads:
        thread.join(10)

    assert [grant.id for grant in late.take(1)] == ["b"]


# -- several queues --------------------------------------------------------------------------------


def fill(rig: Rig, count: int, *queues: str) -> None:
    for queue in queues:
        put(rig.broker, names(queue, count), queue=queue)


def test_jobs_are_granted_by_weight(make: Make) -> None:
    rig = make(WEIGHTS, room=10)
    fill(rig, 100, *WEIGHTS)

    served = Counter(grant.queue for grant in rig.work(100))

    assert served == {"critical": 60, "default": 30, "low": 10}


def test_weights_hold_where_one_job_is_claimed_at_a_time(make: Make) -> None:
    rig = make(WEIGHTS, room=1)
    fill(rig, 40, *WEIGHTS)

    served = Counter(grant.queue for grant in rig.work(40))

    assert served == {"critical": 24, "default": 12, "low": 4}


def test_what_an_empty_queue_leaves_goes_to_the_others(make: Make) -> None:
    rig = make(WEIGHTS, room=8)
    fill(rig, 100, "default", "low")
    rig.work(8)  # the first answer says that critical is empty

    served = Counter(grant.queue for grant in rig.work(80))

    assert served == {"default": 60, "low": 20}


def test_a_queue_that_was_empty_is_served_again(make: Make) -> None:
    rig = make(WEIGHTS, room=10)
    fill(rig, 200, "default", "low")
    rig.work(40)

    fill(rig, 50, "critical")
    served = [grant.queue for grant in rig.work(60)]

    assert served.count("critical") > 20


def test_strictly_a_lower_queue_waits_for_the_higher_ones(make: Make) -> None:
    rig = make(WEIGHTS, room=10, strict=True)
    fill(rig, 25, *WEIGHTS)

    served = [grant.queue for grant in rig.work()]

    assert sorted(served) == served, "critical, default, low, as the alphabet has it"
    assert len(served) == 75


def test_strictly_a_higher_queue_is_served_as_soon_as_it_has_work(make: Make) -> None:
    rig = make(WEIGHTS, room=5, strict=True)
    fill(rig, 50, "low")
    rig.work(20)

    fill(rig, 10, "critical")
    served = [grant.queue for grant in rig.work(20)]

    assert served[:11].count("critical") > 5
    assert served.count("critical") == 10


# -- outcomes --------------------------------------------------------------------------------------


def test_outcomes_are_due_ten_milliseconds_after_the_first(rig: Rig) -> None:
    put(rig.broker, ["a", "b"])
    a, b = rig.take()
    assert not rig.consumer.is_due

    rig.consumer.done(succeeded(a))
    rig.consumer.oldest -= consumer_module.FLUSH_AFTER
    rig.consumer.done(succeeded(b))
    assert rig.consumer.is_due

    rig.consumer.flush()
    assert not rig.consumer.is_due
    assert members(rig.broker, "succeeded") == ["a", "b"]


def test_more_than_five_hundred_outcomes_leave_in_several_exchanges(rig: Rig) -> None:
    ids = names("a", 1100)
    put(rig.broker, ids)
    rig.room = 500
    grants = rig.take()
    for grant in grants:
        rig.consumer.done(succeeded(grant))
    before = len(rig.broker.sent)

    while rig.consumer.outcomes:
        rig.consumer.flush()

    sizes = [len(parcel.outcomes) for trip in rig.broker.sent[before:] for parcel in trip]
    assert sizes == [500, 500, 100]
    assert sorted(members(rig.broker, "succeeded")) == ids


def test_outcomes_of_several_queues_leave_in_one_round_trip(make: Make) -> None:
    rig = make(WEIGHTS, room=30)
    fill(rig, 3, *WEIGHTS)
    for grant in rig.take():
        rig.consumer.done(succeeded(grant))
    before = len(rig.broker.sent)

    rig.consumer.flush()

    assert len(rig.broker.sent) == before + 1
    for queue in WEIGHTS:
        assert members(rig.broker, "succeeded", queue) == names(queue, 3)


def test_a_job_of_an_unknown_task_is_parked_not_settled(rig: Rig) -> None:
    put(rig.broker, ["a", "b"])
    a, b = rig.take()

    rig.consumer.done(parked(a, "app.unknown"))
    rig.consumer.done(succeeded(b))
    rig.consumer.flush()

    assert states(rig.broker) == {"waiting": ["a"], "succeeded": ["b"]}
    assert members(rig.broker, "parked") == ["app.unknown a"]
    assert live(rig.broker, "a").attempt == 0
    assert not any(
        outcome.kind is Kind.PARKED for parcel in rig.broker.parcels for outcome in parcel.outcomes
    )


# -- giving back -----------------------------------------------------------------------------------


def test_what_was_not_started_goes_back_to_the_front_uncounted(rig: Rig) -> None:
    put(rig.broker, names("a", 12))
    rig.take(1)

    rig.consumer.give_back_buffer()
    rig.consumer.flush()

    assert ready(rig.broker) == names("a", 12)[1:]
    assert live(rig.broker, "a0001").attempt == 0
    assert tokens(rig.broker) == 1, "somebody else may have it"


def test_what_was_given_back_can_be_claimed_again(rig: Rig) -> None:
    put(rig.broker, names("a", 3))
    rig.take(1)
    rig.consumer.give_back_buffer()
    rig.consumer.flush()
    assert rig.consumer.listen(), "a token tells of them"

    again = rig.take()

    assert [grant.id for grant in again] == ["a0001", "a0002"]
    assert [grant.live.fence for grant in again] == [2, 2]


# -- the end ---------------------------------------------------------------------------------------


def test_closing_wakes_who_listens_and_claims_no_more(rig: Rig) -> None:
    rig.take()
    thread, _ = listening(rig)

    rig.consumer.close()
    thread.join(LONG / 2)

    assert not thread.is_alive()
    put(rig.broker, ["a"])
    assert rig.consumer.next() is None
    assert not rig.consumer.listen()
    assert ready(rig.broker) == ["a"]


def test_one_that_is_opened_again_claims_what_came_meanwhile_and_listens(rig: Rig) -> None:
    rig.take()
    thread, _ = listening(rig)
    rig.consumer.close()
    thread.join(LONG / 2)
    put(rig.broker, ["a"])
    take_token(rig.broker)  # somebody had no room

    rig.consumer.reopen()

    assert [grant.id for grant in rig.take()] == ["a"]
    thread, told = listening(rig)
    put(rig.broker, ["b"])
    thread.join(10)
    assert told == [True]


def test_one_that_is_opened_again_before_who_listened_wakes_met_no_outage(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two orders may be read in one go."""
    rig.take()
    thread, told = listening(rig)
    hang_up = rig.consumer._bell.close

    def close() -> None:
        rig.consumer.reopen()
        hang_up()

    monkeypatch.setattr(rig.consumer._bell, "close", close)
    rig.consumer.close()
    thread.join(LONG / 2)

    assert told == [True]
    assert not rig.consumer.closing
    assert rig.consumer.next_try == FOREVER
    assert not caplog.records


def test_a_hand_that_begins_to_listen_while_it_closes_does_not_wait(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take a token with it that nobody puts back."""
    rig.take()
    ask = rig.consumer._bell.ask

    def closing(patience: float) -> None:
        rig.consumer.close()
        ask(patience)

    monkeypatch.setattr(rig.consumer._bell, "ask", closing)
    before = monotonic()
    rig.consumer.listen()

    assert monotonic() - before < LONG / 2
    assert not rig.consumer._bell.asked


def test_farewell_settles_everything_and_gives_back_the_rest(make: Make) -> None:
    rig = make(room=20)
    put(rig.broker, names("a", 30))
    for grant in rig.take(5):
        rig.consumer.done(succeeded(grant))

    rig.consumer.close()
    rig.consumer.farewell(LONG)

    assert members(rig.broker, "succeeded") == names("a", 5)
    assert ready(rig.broker) == names("a", 30)[5:]
    assert members(rig.broker, "running") == []
    assert not rig.consumer.outcomes


def test_farewell_settles_more_than_one_exchange_can_carry(rig: Rig) -> None:
    ids = names("a", 1100)
    put(rig.broker, ids)
    rig.room = 500
    for grant in rig.take():
        rig.consumer.done(succeeded(grant))

    rig.consumer.farewell(LONG)

    assert sorted(members(rig.broker, "succeeded")) == ids


def test_farewell_reads_an_answer_that_was_on_its_way(rig: Rig) -> None:
    put(rig.broker, names("a", 300))
    rig.measure(QUICK)
    rig.take(1)
    rig.work(len(rig.consumer.buffer) - 20)
    assert rig.consumer.has_work

    rig.consumer.close()
    rig.consumer.farewell(LONG)

    assert members(rig.broker, "running") == ["a0000"]
    assert len(ready(rig.broker)) + len(members(rig.broker, "succeeded")) == 299


def test_farewell_returns_jobs_that_crashed_before(make: Make) -> None:
    crashed, rig = make(), make()
    put(rig.broker, ["a"])
    crashed.take(1)
    rig.broker.reclaim(QUEUE, crashed.holder, b"", died=True, started=["a"])
    put(rig.broker, ["b"], priority=1)
    assert [grant.id for grant in rig.take(1)] == ["b"]

    rig.consumer.close()
    rig.consumer.farewell(LONG)

    assert ready(rig.broker) == ["a"]
    assert live(rig.broker, "a").crashes == 1, "the next one must run it alone, too"


def test_farewell_puts_back_a_token_that_was_taken_and_not_used(rig: Rig) -> None:
    rig.take()
    thread, _ = listening(rig)
    put(rig.broker, ["a"])
    thread.join(10)
    assert tokens(rig.broker) == 0

    rig.consumer.close()
    rig.consumer.farewell(LONG)

    assert tokens(rig.broker) == 1
    assert ready(rig.broker) == ["a"]


# -- nearly full memory ----------------------------------------------------------------------------


def run(rig: Rig) -> None:
    """Runs the jobs of this project's tasks as a child does."""
    runner = Runner("default", rig.holder, RedisBackend)
    for grant in rig.take():
        prepared = runner.prepare(grant, 1)
        rig.consumer.done(prepared.run() if isinstance(prepared, Attempt) else prepared)
    rig.consumer.flush()


@pytest.fixture
def lean(backend: Any) -> Iterator[Rig]:
    """A child of the default backend whose Redis is nearly full."""
    with rigs(Recording(backend.server, backend.broker.prefix)) as maker:
        yield maker({"default": 1}, memory=95)


@pytest.mark.parametrize(("memory", "lean"), [(0, False), (89, False), (90, True), (100, True)])
def test_scripts_run_lean_above_ninety_percent(make: Make, memory: int, lean: bool) -> None:
    rig = make(memory=memory)
    rig.take()

    assert {parcel.lean for parcel in rig.broker.parcels} == {lean}


def test_large_values_that_fill_redis_are_noticed_before_the_next_renewal(
    private: RedisBackend, prefix: str
) -> None:
    with rigs(Recording(private.server, prefix)) as maker:
        rig = maker()
        put(rig.broker, ["a", "b"])
        (first, second) = rig.take()
        private.server.command("CONFIG", "SET", "maxmemory", "1")
        rig.consumer.done(succeeded(first, b"1" * 20_000))
        rig.consumer.flush()
        rig.consumer.done(succeeded(second, b"1" * 20_000))
        rig.consumer.flush()

    whole, cut = rig.broker.fetch(QUEUE, ["a", "b"])
    assert len(whole.value) == 20_000
    assert cut.value == TRUNCATED


def test_a_large_value_is_truncated_and_says_so(lean: Rig) -> None:
    result = large.enqueue()
    run(lean)

    result.refresh()
    assert result.state is State.SUCCEEDED
    with pytest.raises(ResultTruncated):
        result.get(timeout=5)


def test_a_small_value_is_kept_whole(lean: Rig) -> None:
    result = add.enqueue(1, 2)
    run(lean)

    assert result.get(timeout=5) == 3


def test_with_enough_memory_a_large_value_is_kept(lean: Rig) -> None:
    lean.memory = 89
    result = large.enqueue()
    run(lean)

    assert len(result.get(timeout=5)) == 5000


@pytest.mark.parametrize(("size", "cut"), [(LEAN_BYTES, False), (LEAN_BYTES + 1, True)])
def test_a_value_may_have_a_kilobyte(make: Make, size: int, cut: bool) -> None:
    rig = make(memory=95)
    put(rig.broker, ["a"])
    (grant,) = rig.take()
    rig.consumer.done(succeeded(grant, b"1" * size))
    rig.consumer.flush()

    (stored,) = rig.broker.fetch(QUEUE, ["a"])
    assert (stored.value == TRUNCATED) is cut


def test_a_long_traceback_is_cut_to_its_end(lean: Rig) -> None:
    result = fail.using(max_attempts=1).enqueue("x" * 900 + " the end")
    run(lean)

    with pytest.raises(TaskFailed):
        result.get(timeout=5)
    (stored,) = lean.broker.fetch("default", [result.id])
    (failure,) = decode_failures(stored.errors)
    assert len(stored.errors) <= LEAN_BYTES
    assert failure.c == "builtins.ValueError"
    assert failure.b.rstrip().endswith("the end")
    assert failure.m.startswith("x")


def test_a_parked_job_keeps_its_reason(make: Make) -> None:
    rig = make(memory=95)
    put(rig.broker, ["a"])
    (grant,) = rig.take()
    rig.consumer.done(Outcome(grant, Kind.PARKED, b"r" * 500, task="app.unknown"))
    rig.consumer.flush()

    assert state_of(rig.broker, "a") == "waiting"
    assert live(rig.broker, "a").note.endswith(f" {'r' * 500}")
