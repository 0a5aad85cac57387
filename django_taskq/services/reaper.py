"""Takes back what the dead held: our child's at once, another worker's when its lease is over."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ..broker.broker import Broker
from ..clock import now_ms
from ..codec import OPEN
from ..exceptions import WorkerCrashed
from ..job import Failure
from ..service import FOREVER, Service

logger = logging.getLogger("django_taskq.worker")

Started = Mapping[str, Mapping[str, bool]]  # queue -> id -> whether it ran alone


class Reaper(Service):
    """Reclaims in the order things died; what cannot be done now is done when Redis is back."""

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        super().__init__()
        self._broker = broker
        self._queues = list(queues)
        self._waiting: list[tuple[str, str, bool, Mapping[str, bool], str]] = []
        self.due = FOREVER

    def died(self, holder: str, started: Started, cause: str) -> None:
        """A child of ours is dead; ``started`` are the jobs that were running in it."""
        for queue in self._queues:
            self._waiting.append((queue, holder, True, started.get(queue, {}), cause))
        self.due = 0.0

    def lapsed(self, queue: str, holder: str) -> None:
        """The lease of somebody else's child is over."""
        self._waiting.append((queue, holder, False, {}, "its whole worker vanished"))
        self.due = 0.0

    def tick(self) -> float:
        while self._waiting:
            queue, holder, died, started, cause = self._waiting[0]
            failure = Failure(
                c=f"{WorkerCrashed.__module__}.{WorkerCrashed.__qualname__}",
                m=cause,
                w=holder,
                f=now_ms(),
            )
            line = (self._broker.seals or OPEN).seal_notice(queue, failure)
            taken, hopeless = self._broker.reclaim(queue, holder, line, died=died, started=started)
            del self._waiting[0]
            if taken:
                logger.warning(
                    "queue %s: %d jobs of %s go back (%s)", queue, len(taken), holder, cause
                )
            for id in hopeless:
                logger.error("job %s is dead: %s, again and again", id, cause, extra={"job_id": id})
        return FOREVER
