"""What a holder has, as Redis sees it."""

from __future__ import annotations

from typing import Any

from django_taskq.broker.broker import CHUNK, Broker
from tests.broker.helpers import QUEUE, Child, dump, outcome, put


def test_a_holder_is_told_what_it_has_and_under_which_fence(broker: Broker) -> None:
    one, other = Child(broker, "one"), Child(broker, "other")
    put(broker, "abc")
    settled, held = one.claim(2)
    other.claim(1)
    one.settle(outcome(settled, "S"))

    assert broker.held(QUEUE, one.holder) == {held.id: held.live}


def test_more_than_a_page_is_found_among_the_jobs_of_others(broker: Broker, clock: Any) -> None:
    one, other = Child(broker, "one"), Child(broker, "other")
    put(broker, [f"j{at}" for at in range(3 * CHUNK)])
    mine = set()
    for _ in range(3):  # of one moment and of several
        mine |= {grant.id for grant in one.claim(CHUNK // 2)}
        other.claim(CHUNK // 2)
        clock.forward(1)

    assert broker.held(QUEUE, one.holder).keys() == mine


def test_a_page_that_was_claimed_in_one_moment_ends(broker: Broker) -> None:
    children = [Child(broker, f"child{at}") for at in range(6)]
    put(broker, [f"j{at}" for at in range(3 * CHUNK)])
    claimed = {child.holder: {grant.id for grant in child.claim(CHUNK)} for child in children[:3]}

    assert {holder: broker.held(QUEUE, holder).keys() for holder in claimed} == claimed


def test_who_has_nothing_is_told_so_and_nothing_changes(broker: Broker) -> None:
    child = Child(broker)
    before = dump(broker)

    assert broker.held(QUEUE, child.holder) == {}
    assert dump(broker) == before
