"""Background tasks for Django on Redis and Valkey. The public names, and nothing else."""

from __future__ import annotations

from .exceptions import (
    BrokerFull,
    BrokerUnavailable,
    Cancel,
    DuplicateJob,
    Fail,
    NotReplicated,
    Retry,
    Snooze,
    TaskCancelled,
    TaskFailed,
)
from .limits import Rate
from .periodic import periodic
from .reporting import JobLog, log, progress, track
from .task import Task, task
from .unique import Unique

__version__ = "0.1.0"

__all__ = [
    "BrokerFull",
    "BrokerUnavailable",
    "Cancel",
    "DuplicateJob",
    "Fail",
    "JobLog",
    "NotReplicated",
    "Rate",
    "Retry",
    "Snooze",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "Unique",
    "__version__",
    "log",
    "periodic",
    "progress",
    "task",
    "track",
]
