"""A consumer by hand: what a child has, without its process, threads and slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from django_taskq.broker.broker import Broker, Exchange, Inflight
from django_taskq.broker.connection import Server
from django_taskq.job import Grant, Kind, Outcome, new_id
from django_taskq.services.consumer import Consumer
from django_taskq.shares import Shares
from tests.broker.helpers import QUEUE

LEASE = 30.0  # seconds


class Recording(Broker):
    """A broker that remembers what went through it."""

    def __init__(self, server: Server, prefix: str) -> None:
        super().__init__(server, prefix)
        self.sent: list[list[Exchange]] = []  # one list a round trip

    def begin(self, requests: Sequence[Exchange]) -> Inflight:
        self.sent.append(list(requests))
        return super().begin(requests)

    @property
    def parcels(self) -> list[Exchange]:
        return [parcel for trip in self.sent for parcel in trip]


class Rig:
    """A consumer, its broker, and what it may ask for. ``room`` and ``memory`` can be set."""

    def __init__(
        self,
        broker: Recording,
        queues: Mapping[str, int] | None = None,
        *,
        room: int = 10,
        memory: int = 0,
        strict: bool = False,
    ) -> None:
        self.broker = broker
        self.room = room
        self.memory = memory
        self.registered: list[tuple[str, float]] = []
        self.ended = [0, 0]  # attempts, and those that failed
        self.holder = new_id()
        self.consumer = Consumer(
            broker,
            Shares(queues or {QUEUE: 1}, strict=strict),
            self.holder,
            LEASE,
            room=lambda: self.room,
            fullness=self,
            registered=lambda *told: self.registered.append(told),
            ended=self._count,
        )

    def _count(self, attempts: int, failed: int) -> None:
        self.ended[0] += attempts
        self.ended[1] += failed

    def take(self, most: int = 10_000) -> list[Grant]:
        """Jobs until there are none."""
        grants = []
        while len(grants) < most and (grant := self.consumer.next()) is not None:
            grants.append(grant)
        return grants

    def work(self, most: int = 10_000) -> list[Grant]:
        """Runs jobs one after the other, in no time, until there are none."""
        grants = []
        while len(grants) < most and (grant := self.consumer.next()) is not None:
            grants.append(grant)
            self.consumer.done(succeeded(grant))
        return grants

    def measure(self, seconds: float, task: str = "t") -> None:
        """A job of a task was seen to take so long."""
        pace = self.consumer.pace
        pace.ran(task, seconds, pace.begins(task))


def succeeded(grant: Grant, blob: bytes = b"1") -> Outcome:
    """What comes of a job that did its work; kept for a minute."""
    return Outcome(grant, Kind.SUCCEEDED, blob, 60_000, 1)


@contextmanager
def rigs(broker: Recording) -> Iterator[Callable[..., Rig]]:
    """Makes rigs, and closes them in the end."""
    made: list[Rig] = []

    def make(queues: Mapping[str, int] | None = None, **options: object) -> Rig:
        made.append(Rig(broker, queues, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for rig in made:
        rig.consumer.close()
