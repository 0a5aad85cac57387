"""Django's task signals, sent only where somebody hears them.

Layer 0. A TaskResult and a signal cost as much as the rest of a short job, and mostly the only
receiver is Django's own, which writes a log line that is mostly switched off.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from django.dispatch import Signal

from . import compat


class Announcement(NamedTuple):
    """A signal, Django's own receiver of it, and the level that one logs at."""

    signal: Signal
    receiver: object
    level: int

    @property
    def is_heard(self) -> bool:
        """Whether sending it has any effect."""
        receivers = self.signal.receivers
        if len(receivers) != 1:
            return bool(receivers)
        built_in = receivers[0][0][0] == id(self.receiver)
        return not built_in or compat.tasks_logger.isEnabledFor(self.level)


ENQUEUED = Announcement(compat.task_enqueued, compat.log_task_enqueued, logging.DEBUG)
STARTED = Announcement(compat.task_started, compat.log_task_started, logging.INFO)
SUCCEEDED = Announcement(compat.task_finished, compat.log_task_finished, logging.INFO)
FAILED = Announcement(compat.task_finished, compat.log_task_finished, logging.ERROR)
