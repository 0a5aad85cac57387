"""Fixtures of these tests."""

from __future__ import annotations

from tests.edges.mirror import glass
from tests.edges.outbox import box, boxed, proxy
from tests.engine.support import backend, enqueued, hand, jobs, private, private_url, ran
from tests.postgres import postgres

__all__ = [
    "backend",
    "box",
    "boxed",
    "enqueued",
    "glass",
    "hand",
    "jobs",
    "postgres",
    "private",
    "private_url",
    "proxy",
    "ran",
]
