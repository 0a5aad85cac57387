"""cancel: at once where nothing runs, asked for where it does, and final."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.broker.replies import Cancelled
from django_taskq.job import FRESH, State
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    dump,
    endings,
    holder_id,
    live,
    outcome,
    parked,
    put,
    ready,
    scores,
    seed,
    seed_all,
    state_of,
    states,
    take_token,
    tokens,
    traces,
)

KEPT = ("calls", "answers")  # what a call did, should it be sent again
RESTING = [State.WAITING, State.SCHEDULED, State.READY, State.RETRYING]


def cancel(broker: Broker, *ids: str, keep: int = DAY) -> list[Cancelled]:
    return broker.cancel(QUEUE, [(id, TASK) for id in ids], FAILURE, keep)


@pytest.mark.parametrize("state", RESTING)
def test_a_job_that_does_not_run_is_cancelled_at_once(
    broker: Broker, clock: Any, state: State
) -> None:
    seed(broker, **{state: "a"})
    fence = live(broker, "a").fence

    with endings(broker) as heard:
        assert cancel(broker, "a") == [Cancelled("C", "", fence)]
        assert heard.next() == ["a"]

    assert states(broker) == {"cancelled": ["a"]}
    assert scores(broker, "cancelled") == {"a": clock.now + DAY}
    record = live(broker, "a")
    assert (record.ended, record.holder, record.note) == (clock.now, "", "")
    assert dump(broker)["parked"] == []


@pytest.mark.parametrize("state", RESTING)
def test_why_it_was_cancelled_is_kept_behind_its_failures(broker: Broker, state: State) -> None:
    seed(broker, **{state: "a"})
    (before,) = broker.fetch(QUEUE, ["a"])

    cancel(broker, "a")

    (after,) = broker.fetch(QUEUE, ["a"])
    assert after.errors == b"\n".join(filter(None, [before.errors, FAILURE]))


def test_a_running_job_is_asked_to_stop(broker: Broker) -> None:
    seed(broker, running="a")
    before = dump(broker, "cancels", *KEPT)

    with endings(broker) as heard:
        assert cancel(broker, "a") == [Cancelled("R", holder_id("seeder"), 1)]
        assert heard.nothing()

    assert dump(broker, "cancels", *KEPT) == before
    assert dump(broker)["cancels"] == {b"a": b"cancel %d" % DAY}


@pytest.mark.parametrize("state", RESTING)
def test_who_may_only_kill_cancels_nothing_that_waits(broker: Broker, state: State) -> None:
    """Also where it stopped running between a person's look and the order."""
    seed(broker, **{state: "a"}, running="b")
    fence = live(broker, "a").fence
    before = dump(broker, "cancels", *KEPT)

    answers = broker.cancel(QUEUE, [("a", TASK), ("b", TASK)], FAILURE, DAY, "kill-only")

    assert answers == [Cancelled("L", "", fence), Cancelled("R", holder_id("seeder"), 1)]
    assert dump(broker, "cancels", *KEPT) == before
    assert dump(broker)["cancels"] == {b"b": b"kill %d" % DAY}


@pytest.mark.parametrize("order", ["kill", "kill-only"])
def test_the_holder_is_told_to_kill(broker: Broker, order: str) -> None:
    seed(broker, running="a")
    connection = broker.server.connect()
    connection.send_command("SUBSCRIBE", broker.control)
    connection.read_response()

    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY, order)

    message = connection.read_response()[2]
    connection.disconnect()
    assert message.decode().startswith("kill ")


def test_the_holder_is_told_at_once(broker: Broker) -> None:
    seed(broker, running="a")
    connection = broker.server.connect()
    connection.send_command("SUBSCRIBE", broker.control)
    connection.read_response()

    cancel(broker, "a")

    message = connection.read_response()[2]
    connection.disconnect()
    assert message.decode() == f"cancel {holder_id('seeder')} {QUEUE} a 1"


@pytest.mark.parametrize("state", ["succeeded", "dead", "cancelled"])
def test_an_ended_job_cannot_be_cancelled(broker: Broker, state: str) -> None:
    seed(broker, **{state: "a"})
    before = dump(broker)

    assert cancel(broker, "a") == [Cancelled("E", "", 1)]

    assert dump(broker) == before


def test_an_unknown_job_is_said_to_be_unknown(broker: Broker) -> None:
    put(broker, "a")
    before = dump(broker)

    assert cancel(broker, "x") == [Cancelled("U", "", 0)]

    assert dump(broker) == before


def test_jobs_of_all_states_can_be_cancelled_in_one_call(broker: Broker) -> None:
    seed_all(broker)

    with endings(broker) as heard:
        answers = cancel(broker, *State, "unknown")
        assert sorted(heard.next()) == sorted(RESTING)

    verdicts = {id: answer.verdict for id, answer in zip([*State, "unknown"], answers, strict=True)}
    assert verdicts == {
        **dict.fromkeys(RESTING, "C"),
        "running": "R",
        **dict.fromkeys(["succeeded", "dead", "cancelled"], "E"),
        "unknown": "U",
    }


