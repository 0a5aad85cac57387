"""What attempts came to: counted with the outcomes, once each, in bounds, and read by time."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.inspector import Inspector, Look, Step
from django_taskq.job import Kind, Outcome
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    Child,
    dump,
    give_up,
    outcome,
    put,
    without_envelope,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
NAME = "shop.tasks.pay"


@pytest.fixture
def inspector(broker: Broker) -> Inspector:
    return Inspector(broker)


@pytest.fixture
def child(broker: Broker) -> Child:
    return Child(broker)


_names = itertools.count()


def run(child: Child, kind: str = "S", *, task: str = NAME, count: int = 1, **more: Any) -> str:
    """Takes so many jobs in and settles them as ``kind``; ``more``: waited, took."""
    renew(child)
    put(child.broker, [f"{next(_names)}" for _ in range(count)], child.queue)
    grants = child.claim(count)
    return child.settle(*(outcome(grant, kind, task=task, **more) for grant in grants))


def renew(child: Child) -> None:
    """The lease of a child whose clock went on."""
    child.broker.reclaim(child.queue, child.holder, FAILURE, died=True)


def history(
    inspector: Inspector, queues: list[str], step: int, count: int, task: str = ""
) -> list[Step]:
    """Steps up to now of several queues as one; ``task``: "" for all."""
    look = Look(step, count, by_task=bool(task), task=task)
    return look.steps(inspector.past(queues, look)[0])


def now_of(steps: list[Step]) -> Counter[str]:
    """What happened in the last step."""
    return steps[-1].counters


def all_of(steps: list[Step]) -> Counter[str]:
    found: Counter[str] = Counter()
    for step in steps:
        found.update(step.counters)
    return found


# -- what is counted -------------------------------------------------------------------------------


def test_outcomes_and_times_are_counted_by_task(child: Child, inspector: Inspector) -> None:
    run(child, "S", count=3, waited=1024, took=0)
    run(child, "R", waited=-1, took=9)
    run(child, "D", task="shop.tasks.ship")

    assert inspector.tasks([QUEUE], MINUTE, 1) == {
        NAME: Counter(S=3, w21=3, r0=3, R=1, r7=1),
        "shop.tasks.ship": Counter(D=1),
    }
    (step,) = history(inspector, [QUEUE], MINUTE, 1)
    assert step.counters == Counter(S=3, w21=3, r0=3, R=1, r7=1, D=1)
    assert (step.succeeded, step.retried, step.dead, step.cancelled) == (3, 1, 1, 0)


def test_what_was_given_back_is_not_counted(child: Child, inspector: Inspector) -> None:
    run(child, "G")

    assert now_of(history(inspector, [QUEUE], MINUTE, 1)) == Counter()


def test_a_call_that_is_sent_again_counts_nothing_twice(
    broker: Broker, child: Child, inspector: Inspector
) -> None:
    run(child, "S", count=2, took=3)
    before = dump(broker)

    assert child.again().verdicts == "DD"

    assert dump(broker) == before


def test_what_changed_nothing_is_not_counted(
    broker: Broker, child: Child, inspector: Inspector
) -> None:
    put(broker, "ab")
    stale, good = child.claim(2)
    broker.reclaim(QUEUE, child.holder, FAILURE, died=True)
    again = Child(broker, "other").claim(1)[0]

    letters = Child(broker, "other").settle(
        outcome(stale, "S", task=NAME), outcome(again, "S", task=NAME)
    )

    assert sorted(letters) == ["O", "S"]
    assert now_of(history(inspector, [QUEUE], MINUTE, 1)) == Counter(S=1)
    assert good.id in "ab"


def test_a_cancelled_job_counts_as_that_whatever_it_came_to(
    broker: Broker, child: Child, inspector: Inspector
) -> None:
    put(broker, "ab")
    first, second = child.claim(2)
    broker.cancel(QUEUE, [(first.id, NAME)], FAILURE, DAY)

    assert child.settle(outcome(first, "S", task=NAME), outcome(second, "S", task=NAME)) == "CO"

    assert inspector.tasks([QUEUE], MINUTE, 1) == {NAME: Counter(S=1, C=1)}


def test_a_job_that_is_cancelled_while_it_waits_is_counted(
    broker: Broker, inspector: Inspector
) -> None:
    put(broker, "ab")

    broker.cancel(QUEUE, [("a", NAME), ("b", NAME), ("c", NAME)], FAILURE, DAY)

    assert inspector.tasks([QUEUE], MINUTE, 1) == {NAME: Counter(C=2)}


def test_a_parked_job_that_was_to_be_cancelled_is_counted(
    broker: Broker, child: Child, inspector: Inspector
) -> None:
    put(broker, "ab")
    grants = child.claim(2)
    broker.cancel(QUEUE, [("a", NAME)], FAILURE, DAY)

    broker.park(QUEUE, [Outcome(grant, Kind.PARKED, b"why", task=NAME) for grant in grants])

    assert inspector.tasks([QUEUE], MINUTE, 1) == {NAME: Counter(C=1)}


def test_a_process_that_died_counts_for_what_it_ran(
    broker: Broker, child: Child, inspector: Inspector
) -> None:
    put(broker, "abc")
    child.claim(3)
    broker.cancel(QUEUE, [("c", NAME)], FAILURE, DAY)

    broker.reclaim(QUEUE, child.holder, FAILURE, died=True, started=["a", "c"])

    assert now_of(history(inspector, [QUEUE], MINUTE, 1)) == Counter(X=1, C=1)


def test_a_job_that_is_given_up_is_counted(
    broker: Broker, clock: Any, inspector: Inspector
) -> None:
    put(broker, "a")
    give_up(broker, clock)

    assert now_of(history(inspector, [QUEUE], MINUTE, 1)) == Counter(K=1)


def test_a_job_without_an_envelope_is_counted(
    broker: Broker, child: Child, inspector: Inspector
) -> None:
    put(broker, "a")
    without_envelope(broker, "a")
    child.claim()

    (step,) = history(inspector, [QUEUE], MINUTE, 1)

    assert step.counters == Counter(Q=1)
    assert step.dead == 1


# -- by time ---------------------------------------------------------------------------------------


def test_steps_in_which_nothing_happened_are_there(
    child: Child, inspector: Inspector, clock: Any
) -> None:
    run(child, count=2)
    clock.forward(3 * MINUTE)
    run(child)

    steps = history(inspector, [QUEUE], MINUTE, 5)

    assert [step.succeeded for step in steps] == [0, 2, 0, 0, 1]
    assert [step.at for step in steps] == [
        (clock.now // MINUTE - back) * MINUTE for back in (4, 3, 2, 1, 0)
    ]
    assert steps[2].wait(0.5) is None


@pytest.mark.parametrize("step", [MINUTE, 5 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY])
def test_steps_of_any_length_add_up(
    child: Child, inspector: Inspector, clock: Any, step: int
) -> None:
    for _ in range(8):
        run(child, took=5)
        clock.forward(MINUTE)

    found = history(inspector, [QUEUE], step, 10)

    assert len(found) == 10
    assert all_of(found) == Counter(S=8, r5=8)
    assert all(each.at % step == 0 for each in found)


def test_minutes_are_kept_for_a_day_and_hours_for_ninety(
    broker: Broker, child: Child, inspector: Inspector, clock: Any
) -> None:
    run(child)
    clock.forward(DAY - MINUTE)
    run(child)
    assert all_of(history(inspector, [QUEUE], MINUTE, 1440)) == Counter(S=2)

    clock.forward(2 * MINUTE)
    run(child)
    assert all_of(history(inspector, [QUEUE], MINUTE, 1440)) == Counter(S=2)

    clock.forward(88 * DAY)
    run(child)
    assert all_of(history(inspector, [QUEUE], HOUR, 2160)) == Counter(S=4)
    clock.forward(2 * DAY)
    run(child)
    assert all_of(history(inspector, [QUEUE], HOUR, 2160)) == Counter(S=2)
    assert all_of(history(inspector, [QUEUE], DAY, 90)) == Counter(S=2)


def test_a_minute_a_day_ago_is_no_minute_of_now(
    child: Child, inspector: Inspector, clock: Any
) -> None:
    """They take the same place."""
    run(child)
    clock.forward(MINUTE)
    run(child, "D")  # the first minute is closed
    clock.forward(DAY - MINUTE)

    assert now_of(history(inspector, [QUEUE], MINUTE, 3)) == Counter()


def test_however_long_ago_the_places_are_no_more(broker: Broker, child: Child, clock: Any) -> None:
    for _ in range(60):
        run(child)
        clock.forward(2 * DAY + MINUTE)

    fields = broker.server.command("HLEN", broker.key(QUEUE, "counts"))

    assert fields <= 2 * (1440 + 144 + 2160 + 90)


def test_a_clock_that_goes_back_a_little_loses_nothing(
    child: Child, inspector: Inspector, clock: Any
) -> None:
    run(child)
    clock.forward(MINUTE)
    run(child)
    clock.forward(-2 * MINUTE)
    run(child)
    clock.forward(3 * MINUTE)
    run(child)

    assert all_of(history(inspector, [QUEUE], MINUTE, 10)) == Counter(S=4)


def test_a_clock_that_was_far_ahead_does_not_stop_the_minutes(
    child: Child, inspector: Inspector, clock: Any
) -> None:
    clock.forward(30 * DAY)
    run(child)
    clock.forward(-30 * DAY)
    run(child)
    clock.forward(MINUTE)
    run(child, count=2)

    assert [s.succeeded for s in history(inspector, [QUEUE], MINUTE, 3)] == [0, 1, 2]


def test_several_queues_are_one(broker: Broker, child: Child, inspector: Inspector) -> None:
    run(child, count=2)
    run(Child(broker, "other", "mail"), task="mail.tasks.send")

    assert now_of(history(inspector, [QUEUE, "mail", "empty"], MINUTE, 2)) == Counter(S=3)
    assert set(inspector.tasks([QUEUE, "mail"], MINUTE, 2)) == {NAME, "mail.tasks.send"}
    assert history(inspector, [], MINUTE, 2)[-1].counters == Counter()


def test_a_minute_that_nothing_ended_is_no_part_of_what_came_long_after(
    child: Child, inspector: Inspector, clock: Any
) -> None:
    run(child)
    clock.forward(7 * HOUR)
    assert inspector.tasks([QUEUE], MINUTE, 60) == {}
    assert inspector.tasks([QUEUE], HOUR, 24) == {NAME: Counter(S=1)}


def test_one_task_has_a_history_of_its_own(child: Child, inspector: Inspector, clock: Any) -> None:
    run(child, count=2)
    run(child, task="shop.tasks.ship")
    clock.forward(MINUTE)
    run(child)

    steps = history(inspector, [QUEUE], MINUTE, 3, NAME)

    assert [step.succeeded for step in steps] == [0, 2, 1]


def test_a_history_of_one_task_reads_nothing_of_others(
    broker: Broker, child: Child, clock: Any
) -> None:
    for _ in range(2):
        run(child)
        for name in ("shop.tasks", f"{NAME}.more", f"not.{NAME}", "@"):
            run(child, task=name)
        clock.forward(MINUTE)
        run(child, task="shop.tasks.ship")
        run(child, count=3)
    look = Look(MINUTE, 3, by_task=True, task=NAME)
    reply = broker.server.call(look.call(broker, QUEUE))
    said = [text.split(b"\n")[1:] for text in reply[2]]
    assert said == [[b"shop.tasks.pay S=1"], [b"shop.tasks.pay S=4"], []]
    assert dict(zip(reply[3][::2], reply[3][1::2], strict=True)).keys() == {
        b"@",
        b"S " + NAME.encode(),
    }
    assert [step.succeeded for step in look.steps([reply])] == [1, 4, 3]


def test_a_minute_is_over_once(child: Child, inspector: Inspector, clock: Any) -> None:
    for kind in "DSCS":
        run(child, kind)
        clock.forward(MINUTE)

    assert all_of(history(inspector, [QUEUE], HOUR, 2)) == Counter(D=1, S=2, C=1)


# -- bounds ----------------------------------------------------------------------------------------


def counted(child: Child, tasks: int, clock: Any) -> None:
    for first in range(0, tasks, 500):
        count = min(500, tasks - first)
        renew(child)
        put(child.broker, [f"{first}.{number}" for number in range(count)])
        grants = child.claim(count)
        child.settle(*(outcome(g, "S", task=f"t{first}.{n}") for n, g in enumerate(grants)))


def test_tasks_beyond_the_bounds_are_counted_under_one_name(
    broker: Broker, child: Child, inspector: Inspector, clock: Any
) -> None:
    counted(child, 2600, clock)
    assert broker.server.command("HLEN", broker.key(QUEUE, "counting")) <= 2002
    clock.forward(MINUTE)
    run(child)

    found = inspector.tasks([QUEUE], MINUTE, 2)

    assert found[NAME] == Counter(S=1)
    assert found["*"]["S"] == 2500
    assert len(found) == 100 + 2
    assert all_of(history(inspector, [QUEUE], HOUR, 1)) == Counter(S=2601)


def test_an_hour_has_no_more_tasks_than_a_minute(
    child: Child, inspector: Inspector, clock: Any
) -> None:
    for minute in range(3):
        for number in range(60):
            run(child, task=f"t{minute}.{number}")
        clock.forward(MINUTE)
    run(child)

    found = inspector.tasks([QUEUE], HOUR, 1)

    assert len(found) <= 100 + 2
    assert sum(each["S"] for each in found.values()) == 181


@pytest.mark.parametrize("name", ["a b", "a\nb 1", "x=1,S=5", "|", "é" * 300, "-", "@", "*"])
def test_a_name_from_outside_does_no_harm(
    child: Child, inspector: Inspector, clock: Any, name: str
) -> None:
    run(child, task=name)
    run(child)
    for _ in range(2):
        clock.forward(MINUTE)
        run(child)

    assert inspector.tasks([QUEUE], MINUTE, 3).get(NAME) == Counter(S=3)
    assert all_of(history(inspector, [QUEUE], HOUR, 1)) == Counter(S=4)
    by_task = inspector.tasks([QUEUE], HOUR, 1)
    assert sum(counters["S"] for counters in by_task.values()) == 4
    assert all(len(task.encode()) <= 210 for task in by_task)


def test_a_value_that_somebody_broke_does_not_stop_the_queue(
    broker: Broker, child: Child, inspector: Inspector, clock: Any
) -> None:
    run(child)
    broker.server.command("HSET", broker.key(QUEUE, "counting"), "@", "what", "nonsense", "x")
    assert run(child) == "O"
    clock.forward(MINUTE)

    assert run(child) == "O"
    assert now_of(history(inspector, [QUEUE], MINUTE, 1)) == Counter(S=1)


# -- the backlog -----------------------------------------------------------------------------------


def test_the_backlog_of_a_minute_is_its_average(
    broker: Broker, inspector: Inspector, clock: Any
) -> None:
    put(broker, ["a", "b", "c"])
    assert broker.measure(QUEUE) == 3
    Child(broker).claim(2)
    assert broker.measure(QUEUE) == 1

    (step,) = history(inspector, [QUEUE], MINUTE, 1)

    assert step.backlog == 2.0
    assert not step.counters


def test_what_nobody_counted_is_not_known(broker: Broker, inspector: Inspector, clock: Any) -> None:
    put(broker, ["a", "b"])
    broker.measure(QUEUE)
    clock.forward(2 * MINUTE)
    broker.measure(QUEUE)

    steps = history(inspector, [QUEUE], MINUTE, 4)

    assert [step.backlog for step in steps] == [None, 2.0, None, 2.0]


def test_an_hour_is_the_average_of_its_minutes(
    broker: Broker, inspector: Inspector, clock: Any
) -> None:
    clock.forward(HOUR - clock() % HOUR)
    broker.measure(QUEUE)
    put(broker, ["a", "b"])
    for _ in range(3):
        clock.forward(MINUTE)
        broker.measure(QUEUE)
    clock.forward(MINUTE)
    broker.measure(QUEUE)  # closes the minute before

    (hour,) = history(inspector, [QUEUE], HOUR, 1)

    assert hour.backlog == pytest.approx(8 / 5)


def test_the_backlogs_of_queues_are_added(broker: Broker, inspector: Inspector) -> None:
    put(broker, ["a", "b"])
    put(broker, ["c"], "other")
    for _ in range(3):
        broker.measure(QUEUE)
    broker.measure("other")

    (step,) = history(inspector, [QUEUE, "other"], MINUTE, 1)

    assert step.backlog == 3.0


def test_the_backlog_belongs_to_no_task(broker: Broker, inspector: Inspector, clock: Any) -> None:
    child = Child(broker)
    run(child)
    broker.measure(QUEUE)

    assert set(inspector.tasks([QUEUE], MINUTE, 1)) == {NAME}
    clock.forward(MINUTE)
    broker.measure(QUEUE)
    assert set(inspector.tasks([QUEUE], MINUTE, 2)) == {NAME}
    assert [step.backlog for step in history(inspector, [QUEUE], MINUTE, 2, NAME)] == [None, None]


def test_minutes_in_which_nothing_ended_take_no_room_for_tasks(broker: Broker, clock: Any) -> None:
    for _ in range(3):
        broker.measure(QUEUE)
        clock.forward(MINUTE)

    fields = broker.server.command("HKEYS", broker.key(QUEUE, "counts"))

    assert fields
    assert not [field for field in fields if field.endswith(b"tasks")]
