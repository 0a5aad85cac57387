"""Jobs enqueued without a pause, and what became of those that were accepted."""

from __future__ import annotations

import time

from django_taskq.exceptions import BrokerUnavailable, NotReplicated
from tests.processes.app import tasks
from tests.topology.conftest import Place
from tests.topology.servers import PATIENCE, until

PAUSE = 0.02  # seconds between two tries of a job that was not accepted


class Load:
    """Enqueues ``jobs`` jobs one by one, over the queues in turn.

    What was not accepted is enqueued again under its id, as the documentation says.
    """

    def __init__(self, station: Place, jobs: int, queues: tuple[str, ...] = ("default",)) -> None:
        self._station = station
        self._queues = queues
        self.jobs = jobs
        self.accepted = 0
        self.unavailable = 0  # times that the server could not be reached

    def until(self, count: int) -> None:
        """Returns when so many jobs are accepted."""
        while self.accepted < count:
            self._accept(str(self.accepted), self._queues[self.accepted % len(self._queues)])
            self.accepted += 1

    def _accept(self, text: str, queue: str, timeout: float = PATIENCE) -> None:
        task = tasks.note.using(queue_name=queue)
        deadline = time.monotonic() + timeout
        while True:
            try:
                task.enqueue(text)
            except (NotReplicated, BrokerUnavailable) as error:
                self.unavailable += isinstance(error, BrokerUnavailable)
                if time.monotonic() > deadline:
                    raise
                task = task.using(id=error.result.id)
                time.sleep(PAUSE)
            else:
                return

    def lost(self, timeout: float = PATIENCE) -> list[str]:
        """The accepted jobs that were not run; returns at once when there are none."""

        def missing() -> set[str]:
            return {str(n) for n in range(self.accepted)} - set(self._station.lines())

        try:
            until(lambda: not missing(), timeout)
        except AssertionError:
            return sorted(missing())
        return []
