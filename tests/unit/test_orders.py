"""The line from a supervisor to its child."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from django_taskq.orders import MOST_UNSENT, Giver, Taker


@pytest.fixture
def ends() -> Iterator[tuple[Giver, Taker]]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    yield Giver(ours), Taker(theirs)
    ours.close()
    theirs.close()


def test_orders_arrive_in_their_order(ends: tuple[Giver, Taker]) -> None:
    giver, taker = ends
    giver.give("stop", 2.5)
    giver.give("kill", "some-job", 3)

    assert taker.take() == [["stop", 2.5], ["kill", "some-job", 3]]
    assert taker.take() == []


def test_an_order_that_there_was_no_room_for_arrives_whole_and_once(
    ends: tuple[Giver, Taker],
) -> None:
    """A child may be frozen, or run code that lets no other thread run."""
    giver, taker = ends
    given = []
    while giver.give("cancel", "j" * 700, len(given)):
        given.append(["cancel", "j" * 700, len(given)])
    assert len(given) * 700 > MOST_UNSENT

    taken = []
    while orders := taker.take():
        taken += orders
        giver.flush()

    assert taken == given
    assert giver.give("quiet"), "there is room again"
    assert taker.take() == [["quiet"]]


def test_orders_to_the_dead_are_nothing(ends: tuple[Giver, Taker]) -> None:
    giver, taker = ends
    taker._end.close()

    assert giver.give("quiet")


def test_a_child_notices_that_its_supervisor_is_gone(ends: tuple[Giver, Taker]) -> None:
    giver, taker = ends
    giver.give("quiet")
    giver.close()

    assert taker.take() == [["quiet"]]
    with pytest.raises(EOFError):
        taker.take()
