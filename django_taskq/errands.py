"""Errands: services that need the database, run on a thread of their own in a child.

Not in the supervisor: its thread renews leases and must not wait for a database, and it forks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from .clock import monotonic
from .hygiene import close_all
from .service import Service, next_due

logger = logging.getLogger("django_taskq.worker")

LONGEST = 60.0  # seconds between two looks at what is due

Errand = Callable[[str], Sequence[Service]]  # makes the services of a backend's alias


class Errands(threading.Thread):
    """Runs services for as long as its process lives."""

    def __init__(self, errands: Iterable[Errand], alias: str) -> None:
        super().__init__(name="taskq-errands", daemon=True)
        self._errands = list(errands)
        self._alias = alias
        self._closed = threading.Event()

    def run(self) -> None:
        try:
            services = [each for errand in self._errands for each in errand(self._alias)]
            while not self._closed.wait(min(max(next_due(services) - monotonic(), 0), LONGEST)):
                now = monotonic()
                for service in services:
                    service.run(now)
        except Exception:
            logger.exception("the errands of this worker's process end")
        finally:
            close_all()

    def close(self) -> None:
        """No more of them; the one at work is not waited for."""
        self._closed.set()
