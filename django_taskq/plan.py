"""What a supervisor and its children agree on: what is to be done, and how a child ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errands import Maker

if TYPE_CHECKING:
    from .services.beside import Body

DONE = 0  # exit codes: stopped as told, or nothing left to do (burst)
RECYCLE = 3  # another child should take its place
LEASE_OVER = 4
ORDERLY = (DONE, RECYCLE, LEASE_OVER)


@dataclass(frozen=True)
class Plan:
    """What a child is to do; made by the supervisor from settings and command line."""

    alias: str
    queues: dict[str, int]
    strict: bool = False
    concurrency: int = 10
    lease: float = 30.0
    release: str = ""  # the project's
    burst: bool = False
    max_jobs: int | None = None
    max_memory: int | None = None  # MB
    shutdown_timeout: float = 30.0
    max_payload: int = 1 << 20  # bytes of a return value
    names: list[str] = field(default_factory=list)  # queues by their place in the table
    errands: tuple[Maker, ...] = ()  # of one child at a time
    beside: dict[str, Body] = field(default_factory=dict)  # processes of the supervisor, by name
