"""Ticks of schedules: each is fired once, whoever fires it, and what became of it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.almanac import FORGET_AFTER, Almanac, Entry, Record, Tick
from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.schedule import tick_name
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    draft,
    dump,
    members,
    outcome,
    put,
    ready,
    states,
    take_token,
    tokens,
)

NAME = "nightly"
PRINT = "0123456789ab"
SECOND = 1_000


@pytest.fixture
def almanac(broker: Broker) -> Almanac:
    return Almanac(broker)


@pytest.fixture
def begun(almanac: Almanac, clock: Any) -> int:
    """The time at which the schedule began."""
    almanac.agenda(QUEUE, [(NAME, PRINT)])
    return int(clock())


def tick(due: int, overlap: str = "skip", missed: int = 0, name: str = NAME) -> Tick:
    if not overlap:
        return Tick(name, due, due, "", missed)
    return Tick(name, due, due, overlap, missed, draft(tick_name(name, due)))


def fire(almanac: Almanac, *ticks: Tick) -> str:
    return "".join(each.letter for each in almanac.tick(QUEUE, ticks)[1])


def record(almanac: Almanac, name: str = NAME) -> Record:
    _, (found,) = almanac.agenda(QUEUE, [(name, "")])
    assert found is not None
    return found


def log(almanac: Almanac) -> list[tuple[str, str]]:
    """Letter and detail of each line, the oldest first."""
    return [(e.letter, e.detail) for e in reversed(almanac.history(QUEUE, NAME))]


def end(broker: Broker) -> None:
    """Everything that is ready succeeds."""
    child = Child(broker)
    child.settle(*[outcome(grant, "S", b"1", DAY) for grant in child.claim(100)])


# -- once ------------------------------------------------------------------------------------------


def test_a_tick_becomes_a_job_that_wakes_a_worker(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    now, (ticked,) = almanac.tick(QUEUE, [tick(clock.forward(SECOND))])

    assert (now, ticked.letter) == (begun + SECOND, "N")
    assert ticked.record == Record(now, now, begun, False, False, PRINT, tick_name(NAME, now))
    assert ready(broker) == [tick_name(NAME, now)]
    assert tokens(broker) == 1


@pytest.mark.parametrize("retention", [0, DAY])
def test_a_tick_is_never_fired_again_even_when_its_job_is_forgotten(
    almanac: Almanac, broker: Broker, clock: Any, begun: int, retention: int
) -> None:
    due = clock.forward(SECOND)
    fire(almanac, tick(due))
    child = Child(broker)
    child.settle(*[outcome(grant, "S", b"1", retention) for grant in child.claim()])
    clock.forward(WINDOW + 1)
    broker.trim(QUEUE)
    before = dump(broker)

    assert fire(almanac, tick(due)) == "E"
    assert dump(broker) == before


def test_a_call_sent_again_changes_nothing(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    due = clock.forward(2 * SECOND)
    both = [tick(due - SECOND, "queue"), tick(due, "queue")]
    assert fire(almanac, *both) == "NN"
    before = dump(broker)

    assert fire(almanac, *both) == "EE"
    assert dump(broker) == before


def test_a_job_that_is_there_is_not_overwritten_though_the_record_is_lost(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    due = clock.forward(SECOND)
    fire(almanac, tick(due))
    broker.server.command("DEL", broker.key(QUEUE, "ticks"))

    assert fire(almanac, tick(due, "queue")) == "E"
    assert members(broker, "ready") == [tick_name(NAME, due)]
    assert record(almanac).last == due


def test_no_tick_is_fired_before_its_time_by_redis_own_clock(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    due = begun + SECOND
    clock.forward(SECOND - 1)
    before = dump(broker)

    assert fire(almanac, tick(due)) == "T"
    assert dump(broker) == before
    clock.forward(1)
    assert fire(almanac, tick(due)) == "N"


def test_a_tick_waits_for_its_jitter_and_those_behind_it_with_it(
    almanac: Almanac, clock: Any, begun: int
) -> None:
    due = clock.forward(SECOND)
    first = tick(due - 1)._replace(at=due + 300)

    assert fire(almanac, first, tick(due)) == "TT"
    clock.forward(300)
    assert fire(almanac, first) == "N"


def test_a_time_that_jumped_back_fires_nothing_twice(
    almanac: Almanac, clock: Any, begun: int
) -> None:
    due = clock.forward(3 * SECOND)
    fire(almanac, tick(due))
    clock.forward(-2 * SECOND)

    assert fire(almanac, tick(due - SECOND)) == "E"


def test_schedules_do_not_touch_each_other(almanac: Almanac, broker: Broker, clock: Any) -> None:
    almanac.agenda(QUEUE, [("a", PRINT), ("b", PRINT)])
    due = clock.forward(SECOND)

    assert fire(almanac, tick(due, name="a"), tick(due, name="b"), tick(due, name="a")) == "NNE"
    assert sorted(ready(broker)) == sorted([tick_name("a", due), tick_name("b", due)])


# -- overlap ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ready", "running", "retrying", "scheduled"])
def test_skip_leaves_a_tick_out_while_the_job_before_has_not_ended(
    almanac: Almanac, broker: Broker, clock: Any, begun: int, state: str
) -> None:
    first = clock.forward(SECOND)
    fire(almanac, tick(first))
    if state != "ready":
        child = Child(broker)
        (grant,) = child.claim()
        if state != "running":
            child.settle(outcome(grant, {"retrying": "R", "scheduled": "Z"}[state], FAILURE, DAY))
    second = clock.forward(SECOND)

    assert list(states(broker)) == [state]
    assert fire(almanac, tick(second)) == "O"
    assert log(almanac) == [("N", tick_name(NAME, first)), ("O", tick_name(NAME, first))]
    assert record(almanac).last == second


def test_skip_fires_again_when_the_job_before_has_ended(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    fire(almanac, tick(clock.forward(SECOND)))
    end(broker)

    assert fire(almanac, tick(clock.forward(SECOND))) == "N"


def test_skip_holds_within_one_call_too(almanac: Almanac, clock: Any, begun: int) -> None:
    due = clock.forward(2 * SECOND)

    assert fire(almanac, tick(due - SECOND), tick(due)) == "NO"


def test_queue_fires_whatever_the_job_before_does(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    due = clock.forward(2 * SECOND)

    assert fire(almanac, tick(due - SECOND, "queue"), tick(due, "queue")) == "NN"
    assert len(ready(broker)) == 2


def test_replace_asks_for_the_job_before_to_be_cancelled_first(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    first = clock.forward(SECOND)
    fire(almanac, tick(first, "replace"))
    due = clock.forward(SECOND)
    before = dump(broker)

    _, (ticked,) = almanac.tick(QUEUE, [tick(due, "replace")])

    assert (ticked.letter, ticked.record.id) == ("R", tick_name(NAME, first))
    assert dump(broker) == before
    broker.cancel(QUEUE, [(ticked.record.id, TASK)], FAILURE, DAY)
    assert fire(almanac, tick(due, "replace")) == "N"
    assert ready(broker) == [tick_name(NAME, due)]


def test_replace_waits_for_no_running_job_once_it_was_told(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    first = clock.forward(SECOND)
    fire(almanac, tick(first, "replace"))
    Child(broker).claim()
    due = clock.forward(SECOND)

    assert fire(almanac, tick(due, "replace")) == "R"
    broker.cancel(QUEUE, [(tick_name(NAME, first), TASK)], FAILURE, DAY)
    assert fire(almanac, tick(due, "replace")) == "N"


# -- given up, paused, skipped, by hand ------------------------------------------------------------


def test_ticks_that_are_given_up_are_counted_and_never_come_back(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    due = clock.forward(3 * SECOND)

    assert fire(almanac, tick(due, "", missed=3)) == "M"
    assert fire(almanac, tick(due)) == "E"
    assert (states(broker), log(almanac)) == ({}, [("M", "3")])


def test_those_before_a_tick_that_is_fired_are_noted_with_it(
    almanac: Almanac, clock: Any, begun: int
) -> None:
    due = clock.forward(3 * SECOND)
    fire(almanac, tick(due, missed=2))

    assert log(almanac) == [("M", "2"), ("N", tick_name(NAME, due))]


def test_a_paused_schedule_stands_still_until_it_may_go_on(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    assert almanac.steer(QUEUE, "pause", [NAME]) == "O"
    assert almanac.steer(QUEUE, "pause", [NAME]) == "S"
    due = clock.forward(SECOND)

    assert fire(almanac, tick(due), tick(due)) == "PT"
    assert (record(almanac).last, states(broker)) == (begun, {})
    assert almanac.steer(QUEUE, "resume", [NAME]) == "O"
    assert fire(almanac, tick(due)) == "N"


def test_one_tick_is_skipped_when_that_was_asked_for(
    almanac: Almanac, clock: Any, begun: int
) -> None:
    assert almanac.steer(QUEUE, "skip", [NAME]) == "O"
    due = clock.forward(SECOND)

    assert fire(almanac, tick(due), tick(clock.forward(SECOND))) == "KN"
    assert [letter for letter, _ in log(almanac)] == ["K", "N"]


def test_an_order_sent_again_after_it_was_used_up_does_not_count_twice(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    call = broker._call("steer", QUEUE, (clock(), "token", "skip", NAME))
    assert broker.server.call(call) == b"O"
    fire(almanac, tick(clock.forward(SECOND)))

    assert broker.server.call(call) == b"O"
    assert record(almanac).skip is False


def test_a_run_by_hand_moves_nothing_on(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    almanac.steer(QUEUE, "pause", [NAME])
    by_hand = Tick(NAME, 0, 0, "skip", 0, draft("mine"))

    assert fire(almanac, by_hand) == "N"
    assert fire(almanac, by_hand) == "E"
    assert ready(broker) == ["mine"]
    assert (record(almanac).last, record(almanac).id) == (begun, "")
    assert almanac.history(QUEUE, NAME)[-1] == Entry(begun, begun, "H", "mine")


# -- what is kept ----------------------------------------------------------------------------------


def test_the_history_has_an_end(almanac: Almanac, broker: Broker, clock: Any, begun: int) -> None:
    for _ in range(HOUSEKEEPING):
        fire(almanac, tick(clock.forward(SECOND), "queue"))

    (_, kept) = broker.server.command("HGETALL", broker.key(QUEUE, "tick_log"))
    assert len(kept) <= 2048
    history = almanac.history(QUEUE, NAME)
    assert 20 < len(history) < HOUSEKEEPING
    assert history[0].due == clock()
    assert {len(entry.detail) for entry in history} == {22}


def test_a_new_schedule_begins_now_and_goes_on_from_there(
    almanac: Almanac, clock: Any, begun: int
) -> None:
    clock.forward(DAY)

    assert almanac.agenda(QUEUE, [(NAME, PRINT)]) == (
        clock(),
        [Record(begun, 0, clock(), False, False, PRINT, "")],
    )
    assert almanac.agenda(QUEUE, [("unknown", "")]) == (clock(), [None])


def test_other_times_begin_anew_and_never_earlier(almanac: Almanac, clock: Any, begun: int) -> None:
    clock.forward(DAY)
    other = PRINT[::-1]

    _, (found,) = almanac.agenda(QUEUE, [(NAME, other)])
    assert found is not None
    assert (found.last, found.print) == (clock(), other)
    clock.forward(-SECOND)
    _, (found,) = almanac.agenda(QUEUE, [(NAME, PRINT)])
    assert found is not None
    assert found.last == clock() + SECOND


def test_reading_writes_nothing(almanac: Almanac, broker: Broker, clock: Any, begun: int) -> None:
    clock.forward(DAY)
    before = dump(broker)
    almanac.agenda(QUEUE, [(NAME, ""), ("unknown", "")])

    assert dump(broker) == before


def test_a_schedule_that_nobody_knows_any_more_is_forgotten_in_time(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    fire(almanac, tick(clock.forward(SECOND)))
    almanac.agenda(QUEUE, [("kept", PRINT)])
    clock.now = begun + FORGET_AFTER
    almanac.agenda(QUEUE, [("kept", PRINT)])
    assert almanac.retire(QUEUE) == ("0", 0)
    clock.forward(1)

    assert almanac.retire(QUEUE) == ("0", 1)
    assert almanac.agenda(QUEUE, [(NAME, "")])[1] == [None]
    assert almanac.history(QUEUE, NAME) == []
    assert record(almanac, "kept").seen == clock() - 1


def test_forgetting_goes_in_steps(almanac: Almanac, broker: Broker, clock: Any) -> None:
    names = [(f"s{number:04}", PRINT) for number in range(2_000)]
    for at in range(0, len(names), HOUSEKEEPING):
        almanac.agenda(QUEUE, names[at : at + HOUSEKEEPING])
    clock.forward(FORGET_AFTER + 1)
    cursor, gone, most = "0", 0, 0
    while True:
        cursor, count = almanac.retire(QUEUE, cursor)
        gone, most = gone + count, max(most, count)
        if cursor == "0":
            break

    assert gone == len(names)
    assert most < 3 * HOUSEKEEPING


def test_a_tick_keeps_the_priority_of_its_job(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    put(broker, ["plain"])
    take_token(broker)
    due = clock.forward(SECOND)
    urgent = tick(due)._replace(draft=draft(tick_name(NAME, due), priority=5))
    fire(almanac, urgent)

    assert ready(broker) == [tick_name(NAME, due), "plain"]
    assert tokens(broker) == 1
