"""What an operator does: delete, advance, postpone, prioritize, edit, pause, and its tally."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.inspector import Inspector
from django_taskq.broker.steering import Steering, paused_until
from django_taskq.job import State
from tests.broker.helpers import (
    DAY,
    ENVELOPE,
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
    endings,
    live,
    outcome,
    put,
    put_asking,
    ready,
    scores,
    seed,
    seed_all,
    states,
    take_token,
    tokens,
    traces,
)

ENDS = ["succeeded", "dead", "cancelled"]


@pytest.fixture
def steering(broker: Broker) -> Steering:
    return Steering(broker)


# -- delete ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ENDS)
def test_an_ended_job_is_deleted_whole(
    broker: Broker, steering: Steering, clock: Any, state: str
) -> None:
    seed(broker, **{state: "a b"})
    clock.forward(WINDOW)

    assert steering.delete(QUEUE, ["a"]) == "O"

    assert traces(broker, "a") == []
    assert states(broker) == {state: ["b"]}


@pytest.mark.parametrize("state", ENDS)
def test_one_that_ended_just_now_goes_when_nobody_can_send_it_again(
    broker: Broker, steering: Steering, clock: Any, state: str
) -> None:
    seed(broker, **{state: "a"})

    assert steering.delete(QUEUE, ["a"]) == "W"

    assert broker.enqueue(QUEUE, [draft("a")]) == "E"
    clock.forward(WINDOW)
    broker.trim(QUEUE)
    assert traces(broker, "a") == []


@pytest.mark.parametrize("state", sorted({*State} - {*ENDS}))
def test_what_has_not_ended_is_not_deleted(broker: Broker, steering: Steering, state: str) -> None:
    seed_all(broker)
    before = dump(broker)

    assert steering.delete(QUEUE, [state, "unknown"]) == "EU"

    assert dump(broker) == before


def test_a_delete_sent_again_answers_as_before(
    broker: Broker, steering: Steering, clock: Any
) -> None:
    seed(broker, dead="a", cancelled="b")
    clock.forward(WINDOW)
    call = steering._moving("delete", QUEUE, (), ["a", "b", "x", "a"])
    assert broker.server.call(call) == b"OOUU"
    broker.enqueue(QUEUE, [draft("a")])
    before = dump(broker)

    assert broker.server.call(call) == b"OOUU"

    assert dump(broker) == before


# -- withdraw --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["waiting", "scheduled", "ready", "retrying"])
def test_what_is_not_running_is_withdrawn(
    broker: Broker, steering: Steering, clock: Any, state: str
) -> None:
    seed(broker, **{state: "a"})

    with endings(broker) as heard:
        assert steering.withdraw(QUEUE, [("a", TASK)], FAILURE, DAY) == "O"
        assert heard.next() == ["a"]

    assert scores(broker, "cancelled") == {"a": clock.now + DAY}
    assert dump(broker)["parked"] == []
    assert broker.fetch(QUEUE, ["a"])[0].errors.endswith(FAILURE)


def test_what_runs_is_not_even_asked_to_stop(broker: Broker, steering: Steering) -> None:
    seed(broker, running="a", dead="b")
    before = dump(broker)

    assert steering.withdraw(QUEUE, [(id, TASK) for id in "abx"], FAILURE, DAY) == "REU"

    assert dump(broker) == before


def test_a_withdrawal_sent_again_answers_as_before(broker: Broker) -> None:
    put(broker, "a")
    call = broker.cancel_call(QUEUE, [("a", TASK)], FAILURE, DAY, "spare")
    assert broker.server.call(call) == b"C/0/"
    broker.retry(QUEUE, ["a"])
    before = dump(broker)

    assert broker.server.call(call) == b"C/0/"

    assert dump(broker) == before


# -- advance ---------------------------------------------------------------------------------------


def test_what_waits_for_its_time_runs_now(broker: Broker, steering: Steering) -> None:
    seed(broker, scheduled="a", retrying="b")
    take_token(broker)
    attempt = live(broker, "b").attempt

    assert steering.advance(QUEUE, ["b", "a"]) == "OO"

    assert ready(broker) == ["b", "a"]
    assert live(broker, "b").attempt == attempt > 0
    assert tokens(broker) == 1


def test_what_does_not_wait_for_a_time_stays(broker: Broker, steering: Steering) -> None:
    seed_all(broker)
    others = sorted({*State} - {State.SCHEDULED, State.RETRYING})
    before = dump(broker, "meta")

    assert steering.advance(QUEUE, [*others, "unknown"]) == "E" * 7

    assert dump(broker, "meta") == before


def test_an_advance_sent_again_moves_nothing_twice(broker: Broker, steering: Steering) -> None:
    seed(broker, scheduled="a")
    call = steering._moving("advance", QUEUE, (), ["a"])
    assert broker.server.call(call) == b"O"
    child = Child(broker)
    (grant,) = child.claim()
    child.settle(outcome(grant, "R", FAILURE, DAY))
    before = dump(broker)

    assert broker.server.call(call) == b"O"

    assert dump(broker) == before


# -- postpone --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*ENDS, "retrying", "scheduled"])
def test_a_job_runs_at_another_time(
    broker: Broker, steering: Steering, clock: Any, state: str
) -> None:
    seed(broker, **{state: "a"})
    take_token(broker, "timer")

    assert broker.retry(QUEUE, ["a"], clock.now + 1000) == "O"

    assert scores(broker, "scheduled") == {"a": clock.now + 1000}
    assert states(broker) == {"scheduled": ["a"]}
    assert tokens(broker, "timer") == 1
    record = live(broker, "a")
    assert (record.attempt, record.ended) == (0, 0)
    clock.forward(1000)
    broker.promote(QUEUE, "keeper", force=True)
    assert ready(broker) == ["a"]


def test_what_is_in_line_or_runs_is_not_postponed(
    broker: Broker, steering: Steering, clock: Any
) -> None:
    seed_all(broker)
    before = dump(broker)

    letters = broker.retry(QUEUE, ["ready", "running", "waiting", "unknown"], clock.now + 1)

    assert letters == "EEEU"
    assert dump(broker) == before


def test_a_postpone_sent_again_moves_nothing_twice(
    broker: Broker, steering: Steering, clock: Any
) -> None:
    seed(broker, dead="a")
    call = broker.retry_call(QUEUE, ["a"], clock.now + 5)
    assert broker.server.call(call) == b"O"
    clock.forward(5)
    broker.promote(QUEUE, "keeper", force=True)
    child = Child(broker)
    child.settle(*[outcome(grant, "D", FAILURE, DAY) for grant in child.claim()])
    before = dump(broker)

    assert broker.server.call(call) == b"O"

    assert dump(broker) == before


# -- prioritize ------------------------------------------------------------------------------------


def test_a_ready_job_keeps_its_turn_within_its_new_priority(
    broker: Broker, steering: Steering
) -> None:
    put(broker, ["a", "b"])
    put(broker, ["x", "y"], priority=5)
    put(broker, ["c"])

    assert steering.prioritize(QUEUE, ["c", "y"], 3) == "OO"
    assert ready(broker) == ["x", "y", "c", "a", "b"]
    assert steering.prioritize(QUEUE, ["c", "y"], 0) == "OO"
    assert ready(broker) == ["x", "a", "b", "y", "c"]


def test_a_job_that_was_given_back_stays_at_the_front(broker: Broker, steering: Steering) -> None:
    put(broker, ["a", "b"])
    child = Child(broker)
    (grant,) = child.claim()
    child.settle(outcome(grant, "G"))

    steering.prioritize(QUEUE, ["a", "b"], -4)
    put(broker, ["last"], priority=-4)

    assert ready(broker) == ["a", "b", "last"]


@pytest.mark.parametrize("state", ["running", "scheduled", "retrying", "waiting"])
def test_what_is_ready_later_stands_at_its_new_priority(
    broker: Broker, steering: Steering, clock: Any, state: str
) -> None:
    grants = seed(broker, **{state: "a"})
    put(broker, ["first"], priority=6)

    assert steering.prioritize(QUEUE, ["a"], 7) == "O"

    assert live(broker, "a").priority == 7
    if state == "running":
        Child(broker, "seeder").settle(outcome(grants["a"], "R", FAILURE, 1))
    clock.forward(2 * DAY)
    broker.promote(QUEUE, "keeper", force=True)
    broker.release(QUEUE, TASK)
    assert ready(broker) == ["a", "first"]


# -- edit ------------------------------------------------------------------------------------------

OTHER = b'["tests.noop",1,[2]]'


@pytest.mark.parametrize("state", sorted({*State} - {State.RUNNING}))
def test_a_job_that_is_not_running_gets_other_arguments(
    broker: Broker, steering: Steering, state: str
) -> None:
    seed_all(broker)

    assert steering.edit(QUEUE, state, ENVELOPE, OTHER) == "O"
    assert steering.edit(QUEUE, state, ENVELOPE, OTHER) == "O"  # sent again

    (job,) = broker.fetch(QUEUE, [state])
    assert (job.envelope, job.state) == (OTHER, state)


@pytest.mark.parametrize(
    ("id", "seen", "letter"),
    [("running", ENVELOPE, "R"), ("dead", OTHER, "C"), ("unknown", ENVELOPE, "U")],
)
def test_what_runs_or_was_changed_is_not_edited(
    broker: Broker, steering: Steering, id: str, seen: bytes, letter: str
) -> None:
    seed_all(broker)
    before = dump(broker)

    assert steering.edit(QUEUE, id, seen, b"[]") == letter

    assert dump(broker) == before


# -- pause -----------------------------------------------------------------------------------------


def test_a_paused_queue_says_why_until_it_goes_on(broker: Broker, steering: Steering) -> None:
    put(broker, ["a"])
    take_token(broker)

    steering.pause(QUEUE, b'{"why":"deploy"}')

    ((state, note),) = Inspector(broker).overview([QUEUE])
    assert (state.paused, note) == (True, b'{"why":"deploy"}')
    steering.resume(QUEUE)
    ((state, note),) = Inspector(broker).overview([QUEUE])
    assert (state.paused, note) == (False, b"")
    assert tokens(broker) == 1  # somebody looks at what came meanwhile


def test_a_pause_can_end_by_itself(broker: Broker, steering: Steering, clock: Any) -> None:
    steering.pause(QUEUE, b"", clock.now + 1000)
    assert Inspector(broker).queue(QUEUE).paused

    clock.forward(1000)

    assert not Inspector(broker).queue(QUEUE).paused


def test_a_paused_queue_settles_and_grants_nothing(broker: Broker, steering: Steering) -> None:
    child = Child(broker)
    put(broker, ["a", "b"])
    (grant,) = child.claim()
    steering.pause(QUEUE, b"")

    answer = child.exchange(10, [outcome(grant, "S")])

    assert (answer.verdicts, answer.grants, answer.left) == ("O", [], 0)
    assert states(broker) == {"ready": ["b"], "succeeded": ["a"]}
    assert tokens(broker) == 0  # it would bring the worker back at once
    steering.resume(QUEUE)
    assert [each.id for each in child.claim(10)] == ["b"]


def test_a_call_that_was_refused_for_a_pause_is_served_when_it_comes_again(
    broker: Broker, steering: Steering
) -> None:
    child = Child(broker)
    put(broker, ["a"])
    steering.pause(QUEUE, b"")
    assert child.claim() == []
    steering.resume(QUEUE)

    assert [each.id for each in child.again().grants] == ["a"]


def test_what_was_granted_before_a_pause_is_found_again(broker: Broker, steering: Steering) -> None:
    child = Child(broker)
    put(broker, ["a", "b"])
    child.claim()
    steering.pause(QUEUE, b"")

    assert [each.id for each in child.again().grants] == ["a"]


def test_a_pause_that_is_over_holds_nothing_back(
    broker: Broker, steering: Steering, clock: Any
) -> None:
    child = Child(broker)
    put(broker, ["a"])
    steering.pause(QUEUE, b"", clock.now + 1000)
    assert child.claim() == []

    clock.forward(1000)

    assert [each.id for each in child.claim()] == ["a"]


def test_a_renewal_wakes_somebody_when_a_pause_is_over(
    broker: Broker, steering: Steering, clock: Any
) -> None:
    child = Child(broker)
    put(broker, ["a"])
    steering.pause(QUEUE, b"", clock.now + 1000)
    child.claim()
    clock.forward(1000)

    broker.renew([QUEUE], [child.holder], LEASE)

    assert tokens(broker) == 1


def test_the_sweep_wakes_nobody_for_a_paused_queue(broker: Broker, steering: Steering) -> None:
    child = Child(broker)
    put(broker, ["a"])
    steering.pause(QUEUE, b"")
    child.claim()

    assert not any(chunk.found for chunk in broker.walk(QUEUE, mend=True))

    assert tokens(broker) == 0


@pytest.mark.parametrize(
    ("paused", "until"),
    [(b"", None), (b"0", None), (b"1", 0), (b"999", None), (b"1001", 1001), (b"x", None)],
)
def test_what_a_pause_is(paused: bytes, until: int | None) -> None:
    assert paused_until(paused, 1000) == until


# -- locks and gates -------------------------------------------------------------------------------


def test_what_is_withdrawn_gives_back_its_lock_and_lets_in_the_next(
    broker: Broker, steering: Steering
) -> None:
    put_asking(broker, ["locked"], asked(lock="k"))
    put_asking(broker, ["inside", "first", "second"], asked(at_once(1)))
    child = Child(broker)
    grants = child.claim(4)
    assert [grant.id for grant in grants] == ["locked", "inside"]
    child.settle(outcome(grants[0], "R", FAILURE, DAY))
    assert states(broker)["waiting"] == ["first", "second"]

    jobs = [("locked", TASK), ("first", TASK)]
    assert steering.withdraw(QUEUE, jobs, FAILURE, DAY) == "OO"

    assert put_asking(broker, ["another"], asked(lock="k")) == "N"
    child.settle(outcome(grants[1], "S"))
    assert [grant.id for grant in child.claim(4)] == ["second", "another"]


def test_a_postponed_job_takes_its_lock_and_waits_for_no_others(
    broker: Broker, steering: Steering, clock: Any
) -> None:
    put_asking(broker, ["a"], asked(lock="k"))
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    put_asking(broker, ["b"], asked(lock="k"))
    assert broker.retry(QUEUE, ["a"], clock.now + 5) == "L"
    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)

    assert broker.retry(QUEUE, ["a", "b"], clock.now + 5) == "OL"

    assert put_asking(broker, ["c"], asked(lock="k")).startswith("U")


def test_a_job_at_a_gate_stands_there_under_its_new_priority(
    broker: Broker, steering: Steering
) -> None:
    put_asking(broker, ["inside", "first", "second"], asked(at_once(1)))
    child = Child(broker)
    (grant,) = child.claim(3)

    assert steering.prioritize(QUEUE, ["second"], 5) == "O"
    child.settle(outcome(grant, "S"))

    (grant,) = child.claim(3)
    assert grant.id == "second"
    child.settle(outcome(grant, "S"))
    assert [grant.id for grant in child.claim(3)] == ["first"]


def test_what_is_deleted_leaves_nothing_that_it_asked_for(
    broker: Broker, steering: Steering, clock: Any
) -> None:
    put_asking(broker, ["a"], asked(at_once(1), lock="k"))
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    clock.forward(WINDOW)

    assert steering.delete(QUEUE, ["a"]) == "O"

    assert traces(broker, "a") == []


def test_what_runs_before_its_time_takes_its_turn(broker: Broker, steering: Steering) -> None:
    put_asking(broker, ["a1", "a2", "a3"], asked(key="a"))
    put_asking(broker, ["b"], asked(key="b"), due=-DAY)

    assert steering.advance(QUEUE, ["b"]) == "O"

    assert ready(broker)[-1] == "a3"


# -- tallies ---------------------------------------------------------------------------------------


def test_the_newest_tallies_are_kept(broker: Broker, steering: Steering, clock: Any) -> None:
    for number in range(105):
        steering.note(QUEUE, f"{number}", b"first")
        clock.forward(1)
    steering.note(QUEUE, "50", b"second")

    found = Inspector(broker).tallies([QUEUE, "other"])

    assert found["other"] == []
    assert [tally.id for tally in found[QUEUE]] == [f"{n}" for n in range(104, 4, -1)]
    assert found[QUEUE][54].text == b"second"
