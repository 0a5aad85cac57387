"""Background tasks for Django on Redis and Valkey. The public names, and nothing else."""

from __future__ import annotations

from .exceptions import (
    BrokerFull,
    BrokerUnavailable,
    Cancel,
    Fail,
    NotReplicated,
    Retry,
    Snooze,
    TaskCancelled,
    TaskFailed,
)
from .periodic import periodic
from .task import Task, task

__version__ = "0.1.0"

__all__ = [
    "BrokerFull",
    "BrokerUnavailable",
    "Cancel",
    "Fail",
    "NotReplicated",
    "Retry",
    "Snooze",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "__version__",
    "periodic",
    "task",
]
