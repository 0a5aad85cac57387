"""Durability: what has to have a job before ``enqueue()`` returns."""

from __future__ import annotations

from typing import Any

import hiredis
import redis

from ..exceptions import InvalidOption
from .faults import Fault, fault_of

SHARE = 0.8  # of the time that a reply may take: the connection must outlast the wait


class Wait:
    """A WAIT or WAITAOF that goes out with a script, on the same connection.

    ``level``: "replicated" or "local"; ``replicas``: how many have to confirm; ``timeout``:
    seconds they have.
    """

    def __init__(self, level: str, replicas: int, timeout: float) -> None:
        ms = max(round(timeout * 1000), 1)
        commands: dict[str, tuple[Any, ...]] = {
            "replicated": ("WAIT", replicas, ms),
            "local": ("WAITAOF", 1, 0, ms),
        }
        if level not in commands:
            raise InvalidOption(f"DURABILITY={level!r}: must be one of {', '.join(commands)}")
        self.level = level
        self.replicas = replicas
        self.timeout = timeout
        self.packed: bytes = hiredis.pack_command(commands[level])

    def __str__(self) -> str:
        if self.level == "local":
            return f"the server's disk (AOF) within {self.timeout:g} s"
        replicas = "replica" if self.replicas == 1 else "replicas"
        return f"{self.replicas} {replicas} within {self.timeout:g} s"

    def is_met(self, reply: Any) -> bool:
        """Whether the server's answer says so."""
        if self.level == "local":
            return bool(reply[0] >= 1)
        return bool(reply >= self.replicas)

    def failed(self, error: redis.ResponseError) -> bool:
        """True: an error is no confirmation (no AOF, no such command, no right to it).

        Raises ConnectionError where the master was replaced meanwhile: ask the new one.
        """
        if fault_of(error) is Fault.LOST:
            raise redis.ConnectionError(str(error)) from error
        return True


def wait_for(level: str, replicas: int, timeout: float, reply_timeout: float) -> Wait | None:
    """What a durability level waits for; None: nothing. Times in seconds."""
    if level == "fast":
        return None
    return Wait(level, replicas, min(timeout, SHARE * reply_timeout))
