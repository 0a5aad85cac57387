"""What is done to every system alike: a name, how often, and how."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.peers.run import Run

DOWN = 1.0  # seconds that the server is dead
FULL = 3.0  # seconds with a limit below what is used
STALL = 3.0  # seconds in which the server stands still


@dataclass(frozen=True)
class Strike:
    name: str
    times: int
    do: Callable[[Run], None]


def kill(run: Run) -> None:
    """SIGKILL to the whole worker, which is started again at once."""
    run.kill_all()
    run.worker.wait()
    run.start_worker()


def restart(run: Run) -> None:
    """kill -9 of the server, which comes back with its AOF. Nobody looks after the worker."""
    run.server.kill()
    time.sleep(DOWN)
    run.server.start()


def fill(run: Run) -> None:
    """maxmemory below what is used."""
    run.server.config("maxmemory", run.server.used_memory() // 2)
    time.sleep(FULL)
    run.server.config("maxmemory", 0)


def disconnect(run: Run) -> None:
    """Every connection broken."""
    run.server.client.execute_command("CLIENT KILL TYPE normal SKIPME yes")


def stall(run: Run) -> None:
    """The server says nothing for a while."""
    run.server.process.send_signal(signal.SIGSTOP)
    time.sleep(STALL)
    run.server.process.send_signal(signal.SIGCONT)


STRIKES = [
    Strike("kill", 20, kill),
    Strike("redis", 5, restart),
    Strike("oom", 3, fill),
    Strike("conn", 15, disconnect),
    Strike("stall", 3, stall),
]
