"""A forked child: connections of its own, and nobody else's replies."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from django_taskq.backends import RedisBackend
from django_taskq.broker.connection import close_servers
from tests.conftest import eventually
from tests.engine.support import Hand
from tests.engine.tasks import add


def forked(work: Callable[[], Any]) -> Callable[[], str]:
    """Runs ``work`` in a forked child; what it returns waits for the child's answer."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        pid = os.fork()
    if pid == 0:
        try:
            answer = repr(work())
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)

    def answer() -> str:
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read().decode()
        os.waitpid(pid, 0)
        return text

    return answer


def connection_id(backend: RedisBackend) -> int:
    return int(backend.server.command("CLIENT", "ID"))


def test_a_child_has_a_connection_of_its_own(backend: RedisBackend) -> None:
    mine = connection_id(backend)
    theirs = forked(lambda: connection_id(backend))()
    assert int(theirs) != mine
    assert connection_id(backend) == mine


def test_replies_of_parent_and_child_are_not_mixed_up(backend: RedisBackend) -> None:
    add.enqueue(0)

    def work(of: int) -> set[int]:
        results = [add.enqueue(of) for _ in range(200)]
        return {add.get_result(result.id).args[0] for result in results}

    children = [forked(lambda of=of: work(of)) for of in (1, 2)]
    assert work(3) == {3}
    assert [child() for child in children] == ["{1}", "{2}"]


def test_a_child_can_wait_while_its_parent_waits(hand: Hand, backend: RedisBackend) -> None:
    def wait(result: Any) -> int:
        return int(result.get(timeout=20))

    mine, theirs = add.enqueue(1), add.enqueue(2)
    values: list[int] = []
    thread = threading.Thread(target=lambda: values.append(wait(mine)))
    thread.start()
    channel = backend.broker.key("default", "ended")

    def listeners() -> int:
        return int(backend.server.command("PUBSUB", "SHARDNUMSUB", channel)[1])

    eventually(lambda: listeners() == 1)
    answer = forked(lambda: wait(theirs))
    eventually(lambda: listeners() == 2)
    hand.run()
    assert answer() == "2"
    thread.join(10)
    assert values == [1]


@pytest.mark.parametrize("where", ["here", "in a child"])
def test_closed_pools_are_made_anew(where: str, backend: RedisBackend) -> None:
    def works_again() -> bool:
        before = connection_id(backend)
        close_servers()
        return connection_id(backend) != before and bool(add.enqueue(1).id)

    assert works_again() if where == "here" else forked(works_again)() == "True"
