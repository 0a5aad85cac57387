"""Ticks of schedules: each is fired once, whoever fires it, and what became of it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker import scripts
from django_taskq.broker.almanac import (
    FAR,
    FORGET_AFTER,
    PAUSE,
    TICKED,
    Almanac,
    Entry,
    Pause,
    Record,
    Tick,
)
from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.codec import LATEST
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


def test_a_pause_with_an_end_is_over_then_by_redis_own_clock(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    assert almanac.steer(QUEUE, "pause", [NAME], 3 * SECOND, b"why") == "O"
    assert record(almanac).pause == Pause(begun + 3 * SECOND, begun, b"why")
    due = clock.forward(SECOND)

    assert fire(almanac, tick(due)) == "P"
    clock.now = begun + 3 * SECOND - 1
    assert fire(almanac, tick(due)) == "P"
    clock.forward(1)
    assert fire(almanac, tick(due)) == "N"
    assert dump(broker)["pauses"] == {}
    found = record(almanac)
    assert (found.paused, found.pause) == (False, Pause())


def test_to_look_at_a_pause_that_is_over_writes_nothing(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    almanac.steer(QUEUE, "pause", [NAME], SECOND)
    clock.forward(SECOND)
    before = dump(broker)

    found = record(almanac)

    assert (found.paused, found.pause) == (False, Pause())
    assert dump(broker) == before


def test_a_worker_that_looks_writes_down_that_a_pause_is_over(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    """Then a worker of a release that knows no ends of pauses goes on too."""
    almanac.steer(QUEUE, "pause", [NAME], SECOND)
    clock.forward(SECOND)

    _, (found,) = almanac.agenda(QUEUE, [(NAME, PRINT)])

    assert found is not None
    assert (found.paused, found.last) == (False, begun)
    (raw,) = dump(broker)["ticks"].values()
    assert TICKED.unpack_from(raw)[3] == 0
    assert dump(broker)["pauses"] == {}


def test_a_pause_that_is_over_is_not_brought_back_by_a_skip_and_needs_no_resume(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    almanac.steer(QUEUE, "pause", [NAME], SECOND)
    clock.forward(SECOND)

    assert almanac.steer(QUEUE, "resume", [NAME]) == "S"
    assert almanac.steer(QUEUE, "skip", [NAME]) == "O"
    assert (record(almanac).paused, record(almanac).skip) == (False, True)
    assert dump(broker)["pauses"] == {}


def test_a_skip_leaves_a_pause_as_it_is(almanac: Almanac, begun: int) -> None:
    almanac.steer(QUEUE, "pause", [NAME], SECOND, b"why")

    assert almanac.steer(QUEUE, "skip", [NAME]) == "O"
    assert record(almanac).pause == Pause(begun + SECOND, begun, b"why")


def test_another_end_or_another_note_is_another_pause(
    almanac: Almanac, clock: Any, begun: int
) -> None:
    assert almanac.steer(QUEUE, "pause", [NAME], 0, b"why") == "O"
    assert almanac.steer(QUEUE, "pause", [NAME], 0, b"why") == "S"
    assert almanac.steer(QUEUE, "pause", [NAME], 0, b"else") == "O"
    assert almanac.steer(QUEUE, "pause", [NAME], SECOND, b"else") == "O"
    clock.forward(SECOND // 2)
    assert almanac.steer(QUEUE, "pause", [NAME], SECOND, b"else") == "O"
    assert record(almanac).pause.until == clock() + SECOND
    assert almanac.steer(QUEUE, "pause", [NAME], 0, b"else") == "O"
    assert record(almanac).pause.until == 0


def test_a_pause_of_the_release_before_has_no_end_and_no_note(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    raw = TICKED.pack(begun, 0, begun, 1) + PRINT.encode()
    broker.server.command("HSET", broker.key(QUEUE, "ticks"), NAME, raw)
    clock.forward(DAY)

    assert fire(almanac, tick(clock())) == "P"
    assert (record(almanac).paused, record(almanac).pause) == (True, Pause())
    assert almanac.steer(QUEUE, "resume", [NAME]) == "O"


def steered_by_the_release_before(broker: Broker, flags: int) -> None:
    """It writes the flags of a record and knows nothing else."""
    key = broker.key(QUEUE, "ticks")
    last, tick, seen, _ = TICKED.unpack_from(raw := broker.server.command("HGET", key, NAME))
    broker.server.command("HSET", key, NAME, TICKED.pack(last, tick, seen, flags) + raw[25:])


def test_an_end_that_the_release_before_left_ends_no_later_pause(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    almanac.steer(QUEUE, "pause", [NAME], DAY, b"why")
    steered_by_the_release_before(broker, 0)
    assert fire(almanac, tick(clock.forward(SECOND))) == "N"
    steered_by_the_release_before(broker, 1)
    assert (record(almanac).paused, record(almanac).pause) == (True, Pause())
    clock.forward(DAY)

    assert fire(almanac, tick(clock.forward(SECOND), "queue")) == "P"
    assert record(almanac).paused
    assert almanac.steer(QUEUE, "pause", [NAME], 0, b"why") == "O"
    assert record(almanac).pause == Pause(0, clock(), b"why")


@pytest.mark.parametrize("flags", [0, 1])
def test_a_worker_that_looks_drops_an_end_that_was_left(
    almanac: Almanac, broker: Broker, clock: Any, begun: int, flags: int
) -> None:
    almanac.steer(QUEUE, "pause", [NAME], DAY, b"why")
    steered_by_the_release_before(broker, 0)
    fire(almanac, tick(clock.forward(SECOND)))
    steered_by_the_release_before(broker, flags)
    ticks = dump(broker)["ticks"]

    almanac.agenda(QUEUE, [(NAME, PRINT)])

    assert (dump(broker)["pauses"], dump(broker)["ticks"]) == ({}, ticks)


def test_a_pause_keeps_its_end_when_its_schedule_gets_other_times(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    almanac.steer(QUEUE, "pause", [NAME], DAY, b"why")
    clock.forward(SECOND)

    _, (found,) = almanac.agenda(QUEUE, [(NAME, PRINT[::-1])])

    assert found is not None
    assert (found.last, found.pause) == (clock(), Pause(begun + DAY, begun, b"why"))
    assert record(almanac).pause == found.pause
    clock.now = begun + DAY
    assert fire(almanac, tick(clock())) == "N"


@pytest.mark.parametrize("bad", [(2**64 - 1, 0), (0, 2**64 - 1), (LATEST, 0)])
def test_a_pause_whose_times_are_none_is_one_without_an_end(
    almanac: Almanac, broker: Broker, begun: int, bad: tuple[int, int]
) -> None:
    almanac.steer(QUEUE, "pause", [NAME])
    raw = PAUSE.pack(*bad, begun) + b"why"
    broker.server.command("HSET", broker.key(QUEUE, "pauses"), NAME, raw)

    assert (record(almanac).paused, record(almanac).pause) == (True, Pause())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_record_whose_times_are_none_is_begun_anew(
    almanac: Almanac, broker: Broker, clock: Any, begun: int, place: int
) -> None:
    times = [begun] * 3
    times[place] = FAR
    raw = TICKED.pack(*times, 0) + PRINT.encode()
    broker.server.command("HSET", broker.key(QUEUE, "ticks"), NAME, raw)
    assert almanac.agenda(QUEUE, [(NAME, "")])[1] == [None]

    assert almanac.agenda(QUEUE, [(NAME, PRINT)])[1] == [Record(begun, 0, begun, print=PRINT)]
    assert fire(almanac, tick(clock.forward(SECOND))) == "N"


def test_scripts_know_the_same_bound_of_times() -> None:
    assert f"local FAR = {FAR} " in scripts.load("agenda").source


def test_a_pause_goes_when_its_schedule_is_forgotten(
    almanac: Almanac, broker: Broker, clock: Any, begun: int
) -> None:
    almanac.steer(QUEUE, "pause", [NAME], 0, b"why")
    clock.forward(FORGET_AFTER + 1)

    assert almanac.retire(QUEUE) == ("0", 1)
    assert dump(broker)["pauses"] == {}


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
    call = broker._call("steer", QUEUE, (clock(), "token", "skip", 0, "", NAME))
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
