"""What happened per minute. Nothing counts it yet: there is no history, and pages say so."""

from __future__ import annotations

from typing import NamedTuple


class Minute(NamedTuple):
    """What became of the jobs of one step of time, and how long they took (ms)."""

    at: int  # ms, its beginning
    succeeded: int = 0
    failed: int = 0  # ended dead
    retried: int = 0
    wait_p50: float = 0
    wait_p95: float = 0
    run_p50: float = 0
    run_p95: float = 0


def history(queue: str, task: str, since: int, step: int) -> list[Minute]:
    """Steps of ``step`` ms from ``since`` on, of a queue ("" for all) and a task ("" for all)."""
    return []