@pytest.mark.parametrize("state", [*RESTING, State.RUNNING])
def test_to_cancel_twice_is_to_cancel_once(broker: Broker, clock: Any, state: State) -> None:
    seed(broker, **{state: "a"})
    first = cancel(broker, "a")
    before = dump(broker, *KEPT)
    clock.forward(1)

    again = cancel(broker, "a")

    assert dump(broker, *KEPT) == before
    assert again == (first if state is State.RUNNING else [first[0]._replace(verdict="E")])


def test_an_id_that_comes_twice_in_a_call_is_cancelled_once(broker: Broker) -> None:
    put(broker, "ab")

    cancel(broker, "a", "a")

    assert states(broker) == {"ready": ["b"], "cancelled": ["a"]}
    assert broker.fetch(QUEUE, ["a"])[0].errors == FAILURE


def test_nothing_to_cancel_asks_nothing(broker: Broker) -> None:
    assert cancel(broker) == []


def test_many_are_cancelled_in_several_calls(broker: Broker) -> None:
    ids = [f"job-{number}" for number in range(2 * HOUSEKEEPING + 5)]
    put(broker, ids)

    assert [answer.verdict for answer in cancel(broker, *ids)] == ["C"] * len(ids)

    assert sorted(states(broker)["cancelled"]) == sorted(ids)


@pytest.mark.parametrize(("keep", "kept"), [(0, WINDOW), (WINDOW - 1, WINDOW), (DAY, DAY)])
def test_it_is_kept_for_at_least_the_window(
    broker: Broker, clock: Any, keep: int, kept: int
) -> None:
    put(broker, "a")

    cancel(broker, "a", keep=keep)

    assert scores(broker, "cancelled") == {"a": clock.now + kept}


def test_what_was_cancelled_is_never_claimed(broker: Broker) -> None:
    put(broker, "abc")

    cancel(broker, "a", "c")

    assert [grant.id for grant in Child(broker).claim(9)] == ["b"]


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize(("ids", "left"), [("a", 1), ("ab", 0)])
def test_the_token_goes_with_the_last_ready_job(
    broker: Broker, taken: bool, ids: str, left: int
) -> None:
    put(broker, "ab")
    if taken:
        take_token(broker)

    cancel(broker, *ids)

    assert tokens(broker) == left


def test_a_job_that_was_asked_to_stop_and_is_parked_ends_cancelled(broker: Broker) -> None:
    grants = seed(broker, running="a")
    cancel(broker, "a")

    with endings(broker) as heard:
        assert broker.park(QUEUE, [parked(grants["a"])]) == "C"
        assert heard.next() == ["a"]

    assert states(broker) == {"cancelled": ["a"]}
    assert (dump(broker)["parked"], dump(broker)["cancels"]) == ([], {})


@pytest.mark.parametrize("died", [False, True])
def test_a_job_that_was_asked_to_stop_and_is_reclaimed_ends_cancelled(
    broker: Broker, clock: Any, died: bool
) -> None:
    seed(broker, running="a b")
    cancel(broker, "a")
    clock.forward(DAY)

    with endings(broker) as heard:
        broker.reclaim(QUEUE, holder_id("seeder"), FAILURE, died=died, started=["a"])
        assert heard.next() == ["a"]

    assert states(broker) == {"ready": ["b"], "cancelled": ["a"]}
    assert dump(broker)["cancels"] == {}
    assert (live(broker, "a").fence, live(broker, "a").ended) == (2, clock.now)


def test_priority_is_not_lost_by_being_cancelled(broker: Broker) -> None:
    put(broker, ["plain"])
    put(broker, ["high"], priority=9)
    cancel(broker, "high")
    assert live(broker, "high")._replace(ended=0) == FRESH._replace(priority=9)

    broker.retry(QUEUE, ["high"])

    assert ready(broker) == ["high", "plain"]


def test_a_parked_job_leaves_nothing_behind_its_task(broker: Broker, clock: Any) -> None:
    """Even when whoever cancels it does not know the task's name."""
    seed(broker, waiting="a b")

    broker.cancel(QUEUE, [("a", "another.name")], FAILURE, DAY)
    clock.forward(DAY)

    assert broker.release(QUEUE, TASK) == 1
    assert ready(broker) == ["b"]
    assert dump(broker)["parked"] == []


def test_a_cancelled_job_is_deleted_whole(broker: Broker, clock: Any) -> None:
    seed(broker, waiting="a")
    cancel(broker, "a", keep=0)
    clock.forward(WINDOW)

    assert broker.trim(QUEUE) == 1

    assert traces(broker, "a") == []


def test_a_cancel_that_comes_too_late_for_the_settle_is_refused(broker: Broker) -> None:
    grants = seed(broker, running="a")
    Child(broker, "seeder").settle(outcome(grants["a"], "S", b"1", DAY))

    assert cancel(broker, "a")[0].verdict == "E"
    assert state_of(broker, "a") == "succeeded"
