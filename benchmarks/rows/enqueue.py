"""How fast one process enqueues: call by call, 50 coroutines at once, and in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any

import redis.asyncio

from benchmarks import bare
from benchmarks.bench import TEXT, Bench
from benchmarks.report import Row, Target

CALLS = 20_000  # at most, where each is a round trip
COROUTINES = 50


def enqueue(bench: Bench) -> Iterator[Row]:
    """``task.enqueue()`` in a loop, beside three ways to do less."""
    from benchmarks.tasks import run_noop

    count = min(bench.options.jobs, CALLS)
    _open_database()
    run_noop.enqueue(0, TEXT)  # loads the script that `same` sends
    connection: Any = bench.bare.client.connection_pool.make_connection()
    same = _same_script(run_noop)

    def sent(command: tuple[Any, ...]) -> None:
        connection.send_command(*command)
        connection.read_response()

    ways: dict[str, Callable[[int], object]] = {
        "ours": lambda i: run_noop.enqueue(i, TEXT),
        "bare": lambda i: sent(bench.bare.command((i, TEXT))),
        "same": lambda i: sent(same()),
        "evalsha": lambda i: bench.bare.enqueue((i, TEXT)),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in bench.rounds(f"{count:,} calls of enqueue()"):
        for way, call in ways.items():
            rates[way].append(_rate(bench, count, call))
    connection.disconnect()
    for way, text, target in (
        ("bare", "bare: send_command", Target(0.9, of="ratio")),
        ("same", "bare: our script by send_command", None),
        ("evalsha", "bare: redis-py's evalsha", None),
    ):
        yield Row(f"enqueue(), {text}", "/s", rates["ours"], rates[way], target)


def _same_script(task: Any) -> Callable[[], tuple[Any, ...]]:
    """What makes the command that an ``enqueue()`` of ours sends, without making the job."""
    from django_taskq.broker.broker import Draft

    broker = task.get_backend().broker
    envelope = bare.encode({"t": task.module_path, "e": 1_795_000_000_000, "a": [12345, TEXT]})

    def command() -> tuple[Any, ...]:
        draft = Draft(f"{bare.new_id()}.1", envelope)
        return broker.enqueue_call(task.queue_name, [draft]).by_sha()  # type: ignore[no-any-return]

    return command


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
    bares: list[float] = []
    for _ in bench.rounds(f"{count:,} calls of aenqueue() by {COROUTINES} coroutines"):
        bench.clean()
        ours.append(asyncio.run(_aenqueue(count)))
        bench.clean()
        bares.append(asyncio.run(_aenqueue_bare(bench, count)))
    yield Row(f"aenqueue(), {COROUTINES} at once", "/s", ours, bares, Target(18_000))


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
    bares: list[float] = []
    _open_database()
    for _ in bench.rounds(f"enqueue_many() of {count:,} jobs"):
        bench.clean()
        ours.append(count / bench.fill(run_noop, count))
        bench.clean()
        began = perf_counter()
        bench.bare.enqueue_many((i, TEXT) for i in range(count))
        bares.append(count / (perf_counter() - began))
    yield Row("enqueue_many()", "/s", ours, bares, Target(80_000))
