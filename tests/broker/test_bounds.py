"""What one step does, one answer brings and one key holds has an end, however large the queue."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from django_taskq.broker import calls
from django_taskq.broker.broker import CHUNK, HOUSEKEEPING, Broker, Draft
from django_taskq.codec import decode_failures
from tests.broker.helpers import (
    DAY,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    Endings,
    asked,
    at_once,
    draft,
    dump,
    endings,
    give_up,
    holder_id,
    live,
    members,
    outcome,
    parked,
    per_time,
    put,
    put_asking,
    seed,
)

MANY = 2 * CHUNK + 50
IDS = [f"job-{number:05}" for number in range(MANY)]

# script -> arguments before the jobs, arguments of a job, jobs at most
PER_CALL = {
    "enqueue": (1, 6, CHUNK),
    "park": (3, 5, CHUNK),
    "retry": (3, 1, HOUSEKEEPING),
    "fetch": (0, 1, HOUSEKEEPING),
}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[calls.Call]:
    """Every call that is sent from here on."""
    found: list[calls.Call] = []
    plain = calls.send

    def noting(connection: Any, batch: Any) -> None:
        found.extend(batch)
        plain(connection, batch)

    monkeypatch.setattr(calls, "send", noting)
    return found


def jobs_per_call(sent: list[calls.Call], name: str) -> list[int]:
    head, per, _ = PER_CALL[name]
    return [(len(call.args) - head) // per for call in sent if call.script.name == name]


@pytest.mark.parametrize("name", PER_CALL)
def test_many_jobs_go_in_several_calls(broker: Broker, sent: list[calls.Call], name: str) -> None:
    put(broker, IDS)
    if name == "park":
        child = Child(broker)
        broker.park(QUEUE, [parked(grant) for _ in range(3) for grant in child.claim(CHUNK)])
    elif name == "retry":
        broker.retry(QUEUE, IDS)
    elif name == "fetch":
        broker.fetch(QUEUE, IDS)

    counts = jobs_per_call(sent, name)

    assert sum(counts) == MANY
    assert max(counts) == PER_CALL[name][2]


def test_many_are_cancelled_in_several_calls(broker: Broker, sent: list[calls.Call]) -> None:
    put(broker, IDS)

    broker.cancel(QUEUE, [(id, TASK) for id in IDS], FAILURE, DAY)

    made = Counter(call.script.name for call in sent)
    assert made["cancel"] == -(-MANY // HOUSEKEEPING)


def test_a_claim_brings_what_was_asked_for(broker: Broker) -> None:
    put(broker, IDS)

    assert len(Child(broker).claim(CHUNK)) == CHUNK


def test_what_is_due_moves_a_hundred_at_a_time(broker: Broker, clock: Any) -> None:
    put(broker, IDS, due=-1000)
    clock.forward(1000)

    assert broker.promote(QUEUE, "keeper").moved == HOUSEKEEPING


def test_a_release_looks_at_a_thousand_names(broker: Broker, clock: Any) -> None:
    put(broker, IDS)
    child = Child(broker)
    broker.park(QUEUE, [parked(grant) for _ in range(3) for grant in child.claim(CHUNK)])
    waiting = broker.key(QUEUE, "waiting")
    for id in IDS[:1000]:  # those that stand first by name wait on
        broker.server.command("ZADD", waiting, clock.now + DAY, id)
    clock.forward(1000)

    assert broker.release(QUEUE, TASK) == 0


def test_a_claim_looks_at_few_hundred_jobs_that_have_to_wait(broker: Broker) -> None:
    for start in range(0, MANY, CHUNK):
        put_asking(broker, IDS[start : start + CHUNK], asked(at_once(1)))

    assert len(Child(broker).claim(10)) == 1

    assert len(members(broker, "waiting")) == 9 + 3 * HOUSEKEEPING


def test_an_end_lets_in_one_of_thousands(broker: Broker, clock: Any) -> None:
    for start in range(0, MANY, CHUNK):
        put_asking(broker, IDS[start : start + CHUNK], asked(at_once(1)))
    child = Child(broker)
    (first,) = child.claim(CHUNK)
    for _ in range(3):
        assert child.claim(CHUNK) == []

    child.settle(outcome(first, "S"))

    assert members(broker, "ready") == [IDS[1]]


def test_gates_whose_time_has_come_let_in_a_hundred_a_call(broker: Broker, clock: Any) -> None:
    gates = [asked(per_time("60/m", f"gate-{n}")) for n in range(CHUNK // 2)]
    broker.enqueue(QUEUE, [draft(IDS[n])._replace(ask=gates[n // 2]) for n in range(CHUNK)])
    assert len(Child(broker).claim(CHUNK)) == CHUNK // 2
    clock.forward(1_000)

    answers = [broker.promote(QUEUE, "keeper") for _ in range(4)]

    assert [(each.moved, each.wait) for each in answers] == [
        (100, 0),
        (100, 0),
        (CHUNK // 2 - 200, -1),
        (0, -1),
    ]


def test_locks_whose_time_is_over_go_a_hundred_a_call(broker: Broker, clock: Any) -> None:
    jobs = [draft(id)._replace(ask=asked(lock=id, ttl=1_000)) for id in IDS[:CHUNK]]
    broker.enqueue(QUEUE, jobs)
    child = Child(broker)
    child.settle(*[outcome(grant, "S") for grant in child.claim(CHUNK)])
    clock.forward(1_000)

    broker.trim(QUEUE)
    assert len(dump(broker)["locks"]) == CHUNK - HOUSEKEEPING

    put_asking(broker, ["a"], asked(lock="another"))
    assert len(dump(broker)["locks"]) == CHUNK - 2 * HOUSEKEEPING + 1


def test_locks_go_as_fast_as_they_come(broker: Broker, clock: Any) -> None:
    """However many a call takes, the next of its size drops more."""
    child = Child(broker)
    for turn in range(5):
        ids = [f"{turn}-{id}" for id in IDS[:CHUNK]]
        broker.enqueue(QUEUE, [draft(id)._replace(ask=asked(lock=id, ttl=1_000)) for id in ids])
        child.settle(*[outcome(grant, "S") for grant in child.claim(CHUNK)])
        clock.forward(1_000)

    assert len(dump(broker)["locks"]) == CHUNK


# -- answers ---------------------------------------------------------------------------------------


def test_a_renewal_names_a_few_of_each(broker: Broker, clock: Any) -> None:
    holder = holder_id("renewing")
    put(broker, IDS)
    child = Child(broker, "renewing")
    grants = child.claim(CHUNK)
    broker.cancel(QUEUE, [(grant.id, TASK) for grant in grants], FAILURE, DAY)
    for number in range(30):
        Child(broker, f"old-{number}").exchange()
    others = Child(broker, "parking").claim(100)
    broker.park(QUEUE, [parked(each, f"task-{number}") for number, each in enumerate(others)])
    for _ in range(2):
        broker.renew([QUEUE], [holder], LEASE)
        clock.forward(LEASE // 2)

    answer = broker.renew([QUEUE], [holder], LEASE)[QUEUE]

    assert (len(answer.lapsed), len(answer.parked)) == (20, 50)
    assert len(answer[-1]) == 100  # jobs that are to stop


def test_what_is_published_about_ends_is_short(broker: Broker) -> None:
    ids = [str(number).rjust(40, "x") for number in range(CHUNK)]
    put(broker, ids)
    child = Child(broker)
    grants = child.claim(CHUNK)

    def published(subscriber: Endings) -> int:
        return len(" ".join(subscriber.next()))

    with endings(broker) as heard:
        child.settle(*[outcome(grant, "S") for grant in grants])
        assert published(heard) == 41 * CHUNK - 1


def test_a_survey_is_as_long_however_large_the_queue(broker: Broker) -> None:
    def length() -> int:
        return len(str(broker.server.call(broker.survey_call(QUEUE, 0, HOUSEKEEPING))))

    put(broker, IDS[:1])
    small = length()
    put(broker, IDS)

    assert length() < small + 50


# -- what is kept ----------------------------------------------------------------------------------


def failures_of(broker: Broker, id: str) -> bytes:
    return broker.fetch(QUEUE, [id])[0].errors


@pytest.mark.parametrize("way", ["settled", "cancelled", "given up"])
def test_failures_of_a_job_are_64_kb(broker: Broker, clock: Any, way: str) -> None:
    seed(broker, ready="a")
    child = Child(broker)
    line = b'{"c":"x.Boom","m":"' + b"m" * 10_000 + b'"}'
    for _ in range(9):
        (grant,) = child.claim()
        child.settle(outcome(grant, "R", line))
        broker.promote(QUEUE, "keeper", force=True)
    if way == "cancelled":
        broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    elif way == "given up":
        give_up(broker, clock)

    kept = failures_of(broker, "a")

    assert len(kept) <= 65_536
    assert len(decode_failures(kept)) >= 6
    assert kept.endswith(line if way == "settled" else FAILURE)


def test_holders_and_claims_go_with_their_processes(broker: Broker, clock: Any) -> None:
    for number in range(50):
        Child(broker, f"child-{number}").claim()
    clock.forward(LEASE)
    for number in range(50):
        broker.reclaim(QUEUE, holder_id(f"child-{number}"), FAILURE)

    kept = dump(broker)

    assert kept["holders"] == []
    assert kept["claims"] == {}


def test_parked_names_are_as_many_as_the_jobs_that_wait(broker: Broker, clock: Any) -> None:
    put(broker, IDS[:100])
    for turn in range(5):
        grants = Child(broker, f"child-{turn}").claim(100)
        broker.park(QUEUE, [parked(grant) for grant in grants])
        clock.forward(60_000)
        broker.release(QUEUE, TASK)

    assert members(broker, "parked") == []
    assert live(broker, IDS[0]).parks == 5


def test_answers_of_calls_go_after_the_window(broker: Broker, clock: Any) -> None:
    put(broker, IDS)
    for id in IDS:
        broker.cancel(QUEUE, [(id, TASK)], FAILURE, DAY)
        clock.forward(100)

    assert len(dump(broker)["answers"]) <= WINDOW // 100 + 1


def test_tokens_are_at_most_one(broker: Broker, clock: Any) -> None:
    for _ in range(3):
        put(broker, [f"{clock.forward(1)}"])
        put(broker, [f"{clock.forward(1)}"], due=-1000 + clock.now % 100)

    kept = dump(broker)

    assert (len(kept["wake"]), len(kept["timer"])) == (1, 1)


def test_a_sweep_looks_at_about_a_hundred(broker: Broker) -> None:
    put(broker, IDS)

    looked = [chunk.looked for chunk in broker.walk(QUEUE, mend=True)]

    assert max(looked) <= 3 * HOUSEKEEPING


def test_a_sweep_looks_at_about_a_hundred_gates_and_locks(broker: Broker) -> None:
    for start in range(0, MANY, CHUNK):
        ids = IDS[start : start + CHUNK]
        jobs = [draft(id)._replace(ask=asked(at_once(1, id), lock=id)) for id in ids]
        broker.enqueue(QUEUE, jobs)
        Child(broker).claim(CHUNK)

    looked = [chunk.looked for chunk in broker.walk(QUEUE, mend=True)]

    assert max(looked) <= 3 * HOUSEKEEPING


def test_a_sweep_looks_at_fewer_where_arguments_are_large(broker: Broker) -> None:
    broker.enqueue(QUEUE, [Draft(id, b"x" * 100_000) for id in IDS[:200]])
    chunk = broker.sweep(QUEUE, "jobs")
    looked = [chunk.looked]
    while chunk.place == "jobs":
        chunk = broker.sweep(QUEUE, "jobs", chunk.cursor)
        looked.append(chunk.looked)

    assert max(looked) <= 40
    assert sum(looked) >= 200
