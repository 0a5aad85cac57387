"""How fast one process enqueues: call by call, 50 coroutines at once, and in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any

import redis.asyncio

from benchmarks.bench import TEXT, Bench
from benchmarks.report import Row, Target

CALLS = 20_000  # at most, where each is a round trip
COROUTINES = 50


def enqueue(bench: Bench) -> Iterator[Row]:
    """``task.enqueue()`` in a loop, beside the bare script sent by send_command and by evalsha."""
    from benchmarks.tasks import run_noop

    count = min(bench.options.jobs, CALLS)
    connection: Any = bench.bare.client.connection_pool.make_connection()
    connection.connect()

    def by_hand(i: int) -> None:
        connection.send_command(*bench.bare.command((i, TEXT)))
        connection.read_response()

    ours: list[float] = []
    sent: list[float] = []
    evalsha: list[float] = []
    _open_database()
    for _ in bench.rounds(f"{count:,} calls of enqueue()"):
        ours.append(_rate(bench, count, lambda i: run_noop.enqueue(i, TEXT)))
        sent.append(_rate(bench, count, by_hand))
        evalsha.append(_rate(bench, count, lambda i: bench.bare.enqueue((i, TEXT))))
    connection.disconnect()
    yield Row("enqueue(), bare: send_command", "/s", ours, sent, Target(0.9, of="ratio"))
    yield Row("enqueue(), bare: redis-py's evalsha", "/s", ours, evalsha)


def _rate(bench: Bench, count: int, call: Callable[[int], object]) -> float:
    bench.clean()
    for i in range(100):  # scripts are loaded, connections open
        call(i)
    began = perf_counter()
    for i in range(count):
        call(i)
    return count / (perf_counter() - began)


def _open_database() -> None:
    """As in a view: enqueue() asks open connections whether they are in a transaction."""
    from django.db import connection

    connection.ensure_connection()


def aenqueue(bench: Bench) -> Iterator[Row]:
    """``await task.aenqueue()`` in 50 coroutines, beside as many on redis.asyncio's evalsha."""
    count = min(bench.options.jobs, CALLS)
    ours: list[float] = []
    bare: list[float] = []
    for _ in bench.rounds(f"{count:,} calls of aenqueue() by {COROUTINES} coroutines"):
        bench.clean()
        ours.append(asyncio.run(_aenqueue(count)))
        bench.clean()
        bare.append(asyncio.run(_aenqueue_bare(bench, count)))
    yield Row(f"aenqueue(), {COROUTINES} at once", "/s", ours, bare, Target(18_000))


async def _aenqueue(count: int) -> float:
    from benchmarks.tasks import run_noop

    return await _arate(count, lambda i: run_noop.aenqueue(i, TEXT))


async def _aenqueue_bare(bench: Bench, count: int) -> float:
    client: Any = redis.asyncio.Redis.from_url(bench.server.url)
    async with client:
        return await _arate(count, lambda i: client.execute_command(*bench.bare.command((i, TEXT))))


async def _arate(count: int, call: Callable[[int], Awaitable[Any]]) -> float:
    async def some(first: int) -> None:
        for i in range(first, count, COROUTINES):
            await call(i)

    await asyncio.gather(*(call(i) for i in range(COROUTINES)))  # connections open
    began = perf_counter()
    await asyncio.gather(*(some(first) for first in range(COROUTINES)))
    return count / (perf_counter() - began)


def enqueue_many(bench: Bench) -> Iterator[Row]:
    """``task.enqueue_many()``, beside the bare script with 500 jobs a call."""
    from benchmarks.tasks import run_noop

    count = bench.options.jobs
    ours: list[float] = []
    bare: list[float] = []
    _open_database()
    for _ in bench.rounds(f"enqueue_many() of {count:,} jobs"):
        bench.clean()
        ours.append(count / bench.fill(run_noop, count))
        bench.clean()
        began = perf_counter()
        bench.bare.enqueue_many((i, TEXT) for i in range(count))
        bare.append(count / (perf_counter() - began))
    yield Row("enqueue_many()", "/s", ours, bare, Target(80_000))
