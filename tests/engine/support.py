"""What the tests of the public API share: settings, a worker by hand, and fixtures.

A conftest.py imports the fixtures from here, because two folders need them.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_taskq.backends import RedisBackend
from django_taskq.broker import calls, embedded
from django_taskq.broker.broker import Broker, Exchange
from django_taskq.broker.connection import get_server
from django_taskq.broker.replies import Stored
from django_taskq.compat import task_backends
from django_taskq.execution import Attempt, Runner
from django_taskq.job import Grant, Kind, Outcome, State, new_id
from django_taskq.result import TaskResult
from django_taskq.task import Task
from tests.engine import tasks as engine_tasks

LEASE = 30_000  # ms
QUEUES = {"critical": 6, "default": 3, "low": 1}
REDIS = "django_taskq.backends.RedisBackend"
IMMEDIATE = "django_taskq.backends.ImmediateBackend"
DUMMY = "django_taskq.backends.DummyBackend"


def configured(url: str, prefix: str, backend: str = REDIS, **options: Any) -> dict[str, Any]:
    """One entry of TASKS."""
    own = {"URL": url, "PREFIX": prefix, **options}
    return {"BACKEND": backend, "QUEUES": QUEUES, "OPTIONS": own}


@contextmanager
def using_backend(backend: str, **options: Any) -> Iterator[Any]:
    """A block in which the default backend is another one."""
    entry = {"BACKEND": backend, "QUEUES": QUEUES, "OPTIONS": options}
    with override_settings(TASKS={"default": entry}):
        yield task_backends["default"]


class Hand:
    """A worker by hand: it claims jobs, runs them on this thread, and settles them."""

    def __init__(self, broker: Broker, alias: str = "default") -> None:
        self.broker = broker
        self.holder = new_id()
        self.runner = Runner(alias, self.holder, RedisBackend)
        self._requests = itertools.count(1)

    def exchange(
        self, queue: str = "default", want: int = 0, outcomes: Sequence[Outcome] = ()
    ) -> list[Grant]:
        request = Exchange(
            queue, self.holder, LEASE, True, next(self._requests), want, tuple(outcomes)
        )
        (answer,) = self.broker.exchange([request])
        assert set(answer.verdicts) <= {"O", "C"}
        return answer.grants

    def claim(self, want: int = 10, queue: str = "default") -> list[Grant]:
        return self.exchange(queue, want)

    def settle(self, *outcomes: Outcome, queue: str = "default") -> None:
        self.exchange(queue, outcomes=outcomes)

    def run(self, want: int = 10, queue: str = "default") -> list[Outcome]:
        """Claims jobs, runs them and settles them; what they came to."""
        outcomes = [self.attempt(grant) for grant in self.claim(want, queue)]
        aside = [outcome for outcome in outcomes if outcome.kind is Kind.PARKED]
        if aside:
            self.broker.park(queue, aside)
        self.settle(*(each for each in outcomes if each.kind is not Kind.PARKED), queue=queue)
        return outcomes

    def attempt(self, grant: Grant) -> Outcome:
        now = 1 if self.broker._now is None else self.broker._now()
        prepared = self.runner.prepare(grant, now)
        return prepared.run_here() if isinstance(prepared, Attempt) else prepared

    def promote(self, queue: str = "default") -> int:
        return self.broker.promote(queue, "keeper", force=True).moved


@contextmanager
def round_trips() -> Iterator[list[list[str]]]:
    """The names of the scripts and commands of each round trip that is made in the block."""
    trips: list[list[str]] = []
    original = calls.send

    def counting(to: Any, batch: Sequence[Any]) -> None:
        trips.append(
            [
                str(call.args[0]) if isinstance(call, calls.Command) else call.script.name
                for call in batch
            ]
        )
        original(to, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "send", counting)
        yield trips


def stored(broker: Broker, result: TaskResult) -> Stored:
    """The job as Redis has it."""
    return broker.fetch(result.task.queue_name, [result.id])[0]


@pytest.fixture
def backend(url: str, prefix: str) -> Iterator[RedisBackend]:
    """The default backend, on the tests' server under the test's own prefix."""
    with override_settings(TASKS={"default": configured(url, prefix)}):
        yield task_backends["default"]


@pytest.fixture
def hand(backend: RedisBackend) -> Hand:
    """A worker of the default backend."""
    return Hand(backend.broker)


@pytest.fixture
def jobs(backend: RedisBackend) -> Callable[[State, Task], list[str]]:
    """The ids in a state of a task's queue."""

    def ids(state: State, of: Task = engine_tasks.nothing) -> list[str]:
        key = backend.broker.key(of.queue_name, str(state))
        return [raw.decode() for raw in backend.server.command("ZRANGE", key, 0, -1)]

    return ids


@pytest.fixture
def private_url() -> Iterator[str]:
    """The URL of a server that this test alone has, and may break."""
    home = Path(tempfile.mkdtemp(prefix="tq-own-"))
    url = f"embedded://{home}?persist=no"
    yield url
    get_server(url).close()
    embedded.stop(home)
    embedded.release(home)


@pytest.fixture
def private(private_url: str, prefix: str) -> Iterator[RedisBackend]:
    """The default backend on a server of the test's own."""
    with override_settings(TASKS={"default": configured(private_url, prefix)}):
        yield task_backends["default"]


@pytest.fixture
def ran() -> Iterator[list[Any]]:
    """What the tasks of this folder noted while they ran."""
    engine_tasks.RAN.clear()
    yield engine_tasks.RAN
    engine_tasks.RAN.clear()


@pytest.fixture
def enqueued(jobs: Callable[..., list[str]], backend: RedisBackend) -> Callable[[], list[Any]]:
    """The first argument of each job of the default queue that is ready, in order."""
    backend.broker.number("default")
    return lambda: [backend.get_result(id).args[0] for id in jobs(State.READY)]
