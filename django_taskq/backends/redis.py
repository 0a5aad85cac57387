"""The backend that keeps jobs in Redis or Valkey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections

from .. import compat
from ..asks import queue_gates
from ..broker.broker import Broker, Limits
from ..broker.connection import Server, get_server
from ..broker.endings import Endings
from ..broker.waits import wait_for
from ..client import Client
from ..conf import Options, Problem
from ..outbox.checks import problems_of_outbox
from ..outbox.producer import OutboxProducer
from ..producer import Producer
from ..result import TaskResult
from ..sealing import Sealing
from ..signals import ENQUEUED
from ..spelling import nearest
from ..timetable import Timetable
from .base import TaskqBackend


class RedisBackend(TaskqBackend):
    """Jobs in Redis or Valkey, run by ``manage.py runworker``."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        conf = self.conf
        self.server = get_server(conf.url, conf.connect_timeout, conf.socket_timeout)
        self.broker = get_broker(self.server, conf)
        make = OutboxProducer if conf.outbox else Producer
        producer = make(self.broker, alias, conf.max_payload, self._pushed, self.carrier)
        self._client = Client(self.broker, get_endings(self.server), producer)

    def _problems(self) -> list[Problem]:
        found = super()._problems()
        if self.conf.mirror_database and self.conf.mirror_database not in connections.settings:
            where = f"OPTIONS['MIRROR_DATABASE']: no database {self.conf.mirror_database!r}"
            hint = nearest(self.conf.mirror_database, connections.settings)
            found = [*found, Problem(where, hint[0].upper() + hint[1:])]
        return found + problems_of_outbox(self.conf.queues) if self.conf.outbox else found

    def enqueue(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job, at the commit where ``on_commit`` says so."""
        mine = self._mine(task)
        return self._client.enqueue(mine, args, kwargs, mine.options.on_commit)

    def enqueue_on_commit(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job at the open transaction's commit."""
        mine = self._mine(task)
        return self._client.enqueue(mine, args, kwargs, mine.options.on_commit or True)

    def enqueue_now(
        self, task: compat.Task, args: Any, kwargs: Any, along: dict[str, Any] | None = None
    ) -> TaskResult:
        """Enqueues one job for an operator, who is told at once what became of it.

        It waits for no commit, and goes to the outbox's database as any other of its task.
        ``along``: what it takes along; None: what there is here and now.
        """
        return self._client.enqueue_now(self._mine(task), args, kwargs, along)

    def enqueue_many(self, task: compat.Task, calls: Iterable[Any]) -> list[TaskResult]:
        """Enqueues a job per item."""
        return self._client.enqueue_many(self._mine(task), calls)

    async def aenqueue(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job at once, without a thread."""
        return await self._client.aenqueue(self._mine(task), args, kwargs)

    async def aenqueue_on_commit(self, task: compat.Task, args: Any, kwargs: Any) -> TaskResult:
        """Enqueues one job at the commit of the sync thread's transaction."""
        mine = self._mine(task)
        return await self._client.aenqueue_on_commit(
            mine, args, kwargs, mine.options.on_commit or True
        )

    def get_result(self, result_id: str) -> TaskResult:
        """The job of that id. Raises TaskResultDoesNotExist."""
        return self._client.get_result(result_id)

    async def aget_result(self, result_id: str) -> TaskResult:
        """As ``get_result()``."""
        return await self._client.aget_result(result_id)

    def announce(self, queue: str, ids: Sequence[str]) -> None:
        """Tells Django's receivers of jobs that another process enqueued and this one pushed."""
        if ENQUEUED.is_heard:
            self._pushed(self._client.results(queue, ids))

    def wait(self, result: TaskResult, timeout: float | None) -> Any:
        """See TaskResult.get."""
        return self._client.wait(result, timeout)

    async def await_(self, result: TaskResult, timeout: float | None) -> Any:
        """See TaskResult.aget."""
        return await self._client.await_(result, timeout)

    def cancel(self, result: TaskResult) -> bool:
        """See TaskResult.cancel."""
        return self._client.stop(result, "cancel")

    async def acancel(self, result: TaskResult) -> bool:
        """See TaskResult.acancel."""
        return await self._client.astop(result, "cancel")

    def kill(self, result: TaskResult) -> bool:
        """See TaskResult.kill."""
        return self._client.stop(result, "kill")

    async def akill(self, result: TaskResult) -> bool:
        """See TaskResult.akill."""
        return await self._client.astop(result, "kill")

    def retry(self, result: TaskResult) -> bool:
        """See TaskResult.retry."""
        return self._client.retry(result)

    async def aretry(self, result: TaskResult) -> bool:
        """See TaskResult.aretry."""
        return await self._client.aretry(result)

    @property
    def timetable(self) -> Timetable:
        """The schedules of this backend's tasks, to look at and to steer."""
        return Timetable(self.broker, self.alias, type(self), self.conf.max_payload)


# Django makes a backend per thread and context; what they use is one per process.
_brokers: dict[tuple[Any, ...], Broker] = {}
_endings: dict[Server, Endings] = {}


def get_broker(server: Server, conf: Options) -> Broker:
    """This process's one Broker for a server, prefix, limits, durability, seals and gates."""
    keep = conf.keep
    limits = Limits(keep.succeeded, keep.dead, keep.cancelled, round(conf.dead_retention * 1000))
    durability = (conf.durability, conf.replicas, conf.durability_timeout)
    sealing = Sealing.of(conf)
    gates = queue_gates(conf.limits)
    key = (server, conf.prefix, limits, durability, sealing, *sorted(gates.items()))
    found = _brokers.get(key)
    if found is None:
        wait = wait_for(*durability, server.socket_timeout)
        seals = sealing.seals(conf.prefix)
        broker = Broker(server, conf.prefix, limits, durability=wait, seals=seals, gates=gates)
        found = _brokers.setdefault(key, broker)
    return found


def get_endings(server: Server) -> Endings:
    """This process's one subscriber for a server."""
    found = _endings.get(server)
    return found or _endings.setdefault(server, Endings(server))
