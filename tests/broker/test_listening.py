"""Who listens to a queue: what is told, to whom, and what happens when it was not heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.listening import LEASE, Listener, audience, place_key
from django_taskq.broker.steering import Steering
from django_taskq.job import State
from tests.broker.helpers import (
    DAY,
    ENVELOPE,
    FAILURE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    asked,
    at_once,
    corrupt,
    draft,
    holder_id,
    meta,
    outcome,
    put,
    put_asking,
    scores,
    seed,
    seed_all,
)

MINUTE = 60_000


class Reader(Listener):
    """A listener that remembers how far it has read."""

    done = ""

    def told(self) -> list[str]:
        """The ids that changed since the last call, in order, each once."""
        heard = self.listen(QUEUE, self.done)
        assert heard.mine
        assert not heard.cut
        if heard.entries:
            self.done = heard.entries[-1].place
        return list(dict.fromkeys(id for entry in heard.entries for id in entry.ids))


@pytest.fixture
def reader(broker: Broker) -> Reader:
    """One that has been there before the test began."""
    reader = Reader(broker, "mirror", "reader")
    reader.listen(QUEUE)
    return reader


def exists(broker: Broker, name: str = "events") -> bool:
    return bool(broker.server.command("EXISTS", broker.key(QUEUE, name)))


# -- what is told ----------------------------------------------------------------------------------


def test_without_a_listener_nothing_is_written(broker: Broker) -> None:
    seed_all(broker)
    assert not exists(broker)
    assert not exists(broker, "listeners")


def settle(kind: str) -> Callable[[Broker], Any]:
    def change(broker: Broker) -> None:
        child = Child(broker, "seeder")
        (grant,) = [g for g in child.claim(10) if g.id == "ready"]
        child.settle(outcome(grant, kind, b"1"))

    return change


def by_steering(verb: str, *args: Any) -> Callable[[Broker], Any]:
    return lambda broker: getattr(Steering(broker), verb)(QUEUE, *args)


CHANGES: dict[str, tuple[list[str], Callable[[Broker], Any]]] = {
    "enqueue": (["new"], lambda broker: put(broker, ["new"])),
    "enqueue many": (["a", "b"], lambda broker: put(broker, ["a", "b"])),
    "enqueue later": (["new"], lambda broker: put(broker, ["new"], due=-DAY)),
    "claim": (["ready"], lambda broker: Child(broker).claim(5)),
    "succeed": (["ready"], settle("S")),
    "fail": (["ready"], settle("R")),
    "give back": (["ready"], settle("G")),
    "cancel": (
        ["scheduled"],
        lambda broker: broker.cancel(QUEUE, [("scheduled", TASK)], FAILURE, 0),
    ),
    "retry": (["dead"], lambda broker: broker.retry(QUEUE, ["dead"])),
    "advance": (["scheduled"], by_steering("advance", ["scheduled"])),
    "prioritize": (["ready"], by_steering("prioritize", ["ready"], 7)),
    "edit": (["ready"], by_steering("edit", "ready", ENVELOPE, b'["tests.noop",2]')),
    "reclaim": (
        ["running"],
        lambda broker: broker.reclaim(QUEUE, holder_id("seeder"), FAILURE, died=True),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_job_is_told(change: str, broker: Broker, reader: Reader) -> None:
    seed_all(broker)
    ids, do = CHANGES[change]
    reader.told()
    do(broker)
    assert reader.told() == ids
    assert reader.told() == []


def test_what_becomes_due_and_what_is_released_is_told(
    broker: Broker, reader: Reader, clock: Any
) -> None:
    seed(broker, scheduled="later", waiting="parked")
    reader.told()
    clock.forward(2 * DAY)
    broker.promote(QUEUE, "keeper")
    assert reader.told() == ["later"]
    broker.release(QUEUE, TASK)
    assert reader.told() == ["parked"]


def test_who_waits_at_a_limit_and_is_let_in_is_told(broker: Broker, reader: Reader) -> None:
    put_asking(broker, "abc", asked(at_once(1)))
    child = Child(broker)
    (grant,) = child.claim(1)
    child.claim(1)
    reader.told()
    child.settle(outcome(grant, "S"))
    assert set(reader.told()) == {"a", "b"}


def test_jobs_that_are_trimmed_or_deleted_are_told(
    broker: Broker, reader: Reader, clock: Any
) -> None:
    seed(broker, succeeded="old", dead="broken")
    reader.told()
    clock.forward(MINUTE)
    Steering(broker).delete(QUEUE, ["broken"])
    assert reader.told() == ["broken"]
    clock.forward(2 * DAY)
    broker.trim(QUEUE)
    assert reader.told() == ["old"]


def test_what_the_sweep_mends_is_told(broker: Broker, reader: Reader, clock: Any) -> None:
    corrupt(broker)
    clock.forward(MINUTE)
    reader.told()
    for _ in broker.walk(QUEUE, mend=True):
        pass
    assert {"hollow", "double", "lost", "remains", "debris", "stranded"} <= set(reader.told())


def test_jobs_that_ended_are_kept_for_minutes_while_somebody_listens(
    broker: Broker, reader: Reader, clock: Any
) -> None:
    put(broker, ["gone"])
    child = Child(broker)
    child.settle(outcome(child.claim()[0], "S", b"1", 0))
    assert scores(broker, "succeeded")["gone"] == clock() + 5 * MINUTE
    reader.forget(QUEUE)
    put(broker, ["soon"])
    child.settle(outcome(child.claim()[0], "S", b"1", 0))
    assert scores(broker, "succeeded")["soon"] == clock() + WINDOW


# -- to whom ---------------------------------------------------------------------------------------


def test_a_first_call_says_that_nothing_is_known(broker: Broker) -> None:
    put(broker, ["before"])
    heard = Listener(broker, "mirror", "one").listen(QUEUE)
    assert (heard.mine, heard.cut, heard.knows, list(heard.entries)) == (True, True, False, [])


def test_a_second_reader_waits_until_the_lease_is_over(broker: Broker, clock: Any) -> None:
    one, two = (Listener(broker, "mirror", name) for name in ("one", "two"))
    one.listen(QUEUE)
    clock.forward(4_000)
    heard = two.listen(QUEUE)
    assert (heard.mine, heard.wait) == (False, LEASE - 4_000)
    clock.forward(LEASE)
    assert two.listen(QUEUE).mine
    assert not one.listen(QUEUE).mine


def test_what_is_not_done_is_read_by_the_next_reader(broker: Broker, clock: Any) -> None:
    one, two = (Reader(broker, "mirror", name) for name in ("one", "two"))
    one.listen(QUEUE)
    put(broker, ["a"])
    assert one.told() == ["a"]
    put(broker, ["b"])
    assert one.told() == ["b"]  # this call says that "a" is done
    clock.forward(LEASE + 1)
    assert two.told() == ["b"]


def test_a_reader_that_lost_its_place_moves_nothing_on(broker: Broker, clock: Any) -> None:
    one, two = (Reader(broker, "mirror", name) for name in ("one", "two"))
    one.listen(QUEUE)
    put(broker, ["a"])
    assert one.told() == ["a"]
    clock.forward(LEASE + 1)
    assert two.listen(QUEUE).mine
    assert not one.listen(QUEUE, one.done).mine
    assert two.told() == ["a"]


def test_a_place_never_goes_back(reader: Reader, broker: Broker) -> None:
    put(broker, ["a"])
    put(broker, ["b"])
    first, second = reader.listen(QUEUE).entries
    assert not reader.listen(QUEUE, second.place).entries
    assert not reader.listen(QUEUE, first.place).entries


def test_two_listeners_have_places_of_their_own(reader: Reader, broker: Broker) -> None:
    other = Reader(broker, "webhooks", "other")
    other.listen(QUEUE)
    put(broker, ["a"])
    assert reader.told() == ["a"]
    assert reader.told() == []
    assert other.told() == ["a"]


def test_what_all_have_read_is_dropped(reader: Reader, broker: Broker) -> None:
    for id in "abcdef":
        put(broker, [id])
    reader.told()
    reader.told()
    assert broker.server.command("XLEN", broker.key(QUEUE, "events")) == 1


def test_whether_all_jobs_are_known_is_remembered(broker: Broker, clock: Any) -> None:
    Listener(broker, "mirror", "one").listen(QUEUE)
    Listener(broker, "mirror", "one").listen(QUEUE, knows=True)
    clock.forward(LEASE + 1)
    assert Listener(broker, "mirror", "two").listen(QUEUE).knows


def test_a_reader_that_lost_its_place_does_not_know_all_jobs(broker: Broker, clock: Any) -> None:
    one, two = (Listener(broker, "mirror", name) for name in ("one", "two"))
    one.listen(QUEUE)
    clock.forward(LEASE + 1)
    cut(broker, to=0)
    assert two.listen(QUEUE).cut  # and here it dies
    clock.forward(LEASE + 1)
    assert not one.listen(QUEUE, knows=True).knows
    assert one.listen(QUEUE, knows=True).knows  # by now it heard that it has to look


def test_an_operator_sees_who_listens(reader: Reader, broker: Broker, clock: Any) -> None:
    reader.listen(QUEUE, knows=True)
    put(broker, ["a"])
    clock.forward(4_000)
    found = audience(broker, QUEUE)
    (mirror,) = found.hearers
    assert (found.entries, found.cuts) == (2, 0)
    assert (mirror.name, mirror.reader, mirror.left, mirror.knows) == (
        "mirror",
        "reader",
        6_000,
        True,
    )


# -- what was not heard ----------------------------------------------------------------------------


def cut(broker: Broker, to: int = 1) -> None:
    """Drops everything but the newest entry, as a full stream does."""
    broker.server.command("XTRIM", broker.key(QUEUE, "events"), "MAXLEN", to)


def test_a_cut_is_noticed_and_counted(reader: Reader, broker: Broker) -> None:
    reader.listen(QUEUE, knows=True)
    put(broker, ["a"])
    put(broker, ["b"])
    cut(broker)
    heard = reader.listen(QUEUE, knows=True)
    assert heard.cut
    assert not heard.knows
    assert meta(broker, "cuts") == 1
    assert not reader.listen(QUEUE).cut


def test_a_stream_that_is_gone_is_a_cut(reader: Reader, broker: Broker) -> None:
    broker.server.command("DEL", broker.key(QUEUE, "events"))
    put(broker, ["unheard"])
    assert reader.listen(QUEUE).cut
    put(broker, ["a"])
    assert reader.told() == ["a"]


def test_a_worker_short_of_memory_drops_the_stream(reader: Reader, broker: Broker) -> None:
    put(broker, ["a"])
    child = Child(broker)
    child.exchange(1, lean=True)
    assert not exists(broker)
    assert reader.listen(QUEUE).cut


def test_a_stream_that_nobody_reads_stays_small(reader: Reader, broker: Broker) -> None:
    key = broker.key(QUEUE, "events")
    for _ in range(80):
        broker.server.command("XADD", key, "*", "i", "x" * 1_000_000)
    broker.trim(QUEUE)
    assert broker.server.command("XLEN", key) < 64


def test_without_listeners_the_stream_goes(reader: Reader, broker: Broker) -> None:
    other = Reader(broker, "webhooks", "other")
    other.listen(QUEUE)
    reader.forget(QUEUE)
    assert exists(broker)
    other.forget(QUEUE)
    assert not exists(broker)


# -- what jobs are now -----------------------------------------------------------------------------


def test_jobs_are_seen_in_every_state(reader: Reader, broker: Broker) -> None:
    seed_all(broker)
    found = reader.observe(QUEUE, [*State, "unknown"])
    assert [(job.id, job.state) for job in found.jobs] == [
        *((state.value, state) for state in State),
        ("unknown", None),
    ]
    dead = next(job for job in found.jobs if job.id == "dead")
    assert dead.envelope == ENVELOPE
    assert dead.errors == FAILURE
    assert dead.live.fence == 1


def test_versions_rise_and_survive_a_redis_that_forgot(
    reader: Reader, broker: Broker, clock: Any
) -> None:
    versions = [reader.observe(QUEUE, ["x"]).version for _ in range(3)]
    assert versions == sorted(set(versions))
    broker.server.command("DEL", broker.key(QUEUE, "meta"))
    clock.forward(10)
    assert reader.observe(QUEUE, ["x"]).version > versions[-1]


def test_what_was_told_before_a_look_is_in_it(reader: Reader, broker: Broker) -> None:
    put(broker, ["a"])
    found = reader.observe(QUEUE, ["a"])
    (entry,) = reader.listen(QUEUE).entries
    assert place_key(entry.place) <= place_key(found.upto)
    put(broker, ["b"])
    entry = reader.listen(QUEUE).entries[-1]
    assert place_key(entry.place) > place_key(found.upto)


def test_large_parts_are_left_out_and_their_size_is_told(reader: Reader, broker: Broker) -> None:
    large = b'["tests.noop",1,["' + b"x" * 100_000 + b'"]]'
    broker.enqueue(QUEUE, [draft("a")._replace(envelope=large)])
    child = Child(broker)
    child.settle(outcome(child.claim()[0], "S", b"9" * 100_000, DAY))
    (job,) = reader.observe(QUEUE, ["a"]).jobs
    assert (len(job.envelope), job.size) == (1024, len(large))
    assert (job.value, job.value_size) == (b"", 100_000)
    assert "xxx" not in repr(job)


def test_one_look_reads_a_few_megabytes_at_most(reader: Reader, broker: Broker) -> None:
    large = b'["tests.noop",1,["' + b"x" * 60_000 + b'"]]'
    ids = [f"j{n}" for n in range(200)]
    broker.enqueue(QUEUE, [draft(id)._replace(envelope=large) for id in ids])
    found = reader.observe(QUEUE, ids)
    assert 0 < len(found.jobs) < 100
    assert [job.id for job in found.jobs] == ids[: len(found.jobs)]
