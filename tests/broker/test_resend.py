"""Operators' calls whose reply is lost are sent again, and do nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_taskq.broker.aio import async_server
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.replies import Cancelled, cancelled_jobs, letters
from django_taskq.job import State
from tests.broker.helpers import (
    DAY,
    FAILURE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    dump,
    live,
    outcome,
    parked,
    put,
    seed,
    states,
)
from tests.engine.proxy import Proxy, proxied

PATIENCE = 20.0  # seconds; the proxy says at once that a reply is lost


def run_to_the_end(broker: Broker) -> None:
    """Whatever is ready succeeds."""
    child = Child(broker, "runner")
    child.settle(*[outcome(grant, "S", b"1", DAY) for grant in child.claim(9)])


# -- the same call twice ---------------------------------------------------------------------------


def test_a_retry_sent_again_after_the_job_ran_moves_nothing(broker: Broker) -> None:
    seed(broker, dead="a")
    call = broker.retry_call(QUEUE, ["a", "x"])
    assert letters(broker.server.call(call)) == "OU"
    run_to_the_end(broker)
    before = dump(broker)

    assert letters(broker.server.call(call)) == "OU"

    assert dump(broker) == before
    assert states(broker) == {"succeeded": ["a"]}


def test_another_retry_is_another_call(broker: Broker) -> None:
    seed(broker, dead="a")
    assert broker.retry(QUEUE, ["a"]) == "O"
    assert broker.retry(QUEUE, ["a"]) == "E"
    run_to_the_end(broker)

    assert broker.retry(QUEUE, ["a"]) == "O"

    assert states(broker) == {"ready": ["a"]}


@pytest.mark.parametrize("state", ["ready", "scheduled", "waiting", "retrying"])
def test_a_cancel_sent_again_answers_as_before(broker: Broker, clock: Any, state: str) -> None:
    seed(broker, **{state: "a"})
    call = broker.cancel_call(QUEUE, [("a", TASK), ("x", TASK)], FAILURE, DAY)
    first = cancelled_jobs(broker.server.call(call))
    assert [answer.verdict for answer in first] == ["C", "U"]
    before = dump(broker)
    clock.forward(1)

    assert cancelled_jobs(broker.server.call(call)) == first

    assert dump(broker) == before


def test_a_cancel_sent_again_does_not_end_what_was_retried_since(broker: Broker) -> None:
    put(broker, "a")
    call = broker.cancel_call(QUEUE, [("a", TASK)], FAILURE, DAY)
    broker.server.call(call)
    broker.retry(QUEUE, ["a"])

    (answer,) = cancelled_jobs(broker.server.call(call))

    assert answer.verdict == "C"
    assert states(broker) == {"ready": ["a"]}


def test_a_request_to_stop_sent_again_after_the_end_was_granted(broker: Broker) -> None:
    grants = seed(broker, running="a")
    call = broker.cancel_call(QUEUE, [("a", TASK)], FAILURE, DAY)
    (first,) = cancelled_jobs(broker.server.call(call))
    assert first == Cancelled("R", grants["a"].live.holder, 1)
    Child(broker, "seeder").settle(outcome(grants["a"], "S", b"1", DAY))

    assert cancelled_jobs(broker.server.call(call)) == [first]

    assert dump(broker)["cancels"] == {}


def test_a_park_sent_again_after_another_claim_answers_as_before(
    broker: Broker, clock: Any
) -> None:
    """Without the token it would be taken for an outcome that came too late."""
    grants = seed(broker, running="a")
    call = broker._park_call(QUEUE, [parked(grants["a"])])
    assert letters(broker.server.call(call)) == "O"
    clock.forward(1000)
    assert broker.release(QUEUE, TASK) == 1
    Child(broker, "another").claim()
    before = dump(broker)

    assert letters(broker.server.call(call)) == "O"

    assert dump(broker) == before
    assert states(broker) == {"running": ["a"]}


def test_a_release_sent_again_releases_nothing_more(broker: Broker, clock: Any) -> None:
    seed(broker, waiting="a b")
    clock.forward(1000)
    call = broker._release_call(QUEUE, TASK)
    assert broker.server.call(call) == 2
    (grant, _) = Child(broker, "another").claim(2)
    broker.park(QUEUE, [parked(grant)])
    clock.forward(WINDOW - 1000)

    assert broker.server.call(call) == 2

    assert states(broker)["waiting"] == [grant.id]


# -- what is kept for it ---------------------------------------------------------------------------


def test_what_did_nothing_is_not_kept(broker: Broker) -> None:
    seed(broker, running="a")
    before = dump(broker)

    broker.retry(QUEUE, ["a", "x"])
    broker.cancel(QUEUE, [("x", TASK)], FAILURE, DAY)
    broker.release(QUEUE, TASK)

    assert dump(broker, "meta") == {name: before[name] for name in before if name != "meta"}


def test_an_answer_is_kept_for_the_window(broker: Broker, clock: Any) -> None:
    put(broker, "abc")
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    clock.forward(WINDOW - 1)
    broker.cancel(QUEUE, [("b", TASK)], FAILURE, DAY)
    assert len(dump(broker)["answers"]) == 2

    clock.forward(1)
    broker.cancel(QUEUE, [("c", TASK)], FAILURE, DAY)

    kept = dump(broker)
    assert len(kept["answers"]) == 2
    assert set(kept["answers"]) == set(kept["calls"][::2])


def test_the_last_answers_go_with_the_next_trim(broker: Broker, clock: Any) -> None:
    put(broker, "a")
    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)
    clock.forward(WINDOW)

    assert broker.trim(QUEUE) == 0

    assert dump(broker)["calls"] == []
    assert dump(broker)["answers"] == {}


def test_a_call_drops_a_hundred_old_answers(broker: Broker, clock: Any) -> None:
    broker.server.command(
        "ZADD", broker.key(QUEUE, "calls"), *[part for n in range(150) for part in (n, f"old-{n}")]
    )
    put(broker, "a")

    broker.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)

    assert len(dump(broker)["calls"]) // 2 == 51


# -- replies that are lost on the way --------------------------------------------------------------


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with proxied(url) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: Proxy, prefix: str, clock: Any) -> Iterator[Broker]:
    """The broker as somebody behind the proxy has it."""
    server = Server(proxy.url, connect_timeout=PATIENCE, socket_timeout=PATIENCE)
    yield Broker(server, prefix, now=clock)
    server.close()


def losing_one(proxy: Proxy, meanwhile: Callable[[], object]) -> None:
    """The next script's reply is lost; before the caller sends again, ``meanwhile`` happens."""
    proxy.meanwhile = meanwhile
    proxy.losing = True


