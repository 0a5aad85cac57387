"""renew: leases go on while they hold, and the answer tells a supervisor what it should know."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.replies import Renewed
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    Child,
    draft,
    dump,
    holder_id,
    outcome,
    parked,
    put,
    scores,
    seed,
)


def renew(broker: Broker, *names: str, lease: int = LEASE, cursor: str = "") -> Renewed:
    holders = [holder_id(name) for name in names]
    return broker.renew([QUEUE], holders, lease, cursor)[QUEUE]


def letters(answer: Renewed) -> str:
    return "".join(answer.holders.values())


def register(broker: Broker, *names: str) -> None:
    for name in names:
        Child(broker, name).exchange(0)


def ends(broker: Broker) -> dict[str, float]:
    """Holder -> end of its lease, by short names."""
    return {name.rstrip("-"): end for name, end in scores(broker, "holders").items()}


# -- leases ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "letter", "end"),
    [
        (0, "O", LEASE),
        (LEASE // 3, "O", LEASE + LEASE // 3),
        (LEASE - 1, "O", 2 * LEASE - 1),
        (LEASE, "L", LEASE),
        (10 * LEASE, "L", LEASE),
    ],
)
def test_a_lease_is_renewed_while_it_holds(
    broker: Broker, clock: Any, after: int, letter: str, end: int
) -> None:
    register(broker, "a")
    start = clock.now
    clock.forward(after)

    assert letters(renew(broker, "a")) == letter

    assert ends(broker) == {"a": start + end}


def test_a_lease_that_ended_is_never_revived(broker: Broker, clock: Any) -> None:
    register(broker, "a")
    clock.forward(LEASE)

    assert [letters(renew(broker, "a")) for _ in range(3)] == ["L", "L", "L"]

    assert not Child(broker, "a").exchange(1).alive


def test_a_holder_that_is_marked_dead_is_lost(broker: Broker) -> None:
    register(broker, "a")
    broker.server.command("ZADD", broker.key(QUEUE, "holders"), 0, holder_id("a"))

    assert letters(renew(broker, "a")) == "L"
    assert ends(broker) == {"a": 0}


def test_a_holder_that_never_claimed_is_not_registered_by_renewing(broker: Broker) -> None:
    assert letters(renew(broker, "a")) == "U"
    assert ends(broker) == {}


def test_many_holders_are_renewed_in_one_call(broker: Broker, clock: Any) -> None:
    register(broker, "old")
    clock.forward(LEASE // 2)
    register(broker, "a", "b")
    clock.forward(LEASE // 2)

    answer = renew(broker, "a", "new", "old", "b")

    assert answer.now == clock.now
    assert answer.holders == {
        holder_id("a"): "O",
        holder_id("new"): "U",
        holder_id("old"): "L",
        holder_id("b"): "O",
    }


def test_all_queues_are_renewed_in_one_call(broker: Broker, clock: Any) -> None:
    Child(broker, "a", "one").exchange(0)
    clock.forward(5)

    answers = broker.renew(["one", "two"], [holder_id("a")], LEASE)

    assert {queue: letters(answer) for queue, answer in answers.items()} == {"one": "O", "two": "U"}
    assert scores(broker, "holders", "one") == {holder_id("a"): clock.now + LEASE}


def test_renewing_does_not_touch_the_jobs(broker: Broker) -> None:
    seed(broker, running="a b", retrying="c", ready="d")
    before = dump(broker, "meta", "holders")

    renew(broker, "seeder", "another")

    assert dump(broker, "meta", "holders") == before


def test_a_supervisor_without_children_may_ask_too(broker: Broker) -> None:
    put(broker, ["a"], due=-5)

    answer = renew(broker)

    assert (answer.holders, answer.next_due) == ({}, 5)


# -- after an outage -------------------------------------------------------------------------------


def test_lapsed_holders_are_told_while_somebody_renews(broker: Broker, clock: Any) -> None:
    register(broker, "gone", "here")
    for _ in range(3):
        clock.forward(LEASE // 3)
        answer = renew(broker, "here")

    assert answer.lapsed == [holder_id("gone")]


def test_after_an_outage_nobody_is_lapsed_for_a_whole_lease(broker: Broker, clock: Any) -> None:
    register(broker, "gone", "here")
    renew(broker, "here")
    clock.forward(LEASE // 2 + 1)  # nobody could renew
    assert letters(renew(broker, "here")) == "O"

    told = []
    for _ in range(5):
        clock.forward(LEASE // 4)
        told.append(renew(broker, "here").lapsed)

    assert told == [[], [], [], [holder_id("gone")], [holder_id("gone")]]


def test_restarting_a_worker_does_not_delay_it(broker: Broker, clock: Any) -> None:
    """It is a fact in Redis, not in the worker that saw it."""
    register(broker, "gone")
    renew(broker)
    clock.forward(2 * LEASE)
    assert renew(broker, "one").lapsed == []
    for _ in range(4):
        clock.forward(LEASE // 4)
        answer = renew(broker, "two")

    assert answer.lapsed == [holder_id("gone")]


def test_an_outage_before_the_clock_was_set_back_delays_by_no_more_than_a_lease(
    broker: Broker, clock: Any
) -> None:
    Child(broker, "gone").exchange(0)
    renew(broker, "nobody")
    clock.forward(3_600_000)
    renew(broker, "nobody")  # after an outage, as it seems
    clock.forward(-3_600_000)
    renew(broker, "nobody")

    for _ in range(3):
        clock.forward(LEASE // 3)
        answer = renew(broker, "nobody")

    assert answer.lapsed == [holder_id("gone")]


def test_a_worker_with_a_short_lease_does_not_shorten_what_a_longer_one_was_given(
    broker: Broker, clock: Any
) -> None:
    register(broker, "gone")
    renew(broker)
    clock.forward(LEASE)
    renew(broker)  # after an outage: nobody is reaped for a whole lease

    told = []
    for _ in range(20):
        told.append(renew(broker, lease=LEASE // 6).lapsed)
        clock.forward(LEASE // 20)

    assert told == [[]] * 20
    assert renew(broker, lease=LEASE // 6).lapsed == [holder_id("gone")]


@pytest.mark.parametrize("step", [1, LEASE, 3_600_000])
def test_a_clock_that_is_set_back_takes_what_was_given_with_it(
    broker: Broker, clock: Any, step: int
) -> None:
    register(broker, "gone")
    renew(broker)
    clock.forward(LEASE)
    renew(broker)
    clock.forward(-step)
    broker.server.command("ZADD", broker.key(QUEUE, "holders"), 0, holder_id("gone"))
    renew(broker, lease=LEASE // 6)

    clock.forward(LEASE - 1)
    for _ in range(2):
        told = renew(broker, lease=3 * LEASE).lapsed
        assert told == []
    clock.forward(1)

    assert renew(broker, lease=3 * LEASE).lapsed == [holder_id("gone")]


def test_the_first_renewal_ever_is_not_after_an_outage(broker: Broker, clock: Any) -> None:
    register(broker, "gone")
    clock.forward(10 * LEASE)

    assert renew(broker).lapsed == [holder_id("gone")]


def test_a_gap_of_half_a_lease_is_no_outage(broker: Broker, clock: Any) -> None:
    register(broker, "gone")
    renew(broker)
    clock.forward(LEASE // 2)
    renew(broker)
    clock.forward(LEASE // 2)

    assert renew(broker).lapsed == [holder_id("gone")]


def test_holders_that_are_being_reclaimed_are_told_as_lapsed(broker: Broker) -> None:
    """Whoever reclaimed them may have died half way."""
    register(broker, "a")
    broker.server.command("ZADD", broker.key(QUEUE, "holders"), 0, holder_id("a"))

    assert renew(broker).lapsed == [holder_id("a")]


def test_lapsed_holders_are_told_twenty_at_a_time(broker: Broker, clock: Any) -> None:
    register(broker, *[f"h{number}" for number in range(25)])
    clock.forward(LEASE)

    assert len(renew(broker).lapsed) == 20


# -- when to look again ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "mine", "after", "next_end"),
    [
        ([], [], 0, -1),
        (["a"], [], 10, LEASE - 10),
        (["a"], [], LEASE, -1),  # it is among the lapsed
        (["a"], ["b"], 10, LEASE - 10),
        ([], ["b"], 10, LEASE),  # it was just renewed
    ],
)
def test_it_says_when_the_next_lease_ends(
    broker: Broker, clock: Any, others: list[str], mine: list[str], after: int, next_end: int
) -> None:
    register(broker, *others, *mine)
    clock.forward(after)

    assert renew(broker, *mine).next_end == next_end


def test_no_lease_ends_before_everybody_had_a_whole_one_after_an_outage(
    broker: Broker, clock: Any
) -> None:
    register(broker, "a")
    renew(broker)
    clock.forward(LEASE - 5)

    assert renew(broker).next_end == LEASE


@pytest.mark.parametrize(
    ("scheduled", "retrying", "next_due"),
    [([], [], -1), ([500], [], 490), ([], [300], 290), ([500], [300], 290), ([5], [300], 0)],
)
def test_it_says_when_the_next_job_is_due(
    broker: Broker, clock: Any, scheduled: list[int], retrying: list[int], next_due: int
) -> None:
    child = Child(broker)
    for delay in retrying:
        put(broker, ["r"])
        child.settle(outcome(child.claim()[0], "R", FAILURE, delay))
    broker.enqueue(QUEUE, [draft("s", due=-delay) for delay in scheduled])
    clock.forward(10)

    assert renew(broker).next_due == next_due


# -- what is to be cancelled -----------------------------------------------------------------------


def test_it_names_the_jobs_of_its_own_children_that_are_to_be_cancelled(broker: Broker) -> None:
    put(broker, "abcd")
    mine, twin, other = (Child(broker, name) for name in ("mine", "twin", "other"))
    mine.claim(2), twin.claim(1), other.claim(1)
    broker.cancel(QUEUE, [(id, TASK) for id in "acd"], FAILURE, DAY)

    assert sorted(renew(broker, "mine", "twin").stops) == [
        (holder_id("mine"), "a", 1, "cancel"),
        (holder_id("twin"), "c", 1, "cancel"),
    ]
    assert renew(broker, "other").stops == [(holder_id("other"), "d", 1, "cancel")]
    assert renew(broker, "nobody").stops == renew(broker).stops == []


def test_a_kill_stays_one_whatever_is_asked_later(broker: Broker) -> None:
    put(broker, "a")
    Child(broker, "mine").claim()
    for order in ("cancel", "kill", "cancel"):
        broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY, order)

    assert renew(broker, "mine").stops == [(holder_id("mine"), "a", 1, "kill")]


def test_they_are_named_until_their_code_has_stopped(broker: Broker) -> None:
    put(broker, "a")
    child = Child(broker, "mine")
    (grant,) = child.claim()
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    assert renew(broker, "mine").stops == renew(broker, "mine").stops != []

    child.settle(outcome(grant, "C", b"", DAY))

    assert renew(broker, "mine").stops == []


def test_a_hundred_are_named_at_a_time(broker: Broker) -> None:
    ids = [f"job-{number}" for number in range(130)]
    put(broker, ids)
    Child(broker, "mine").claim(130)
    broker.cancel(QUEUE, [(id, TASK) for id in ids], FAILURE, DAY)

    assert len(renew(broker, "mine").stops) == 100


# -- parked names ----------------------------------------------------------------------------------


def park(broker: Broker, *names: str) -> None:
    """Parks a job per task name."""
    child = Child(broker, "parker")
    ids = [f"{at}-{name}" for at, name in enumerate(names)]
    put(broker, ids)
    grants = child.claim(len(ids))
    broker.park(QUEUE, [parked(grant, name) for grant, name in zip(grants, names, strict=True)])


def test_each_parked_task_is_named_once_however_many_jobs_it_has(broker: Broker) -> None:
    park(broker, *["app.one"] * 40, "app.two", *["app.one.more"] * 30, *["app.on"] * 3)

    assert renew(broker).parked == ["app.on", "app.one", "app.one.more", "app.two"]


@pytest.mark.parametrize("cursor", ["", "app.b", "app.b!", "app.z"])
def test_a_cursor_passes_over_names(broker: Broker, cursor: str) -> None:
    park(broker, "app.a", "app.b", "app.c")

    expected = [name for name in ("app.a", "app.b", "app.c") if f"{name} " > cursor]
    assert renew(broker, cursor=cursor).parked == expected


def test_fifty_names_are_told_at_a_time_and_the_cursor_leads_on(broker: Broker) -> None:
    names = [f"app.task{number:03}" for number in range(70)]
    park(broker, *names)

    first = renew(broker).parked
    rest = renew(broker, cursor=f"{first[-1]}!").parked

    assert [*first, *rest] == names
    assert len(first) == 50


def test_a_job_without_a_task_name_does_not_stop_the_renewal(broker: Broker) -> None:
    register(broker, "mine")
    park(broker, "", "app.one")

    answer = renew(broker, "mine")

    assert letters(answer) == "O"
    assert "app.one" in answer.parked


# -- memory ----------------------------------------------------------------------------------------


def test_a_server_without_a_limit_is_never_full(broker: Broker) -> None:
    if broker.server.command("CONFIG", "GET", "maxmemory")[1] != b"0":
        pytest.skip("this server has a limit")

    assert renew(broker).memory == 0
