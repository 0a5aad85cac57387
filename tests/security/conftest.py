"""Fixtures of these tests."""

from __future__ import annotations

from tests.engine.support import backend, enqueued, hand, jobs, private, private_url, ran

__all__ = ["backend", "enqueued", "hand", "jobs", "private", "private_url", "ran"]
