"""How soon a child looks again at its hands: at once where one is missing, else seldom."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from django_taskq.broker.connection import Server
from django_taskq.watcher import LAZY_TICK, SLOW_TICK, TICK, Watcher
from tests.broker.helpers import put
from tests.engine.rig import Recording, Rig, rigs, succeeded


@pytest.fixture
def rig(server: Server, prefix: str) -> Iterator[Rig]:
    with rigs(Recording(server, prefix)) as make:
        yield make()


def watcher(rig: Rig, running: int) -> Watcher:
    """Of two slots, so many run something that goes on."""
    free: Any = [None] * (2 - running)
    pool: Any = SimpleNamespace(
        slots=(), free=free, taken=0, running=running, summon=lambda: None, closed=False
    )
    return Watcher(pool, rig.consumer, restless=True)


def test_while_nobody_listens_it_looks_at_once(rig: Rig) -> None:
    assert watcher(rig, 1).look(0.0) == TICK


def test_one_that_takes_no_more_looks_seldom_for_the_end_of_its_last_job(rig: Rig) -> None:
    rig.consumer.close()

    assert watcher(rig, 1).look(0.0) == LAZY_TICK
    assert watcher(rig, 2).look(0.0) == LAZY_TICK
    assert watcher(rig, 0).look(0.0) == SLOW_TICK  # it leaves


def test_one_that_takes_no_more_looks_soon_while_outcomes_wait(rig: Rig) -> None:
    put(rig.broker, ["a"])
    (grant,) = rig.take(1)
    rig.consumer.close()
    rig.consumer.done(succeeded(grant))

    assert watcher(rig, 1).look(0.0) == SLOW_TICK
