"""Whatever transactions and savepoints do: what survives is enqueued once, in order, in few trips.

Random programs of nested blocks are run, and held against a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_taskq.compat import task_backends
from django_taskq.outbox.models import OutboxJob
from tests.conftest import delete_keys
from tests.engine.support import configured, round_trips
from tests.engine.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


class Rollback(Exception):
    pass


@dataclass
class Enqueue:
    """Enqueues so many jobs: 1 by enqueue(), more by enqueue_many()."""

    jobs: int


@dataclass
class Callback:
    """Somebody else's callback."""


@dataclass
class Block:
    """An atomic block; ``how`` it ends: commit, raise (caught outside), or set_rollback()."""

    savepoint: bool
    how: str
    steps: list[Any]


steps: Any = st.recursive(
    st.one_of(st.builds(Enqueue, st.sampled_from([1, 1, 1, 2, 3])), st.builds(Callback)),
    lambda inner: st.builds(
        Block,
        st.sampled_from([True, True, True, False]),
        st.sampled_from(["commit", "commit", "raise", "set_rollback"]),
        st.lists(inner, max_size=5),
    ),
    max_leaves=15,
)
programs = st.lists(
    st.builds(
        Block,
        st.just(True),
        st.sampled_from(["commit", "commit", "commit", "raise"]),
        st.lists(steps, max_size=6),
    ),
    min_size=1,
    max_size=3,
)


class Run:
    """Runs a program and notes what has to come of it."""

    def __init__(self) -> None:
        self.numbers = iter(range(10_000))
        self.expected: list[int] = []
        self.trips = 0

    def program(self, blocks: list[Block]) -> None:
        for block in blocks:
            kept: list[Any] = []
            with suppress(Rollback), transaction.atomic(durable=True):
                self.steps(block.steps, kept, ())
                self.end(block)
            if block.how == "commit" and not any(entry is None for entry in kept):
                self.survive(kept)

    def steps(self, items: list[Any], kept: list[Any], path: tuple[Any, ...]) -> None:
        """``kept``: what this block has so far; None in it dooms the block."""
        for item in items:
            if connection.needs_rollback:
                return  # nothing more can be done in this block
            if isinstance(item, Enqueue):
                self.enqueue(item.jobs, kept, path)
            elif isinstance(item, Callback):
                transaction.on_commit(lambda: None)
                kept.append("callback")
            else:
                self.block(item, kept, (*path, id(item) if item.savepoint else None))

    def enqueue(self, jobs: int, kept: list[Any], path: tuple[Any, ...]) -> None:
        numbers = [next(self.numbers) for _ in range(jobs)]
        if jobs == 1:
            add.enqueue(numbers[0])
        else:
            add.enqueue_many([(number,) for number in numbers])
        kept.append((frozenset(path), numbers))

    def block(self, block: Block, kept: list[Any], path: tuple[Any, ...]) -> None:
        own: list[Any] = []
        with suppress(Rollback), transaction.atomic(savepoint=block.savepoint):
            self.steps(block.steps, own, path)
            self.end(block)
        if block.how == "commit" and not any(entry is None for entry in own):
            kept += own
        elif not block.savepoint:
            kept.append(None)  # what has no savepoint takes the block around it along

    def end(self, block: Block) -> None:
        if block.how == "raise":
            raise Rollback
        if block.how == "set_rollback":
            transaction.set_rollback(True)

    def survive(self, kept: list[Any]) -> None:
        last: Any = None
        for entry in kept:
            if entry == "callback":
                last = None
                continue
            path, numbers = entry
            self.trips += path != last
            last = path
            self.expected += numbers


@pytest.fixture(params=[False, True], ids=["plain", "outbox"])
def backend(request: Any, url: str, prefix: str) -> Iterator[Any]:
    entry = configured(url, prefix, OUTBOX=request.param)
    with override_settings(TASKS={"default": entry}):
        yield task_backends["default"]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(programs)
def test_what_survives_is_enqueued_once_in_order_in_the_fewest_trips(
    backend: Any, program: list[Block]
) -> None:
    backend.broker.number("default")
    run = Run()
    with round_trips() as trips:
        run.program(program)

    ids = backend.server.command("ZRANGE", backend.broker.key("default", "ready"), 0, -1)
    jobs = backend.broker.fetch("default", [id.decode() for id in ids])
    delete_keys(backend.server, backend.conf.prefix)
    found = [backend._client._read("x", "default", job).args[0] for job in jobs]
    assert found == run.expected
    assert len(trips) == run.trips
    assert not OutboxJob.objects.exists()
