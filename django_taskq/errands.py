"""Errands: services that need the database, each run on a thread of its own in one child.

Not in the supervisor: its thread renews leases and must not wait for a database, and it forks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from .clock import monotonic
from .hygiene import close_all
from .service import Service

logger = logging.getLogger("django_taskq.worker")

LONGEST = 3600.0  # seconds that an event can be waited for without overflow

Maker = Callable[[str], Sequence[Service]]  # makes the services of a backend's alias


class Errand(threading.Thread):
    """Runs a service for as long as its process lives, or until it is closed."""

    def __init__(self, service: Service) -> None:
        super().__init__(name=f"taskq-{service.name}", daemon=True)
        self._service = service
        self._closed = threading.Event()

    def run(self) -> None:
        service = self._service
        try:
            while not self._closed.wait(min(max(service.due - monotonic(), 0.0), LONGEST)):
                service.run(monotonic())
        finally:
            close_all()

    def close(self) -> None:
        """No more of it; what it is at is not waited for."""
        self._closed.set()


def start_errands(makers: Iterable[Maker], alias: str) -> list[Errand]:
    """Starts the errands of a worker. One that cannot be made is logged; jobs run without it."""
    errands: list[Errand] = []
    for make in makers:
        try:
            errands += [Errand(service) for service in make(alias)]
        except Exception:
            logger.exception("an errand of this worker cannot be started")
    for errand in errands:
        errand.start()
    return errands
