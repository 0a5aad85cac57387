"""A server that went back in time: its last writes are lost, the workers know better."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.held import Held
from django_taskq.job import Kind, Outcome, new_id
from django_taskq.services import consumer
from tests.broker.helpers import QUEUE, put, state_of
from tests.conftest import eventually
from tests.engine.proxy import Proxy
from tests.engine.rig import Recording, Rig, rigs, succeeded


@pytest.fixture
def rig(far: Recording) -> Iterator[Rig]:
    with rigs(far) as make:
        yield make(room=10)


@pytest.fixture
def remember(near: Broker, proxy: Proxy) -> Callable[[], Callable[[], None]]:
    """Notes what the queue holds; what it gives brings that back, with an outage."""

    def keys() -> list[bytes]:
        return list(near.server.command("KEYS", f"{near.prefix}:*"))

    def note() -> Callable[[], None]:
        noted = {key: near.server.command("DUMP", key) for key in keys()}

        def go_back() -> None:
            proxy.go_away()
            for key in keys():
                near.server.command("DEL", key)
            for key, value in noted.items():
                near.server.command("RESTORE", key, 0, value)
            proxy.away = False

        return go_back

    return note


def comes_back(rig: Rig, near: Broker, id: str) -> None:
    """A new job wakes the child, which learns of the outage; works until that one has run too."""
    put(near, ["new"])
    done: list[str] = []

    def has_run() -> bool:
        rig.consumer.listen()
        done.extend(grant.id for grant in rig.work())
        rig.consumer.flush()
        return id in done

    eventually(has_run)
    assert state_of(near, id) == "succeeded"


def test_a_job_whose_outcome_was_lost_runs_again(
    rig: Rig, near: Broker, remember: Callable[[], Callable[[], None]]
) -> None:
    put(near, ["a"])
    (grant,) = rig.take()
    go_back = remember()
    rig.consumer.done(succeeded(grant))
    rig.consumer.flush()
    assert state_of(near, "a") == "succeeded"

    go_back()
    assert state_of(near, "a") == "running", "by a holder that is done with it"

    comes_back(rig, near, "a")


def test_what_still_runs_after_an_outage_stays_where_it_is(
    rig: Rig, near: Broker, remember: Callable[[], Callable[[], None]]
) -> None:
    put(near, ["a", "b"])
    first, _ = rig.take()
    go_back = remember()

    go_back()
    comes_back(rig, near, "new")
    rig.consumer.done(succeeded(first))
    rig.consumer.flush()

    assert [state_of(near, id) for id in "ab"] == ["succeeded", "running"]


def test_an_earlier_attempt_that_came_back_is_found_when_the_later_one_is_refused(
    rig: Rig,
    near: Broker,
    remember: Callable[[], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer, "AGAIN", 0.0)
    put(near, ["a"])
    (early,) = rig.take()
    go_back = remember()
    rig.consumer.done(Outcome(early, Kind.RETURNED))
    rig.consumer.flush()
    assert rig.consumer.listen()
    (later,) = rig.take()
    assert later.live.fence > early.live.fence

    go_back()
    rig.consumer.done(succeeded(later))

    comes_back(rig, near, "a")


def test_without_a_server_it_is_looked_for_again(far: Recording, proxy: Proxy) -> None:
    held = Held(far, new_id())
    held.doubt()
    proxy.go_away()

    assert held.strays([QUEUE]) == []
    assert eventually(lambda: held.is_doubtful, 5)
