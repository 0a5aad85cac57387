"""Locks: one job like it at a time, from its enqueue to its end, however it ends."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import LOST_LIMIT, Broker
from django_taskq.job import Kind
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    asked,
    at_once,
    draft,
    dump,
    outcome,
    parked,
    put,
    put_asking,
    state_of,
    without_envelope,
)

LOCK = asked(lock="x")
STARTED = asked(lock="x", started=True)
ENDS = "SDQCK"  # kinds after which a job has ended
WAITS = "RZGX"  # kinds after which it waits again


def locks(broker: Broker) -> dict[str, str]:
    """What stands at each lock."""
    return {name.decode(): value.decode() for name, value in dump(broker)["locks"].items()}


def claim(broker: Broker, ask: bytes = LOCK, id: str = "a") -> tuple[Child, Any]:
    """A child and the grant of a job that asks for a lock."""
    assert put_asking(broker, [id], ask) == "N"
    child = Child(broker)
    (grant,) = child.claim()
    return child, grant


def cancel(broker: Broker, id: str = "a") -> None:
    broker.cancel(QUEUE, [(id, TASK)], FAILURE, DAY)


# -- taken -----------------------------------------------------------------------------------------


def test_another_job_is_refused_and_told_whose_lock_it_is(broker: Broker) -> None:
    put_asking(broker, ["a"], LOCK)

    assert put_asking(broker, ["b"], LOCK) == "U a"
    assert state_of(broker, "b") == ""
    assert set(dump(broker)["asks"]) == {b"a"}


def test_of_one_call_the_first_gets_the_lock(broker: Broker) -> None:
    jobs = [
        draft("a")._replace(ask=LOCK),
        draft("b")._replace(ask=asked(lock="y")),
        draft("c")._replace(ask=LOCK),
        draft("d")._replace(ask=asked(lock="y")),
        draft("e"),
    ]

    assert broker.enqueue(QUEUE, jobs) == "NNUUN a b"
    assert locks(broker) == {"x": "a", "y": "b"}


def test_a_job_that_exists_takes_no_lock(broker: Broker) -> None:
    put(broker, ["a"])

    assert put_asking(broker, ["a"], LOCK) == "E"
    assert locks(broker) == {}


def test_the_same_enqueue_again_finds_its_own_job(broker: Broker) -> None:
    put_asking(broker, ["a"], LOCK)

    assert put_asking(broker, ["a"], LOCK) == "E"
    assert locks(broker) == {"x": "a"}


def test_a_refused_enqueue_sent_again_is_refused_or_taken_but_once(broker: Broker) -> None:
    put_asking(broker, ["a"], LOCK)
    jobs = [draft("b")._replace(ask=LOCK), draft("c")]
    assert broker.enqueue(QUEUE, jobs) == "UN a"
    assert broker.enqueue(QUEUE, jobs) == "UE a"
    cancel(broker)
    assert broker.enqueue(QUEUE, jobs) == "NE"
    assert broker.enqueue(QUEUE, jobs) == "EE"


def test_a_scheduled_job_has_its_lock_from_the_start(broker: Broker) -> None:
    put_asking(broker, ["a"], LOCK, due=-DAY)

    assert put_asking(broker, ["b"], LOCK) == "U a"


# -- given back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENDS)
def test_every_end_opens_the_lock(broker: Broker, kind: str) -> None:
    child, grant = claim(broker)

    child.settle(outcome(grant, kind))

    assert locks(broker) == {}


@pytest.mark.parametrize("kind", WAITS)
def test_a_job_that_waits_again_keeps_its_lock(broker: Broker, kind: str) -> None:
    child, grant = claim(broker)

    child.settle(outcome(grant, kind, delay=DAY))

    assert locks(broker) == {"x": "a"}


@pytest.mark.parametrize("kind", [*Kind])
def test_the_end_of_a_job_that_was_called_off_opens_the_lock(broker: Broker, kind: Kind) -> None:
    child, grant = claim(broker)
    cancel(broker)
    assert locks(broker) == {"x": "a"}

    if kind is Kind.PARKED:
        broker.park(QUEUE, [parked(grant)])
    else:
        child.settle(outcome(grant, kind, delay=DAY))

    assert state_of(broker, "a") == "cancelled"
    assert locks(broker) == {}


@pytest.mark.parametrize("where", ["ready", "scheduled", "retrying", "parked", "gated"])
def test_a_cancel_opens_the_lock_wherever_the_job_waits(broker: Broker, where: str) -> None:
    if where == "scheduled":
        put_asking(broker, ["a"], LOCK, due=-DAY)
    elif where == "gated":
        put_asking(broker, ["other"], asked(at_once(1)))
        put_asking(broker, ["a"], asked(at_once(1), lock="x"))
        Child(broker).claim(2)
    elif where == "ready":
        put_asking(broker, ["a"], LOCK)
    else:
        child, grant = claim(broker)
        if where == "parked":
            broker.park(QUEUE, [parked(grant)])
        else:
            child.settle(outcome(grant, "R", delay=DAY))
    assert locks(broker) == {"x": "a"}

    cancel(broker)

    assert state_of(broker, "a") == "cancelled"
    assert locks(broker) == {}


def test_a_parked_job_keeps_its_lock(broker: Broker, clock: Any) -> None:
    _, grant = claim(broker)

    broker.park(QUEUE, [parked(grant)])
    assert locks(broker) == {"x": "a"}

    clock.forward(DAY)
    broker.release(QUEUE, TASK)
    assert locks(broker) == {"x": "a"}


@pytest.mark.parametrize("died", [True, False])
def test_a_reclaimed_job_keeps_its_lock(broker: Broker, clock: Any, died: bool) -> None:
    child, _ = claim(broker)
    clock.forward(LEASE)

    broker.reclaim(QUEUE, child.holder, FAILURE, died=died)

    assert state_of(broker, "a") == "ready"
    assert locks(broker) == {"x": "a"}


@pytest.mark.parametrize("way", ["lost", "called off"])
def test_a_reclaim_that_ends_the_job_opens_the_lock(broker: Broker, clock: Any, way: str) -> None:
    child, _ = claim(broker)
    if way == "called off":
        cancel(broker)
    for turn in range(LOST_LIMIT + 1):
        clock.forward(LEASE)
        broker.reclaim(QUEUE, child.holder, FAILURE, died=way != "lost")
        if state_of(broker, "a") != "ready":
            break
        child = Child(broker, f"child-{turn}")
        child.claim()

    assert state_of(broker, "a") == ("cancelled" if way == "called off" else "dead")
    assert locks(broker) == {}


def test_a_job_without_its_envelope_opens_the_lock(broker: Broker) -> None:
    put_asking(broker, ["a"], LOCK)
    without_envelope(broker, "a")

    Child(broker).claim()

    assert state_of(broker, "a") == "dead"
    assert locks(broker) == {}


@pytest.mark.parametrize("where", ["ready", "running", "scheduled", "gated"])
def test_the_sweep_of_a_broken_job_opens_the_lock(broker: Broker, where: str) -> None:
    put_asking(broker, ["other"], asked(at_once(1)))
    put_asking(broker, ["a"], asked(at_once(1), lock="x"), due=-DAY * (where == "scheduled"))
    if where == "running":
        cancel(broker, "other")
    if where in ("running", "gated"):
        Child(broker).claim(2)
    without_envelope(broker, "a")

    list(broker.walk(QUEUE, mend=True))

    assert state_of(broker, "a") == "dead"
    assert locks(broker) == {}


def test_the_end_of_one_job_leaves_the_locks_of_others(broker: Broker) -> None:
    child, grant = claim(broker, STARTED)
    put_asking(broker, ["b"], STARTED)

    child.settle(outcome(grant, "S"))

    assert locks(broker) == {"x": "b"}


def test_what_is_trimmed_leaves_neither_ask_nor_lock(broker: Broker, clock: Any) -> None:
    child, grant = claim(broker)
    child.settle(outcome(grant, "S", delay=0))
    put_asking(broker, ["b"], LOCK)
    clock.forward(WINDOW)

    assert broker.trim(QUEUE) == 1

    assert set(dump(broker)["asks"]) == {b"b"}
    assert locks(broker) == {"x": "b"}


# -- until it starts -------------------------------------------------------------------------------


def test_a_lock_until_the_start_is_open_once_the_job_runs(broker: Broker) -> None:
    claim(broker, STARTED)

    assert locks(broker) == {}
    assert put_asking(broker, ["b"], STARTED) == "N"


@pytest.mark.parametrize("way", [*WAITS, "park", "reclaim"])
def test_it_is_taken_again_when_the_job_waits_again(broker: Broker, way: str) -> None:
    child, grant = claim(broker, STARTED)

    wait_again(broker, child, grant, way)

    assert locks(broker) == {"x": "a"}


@pytest.mark.parametrize("way", [*WAITS, "park", "reclaim"])
def test_it_stays_with_another_who_took_it_meanwhile(broker: Broker, way: str) -> None:
    child, grant = claim(broker, STARTED)
    put_asking(broker, ["b"], STARTED)

    wait_again(broker, child, grant, way)

    assert locks(broker) == {"x": "b"}
    assert state_of(broker, "a") in ("ready", "retrying", "scheduled", "waiting")


def wait_again(broker: Broker, child: Child, grant: Any, way: str) -> None:
    if way == "park":
        broker.park(QUEUE, [parked(grant)])
    elif way == "reclaim":
        broker.reclaim(QUEUE, child.holder, FAILURE, died=True)
    else:
        child.settle(outcome(grant, way, delay=DAY))


# -- a time that it stays at least -----------------------------------------------------------------

MINUTE = asked(lock="x", ttl=60_000)


def test_a_lock_with_a_time_stays_so_long_after_the_end(broker: Broker, clock: Any) -> None:
    child, grant = claim(broker, MINUTE)
    child.settle(outcome(grant, "S"))

    clock.forward(59_999)
    assert put_asking(broker, ["b"], MINUTE) == "U a"
    clock.forward(1)
    assert put_asking(broker, ["b"], MINUTE) == "N"
    assert locks(broker) == {"x": "b"}


def test_the_time_does_not_end_before_the_job_does(broker: Broker, clock: Any) -> None:
    child, grant = claim(broker, MINUTE)

    clock.forward(DAY)
    assert put_asking(broker, ["b"], MINUTE) == "U a"
    child.settle(outcome(grant, "S"))
    assert put_asking(broker, ["b"], MINUTE) == "N"


def test_a_lock_whose_time_is_over_is_deleted(broker: Broker, clock: Any) -> None:
    child, grant = claim(broker, MINUTE)
    child.settle(outcome(grant, "S"))
    clock.forward(60_000)

    broker.trim(QUEUE)

    assert locks(broker) == {}
    assert dump(broker)["lapses"] == []


def test_the_time_of_an_earlier_job_takes_no_later_one_s_lock(broker: Broker, clock: Any) -> None:
    claim(broker, asked(lock="x", ttl=60_000, started=True))
    clock.forward(60_000)
    put_asking(broker, ["b"], LOCK)

    broker.trim(QUEUE)

    assert locks(broker) == {"x": "b"}
    assert dump(broker)["lapses"] == []


def test_a_job_that_waits_again_takes_its_own_lock_that_stays(broker: Broker, clock: Any) -> None:
    child, grant = claim(broker, asked(lock="x", ttl=60_000, started=True))

    child.settle(outcome(grant, "R", delay=DAY))
    assert locks(broker) == {"x": "a"}

    clock.forward(60_000)
    broker.trim(QUEUE)
    assert locks(broker) == {"x": "a"}


# -- retry -----------------------------------------------------------------------------------------


def test_a_dead_job_takes_its_lock_again(broker: Broker) -> None:
    child, grant = claim(broker)
    child.settle(outcome(grant, "D", delay=DAY))

    assert broker.retry(QUEUE, ["a"]) == "O"
    assert locks(broker) == {"x": "a"}


def test_a_dead_job_whose_lock_another_has_stays_dead(broker: Broker) -> None:
    child, grant = claim(broker)
    child.settle(outcome(grant, "D", delay=DAY))
    put_asking(broker, ["b"], LOCK)

    assert broker.retry(QUEUE, ["a"]) == "L"
    assert state_of(broker, "a") == "dead"
    assert locks(broker) == {"x": "b"}


def test_of_two_dead_jobs_with_one_lock_the_first_goes_on(broker: Broker) -> None:
    for id in "ab":
        child, grant = claim(broker, id=id)
        child.settle(outcome(grant, "D", delay=DAY))

    assert broker.retry(QUEUE, ["a", "b"]) == "OL"
    assert locks(broker) == {"x": "a"}


def test_a_retry_sent_again_answers_the_same(broker: Broker) -> None:
    child, grant = claim(broker)
    child.settle(outcome(grant, "D", delay=DAY))
    call = broker.retry_call(QUEUE, ["a"])

    assert broker.server.call(call) == broker.server.call(call) == b"O"
    assert locks(broker) == {"x": "a"}


# -- a settle whose reply was lost -----------------------------------------------------------------


def test_a_settle_sent_again_opens_no_lock_that_another_took(broker: Broker) -> None:
    child, grant = claim(broker)
    child.settle(outcome(grant, "S"))
    put_asking(broker, ["b"], LOCK)

    assert child.again().verdicts == "D"
    assert locks(broker) == {"x": "b"}


def test_a_stale_settle_opens_no_lock(broker: Broker) -> None:
    child, grant = claim(broker)
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True)

    assert Child(broker, "late").settle(outcome(grant, "S")) == "S"
    assert locks(broker) == {"x": "a"}
