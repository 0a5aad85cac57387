"""The backends for Django's TASKS setting: Redis, and two for tests and development."""

from .base import TaskqBackend
from .local import DummyBackend, ImmediateBackend
from .redis import RedisBackend, get_broker

__all__ = ["DummyBackend", "ImmediateBackend", "RedisBackend", "TaskqBackend", "get_broker"]
