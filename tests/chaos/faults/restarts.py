"""A server that dies and comes back, with what it had on disk or with nothing."""

from __future__ import annotations

from typing import ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import SHORT_LEASE, Fault

DOWN = 0.3  # seconds


class Restart(Fault):
    """kill -9 of the server under load; its workers stay and go on."""

    long = (20_000, 20)

    def strike(self, arena: Arena) -> None:
        arena.server.kill()
        arena.pass_time(DOWN)
        arena.server.start()

    def verify(self, arena: Arena, census: Census) -> list[str]:
        return [f"{w.log.name}: the worker ended" for w in arena.workers if gave_up(w)]


class RestartAlways(Restart):
    name = "restart-always"
    title = "server killed, AOF always"
    aof = "always"
    quick = True


class RestartEmpty(Restart):
    """Everything is gone. The workers go on with whatever comes then."""

    name = "restart-empty"
    title = "server killed, nothing kept: workers go on"
    forgets = True
    lease = SHORT_LEASE
    lapses = True
    long = (5_000, 5)

    def strike(self, arena: Arena) -> None:
        arena.server.kill()
        arena.server.forget()
        accepted = set(arena.load.ids)
        arena.server.start()
        gone = accepted - arena.ledger.done.keys()
        arena.load.cancelled |= gone  # nobody waits for those
        arena.wait(lambda: arena.load.ids.keys() - accepted, "new jobs are accepted")


class Loading(Restart):
    """A server that reads its data for seconds and answers LOADING meanwhile."""

    name = "loading"
    title = "LOADING"
    rounds = 1
    long = (5_000, 10)
    server_options: ClassVar[
        dict[str, str]
    ] = {  # a dump at the orderly end, and clients heard while it is read
        "save": "3600 1000000",
        "loading-process-events-interval-bytes": "1024",
    }

    def strike(self, arena: Arena) -> None:
        arena.server.stop()
        arena.server.start(wait=False, **{"key-load-delay": "150000"})  # microseconds per key
        arena.wait(lambda: "LOADING" in answer(arena), "the server says LOADING")
        arena.wait(lambda: arena.server.answers(), "the server has loaded")
        arena.server.config("key-load-delay", 0)


def answer(arena: Arena) -> str:
    """What the server says to a PING, asked once."""
    client = redis.Redis(unix_socket_path=arena.server.socket, retry=Retry(NoBackoff(), 0))
    try:
        return str(client.ping())
    except redis.BusyLoadingError as error:
        return f"LOADING {error}"
    except redis.RedisError as error:
        return str(error)
    finally:
        client.close()


def gave_up(worker: object) -> bool:
    """Whether a worker ended by itself, in disorder."""
    code = worker.process.returncode  # type: ignore[attr-defined]
    return code not in (None, 0)