def test_a_job_is_retried_once(broker: Broker, far: Broker, proxy: Proxy) -> None:
    seed(broker, dead="a")
    losing_one(proxy, lambda: run_to_the_end(broker))

    assert far.retry(QUEUE, ["a"]) == "O"

    assert proxy.lost == 1
    assert states(broker) == {"succeeded": ["a"]}
    assert live(broker, "a").fence == 2


def test_a_job_is_cancelled_once(broker: Broker, far: Broker, proxy: Proxy) -> None:
    put(broker, "a")
    losing_one(proxy, lambda: None)

    assert far.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)[0].verdict == "C"

    assert proxy.lost == 1
    assert states(broker) == {"cancelled": ["a"]}


def test_a_running_job_is_asked_once_and_its_holder_told(
    broker: Broker, far: Broker, proxy: Proxy
) -> None:
    grants = seed(broker, running="a")
    holder = Child(broker, "seeder")
    losing_one(proxy, lambda: holder.settle(outcome(grants["a"], "S", b"1")))

    assert far.cancel(QUEUE, [("a", TASK)], FAILURE, DAY)[0].verdict == "R"

    assert states(broker) == {State.CANCELLED: ["a"]}


def test_jobs_are_parked_and_released_once(
    broker: Broker, far: Broker, proxy: Proxy, clock: Any
) -> None:
    grants = seed(broker, running="a b")
    losing_one(proxy, lambda: None)
    assert far.park(QUEUE, [parked(grant) for grant in grants.values()]) == "OO"
    clock.forward(1000)

    losing_one(proxy, lambda: run_to_the_end(broker))
    assert far.release(QUEUE, TASK) == 2

    assert proxy.lost == 2
    assert states(broker) == {"succeeded": ["a", "b"]}


@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_async_calls_do_nothing_twice_either(
    broker: Broker, far: Broker, proxy: Proxy, verb: str
) -> None:
    seed(broker, dead="a", ready="b")
    call = (
        far.retry_call(QUEUE, ["a"])
        if verb == "retry"
        else far.cancel_call(QUEUE, [("b", TASK)], FAILURE, DAY)
    )
    losing_one(proxy, lambda: run_to_the_end(broker))

    answer = asyncio.run(async_server_call(far, call))

    assert answer[:1] == (b"O" if verb == "retry" else b"C")
    assert proxy.lost == 1
    expected = {"retry": {"succeeded": ["a", "b"]}, "cancel": {"cancelled": ["b"], "dead": ["a"]}}
    assert {state: sorted(ids) for state, ids in states(broker).items()} == expected[verb]


async def async_server_call(broker: Broker, call: Any) -> Any:
    """On this loop's connections."""
    return await async_server(broker.server).call(call)
