"""What a child has claimed and not settled, beside what Redis takes for that."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from .broker.broker import Broker
from .clock import monotonic
from .codec import printable
from .exceptions import BrokerUnavailable
from .job import Grant, Outcome

logger = logging.getLogger("django_taskq.worker")

AGAIN = 1.0  # seconds until Redis is asked again
NEVER = float("inf")


class Held:
    """The jobs of one child. Used under the consumer's lead lock.

    A server that lost its last writes, or a replica that never had them, has forgotten outcomes
    that were taken: such jobs are held by a child that is done with them and tells it to nobody
    again, and its lease is renewed. So it compares after every outage.
    """

    def __init__(self, broker: Broker, holder: str) -> None:
        self._broker = broker
        self._holder = holder
        self._jobs: set[tuple[str, str]] = set()  # queue, id
        self._look_at = NEVER

    def claimed(self, queue: str, grants: Iterable[Grant]) -> None:
        self._jobs.update([(queue, grant.id) for grant in grants])

    def settled(self, queue: str, outcomes: Sequence[Outcome]) -> None:
        """Redis has answered, whatever it said."""
        self._jobs.difference_update([(queue, outcome.grant.id) for outcome in outcomes])

    def forget(self, queue: str) -> None:
        """Nothing of that queue is held: a lease begins there."""
        self._jobs = {job for job in self._jobs if job[0] != queue}

    def doubt(self, rest: float = 0.0) -> None:
        """Redis may take other jobs for held here; to be looked at after ``rest`` seconds."""
        self._look_at = min(self._look_at, monotonic() + rest)

    @property
    def is_doubtful(self) -> bool:
        """Whether it is time to look."""
        return self._look_at <= monotonic()

    def strays(self, queues: Iterable[str]) -> list[Grant]:
        """What Redis takes for held here and is not; held from now on, until it is settled."""
        self._look_at = NEVER
        found: list[Grant] = []
        for queue in queues:
            try:
                jobs = self._broker.held(queue, self._holder)
            except BrokerUnavailable:
                self.doubt(AGAIN)
                break
            except Exception:
                logger.exception("what Redis takes for held here could not be read; trying again")
                self.doubt(AGAIN)
                continue
            mine = [Grant(queue, id, b"", live) for id, live in jobs.items()]
            found += [grant for grant in mine if (queue, grant.id) not in self._jobs]
        for grant in found:
            logger.warning("job %s goes back: Redis has lost what came of it", printable(grant.id))
            self.claimed(grant.queue, [grant])
        return found
