"""Takes back what the dead held: our child's at once, another worker's when its lease is over."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ..broker.broker import Broker
from ..clock import monotonic, now_ms
from ..codec import printable
from ..exceptions import WorkerCrashed
from ..job import Failure
from ..judge import Judge
from ..service import FOREVER, Service

logger = logging.getLogger("django_taskq.worker")

Started = Mapping[str, Collection[str]]  # queue -> ids
Overdue = Mapping[str, Mapping[str, int]]  # queue -> id -> fence
NOTHING: Any = MappingProxyType({})


class Death(NamedTuple):
    """A holder that is no more, as one queue is concerned. ``died``: its process is dead."""

    queue: str
    holder: str
    cause: str
    died: bool = False
    started: Collection[str] = ()
    overdue: Mapping[str, int] = NOTHING


class Reaper(Service):
    """Reclaims in the order things died; what cannot be done now is done when Redis is back.

    ``judge`` settles what ran past its timeout in a child of ours.
    """

    def __init__(self, broker: Broker, queues: Sequence[str], judge: Judge | None = None) -> None:
        super().__init__()
        self._broker = broker
        self._queues = list(queues)
        self._judge = judge
        self._waiting: list[Death] = []
        self.due = FOREVER

    def died(self, holder: str, started: Started, cause: str, overdue: Overdue = NOTHING) -> None:
        """A child of ours is dead.

        ``started``: the jobs its death is charged to; ``overdue``: those that had run past their
        timeout and did not stop.
        """
        self._waiting += [
            Death(queue, holder, cause, True, started.get(queue, ()), overdue.get(queue, {}))
            for queue in self._queues
        ]
        self.due = 0.0

    def lapsed(self, queue: str, holder: str) -> None:
        """The lease of somebody else's child is over."""
        death = Death(queue, holder, "its whole worker vanished")
        if death not in self._waiting:  # it is told with each renewal until that is done
            self._waiting.append(death)
        self.due = 0.0

    def tick(self) -> float:
        queues = dict.fromkeys(death.queue for death in self._waiting)
        self.troubles.each(queues, self._take_back, self._broker.place_of)
        return max(self.troubles.next_try - monotonic(), 0.0) if self._waiting else FOREVER

    def _take_back(self, queue: str) -> None:
        """What the dead held of a queue."""
        for death in [death for death in self._waiting if death.queue == queue]:
            self._reclaim(death)
            self._waiting.remove(death)

    def _reclaim(self, death: Death) -> None:
        queue, holder, cause, died, started, overdue = death
        if overdue and self._judge is not None:
            self._judge.settle(queue, holder, overdue)
        failure = Failure(
            c=f"{WorkerCrashed.__module__}.{WorkerCrashed.__qualname__}",
            m=cause,
            w=holder,
            f=now_ms(),
        )
        line = self._broker.notice(queue, failure)
        taken, hopeless = self._broker.reclaim(queue, holder, line, died=died, started=started)
        if taken:
            text = "queue %s: %d jobs of %s go back (%s)"
            logger.warning(text, queue, len(taken), printable(holder), cause)
        for id in map(printable, hopeless):
            logger.error("job %s is dead: %s, again and again", id, cause, extra={"job_id": id})
