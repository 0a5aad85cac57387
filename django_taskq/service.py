"""A service: a loop with one duty. It says how long it may rest; the supervisor runs it then."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable

from .clock import monotonic
from .exceptions import BrokerError
from .troubles import FOREVER as FOREVER
from .troubles import Troubles

logger = logging.getLogger("django_taskq.worker")


class Service:
    """One duty of a supervisor, done in ``tick()`` on its thread.

    ``error_delay``: seconds to rest at most after a failure, doubled up to ``longest_delay`` while
    Redis is away.
    """

    error_delay = 0.2
    longest_delay = 2.0

    def __init__(self) -> None:
        self.due = 0.0  # monotonic
        self._failures = 0
        self.troubles = Troubles(self.name, self.error_delay, self.longest_delay)

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    def tick(self) -> float:
        """Does what is to be done now; the seconds until it should be asked again."""
        raise NotImplementedError

    def finish(self) -> None:
        """Does all there is to do, for a worker that does not stay."""
        self.tick()

    def run(self, now: float) -> None:
        """Ticks if it is due; an error is logged and never fatal."""
        if now < self.due:
            return
        try:
            rest = self.tick()
            if self._failures:
                logger.warning("%s works again", self.name)
            self._failures = 0
        except BrokerError as error:
            rest = self._after_failure()
            if self._failures == 1:
                logger.error("%s: %s; trying again", self.name, error)
        except Exception:
            rest = self._after_failure()
            if self._failures == 1:
                logger.exception("%s failed; trying again", self.name)
        self.due = monotonic() + rest

    def _after_failure(self) -> float:
        self._failures += 1
        longest = min(self.error_delay * 2 ** min(self._failures - 1, 10), self.longest_delay)
        return random.uniform(longest / 2, longest)  # not all workers at the same moment


def next_due(services: Iterable[Service]) -> float:
    """When the first of them is due (monotonic)."""
    return min((service.due for service in services), default=FOREVER)
