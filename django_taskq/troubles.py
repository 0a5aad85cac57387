"""What is wrong with single queues: said once, and tried again after a rest that grows."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .clock import monotonic
from .exceptions import BrokerUnavailable

logger = logging.getLogger("django_taskq.worker")

FOREVER = float("inf")


class Trouble(NamedTuple):
    """One queue's. ``until``: when it is tried again (monotonic)."""

    failures: int
    until: float
    away: str  # the address of a server that cannot be reached; "" when that is not it


class Troubles:
    """The queues that something could not be done for; "" stands for what no queue is to blame for.

    ``what``: what is done, and ``promise``: what becomes of it after an outage, for the log;
    ``shortest`` and ``longest``: seconds of rest, at most.
    """

    def __init__(
        self, what: str, shortest: float, longest: float, promise: str = "trying again"
    ) -> None:
        self._what = what
        self._promise = promise
        self._shortest = shortest
        self._longest = longest
        self._of: dict[str, Trouble] = {}

    def __contains__(self, queue: object) -> bool:
        return queue in self._of

    def __bool__(self) -> bool:
        return bool(self._of)

    def are_all_away(self, queues: Iterable[str]) -> bool:
        """Whether none of the queues' servers can be reached."""
        return all((t := self._of.get(queue)) is not None and t.away for queue in queues)

    @property
    def next_try(self) -> float:
        """When the first of the queues is tried again (monotonic)."""
        return min((t.until for queue, t in list(self._of.items()) if queue), default=FOREVER)

    def until(self, queue: str) -> float:
        """When the queue is tried again; 0 if nothing is wrong with it."""
        trouble = self._of.get(queue)
        return trouble.until if trouble is not None else 0.0

    def urge(self) -> None:
        """All are tried again now."""
        for queue, trouble in list(self._of.items()):
            self._of[queue] = trouble._replace(until=0.0)

    def met(self, queue: str, error: BaseException, until: float = 0.0) -> float:
        """It failed; when it is to be tried again (monotonic), which may be given.

        An outage is said once, whatever queues it is noticed by.
        """
        old = self._of.get(queue)
        away = error.address if isinstance(error, BrokerUnavailable) else ""
        if away and not any(trouble.away for trouble in list(self._of.values())):
            logger.error("%s: %s; %s", self._what, error, self._promise)
        elif not away and (old is None or old.away):
            logger.error(
                "queue %s: %s failed (%s: %s). It is tried again until that is mended, and other "
                "queues go on; manage.py taskq doctor looks for what is wrong",
                queue,
                self._what,
                type(error).__name__,
                error,
            )
        failures = old.failures + 1 if old is not None else 1
        longest = min(self._shortest * 2 ** min(failures - 1, 20), self._longest)
        rest = random.uniform(longest / 2, longest)  # not all workers at the same moment
        self._of[queue] = Trouble(failures, until or monotonic() + rest, away)
        return self._of[queue].until

    def each(
        self,
        queues: Iterable[str],
        act: Callable[[str], object],
        place_of: Callable[[str], object],
    ) -> None:
        """Does it for every queue whose rest is over; a server that is away is tried once."""
        away: dict[object, BaseException] = {}
        now = monotonic()
        for queue in queues:
            if self.until(queue) > now:
                continue
            place = place_of(queue)
            if place in away:
                self.met(queue, away[place])
                continue
            try:
                act(queue)
            except Exception as error:
                self.met(queue, error)
                if isinstance(error, BrokerUnavailable):
                    away[place] = away[place_of(queue)] = error
            else:
                self.over(queue)

    def over(self, queue: str) -> None:
        """It worked."""
        trouble = self._of.pop(queue, None)
        if trouble is None:
            return
        if not trouble.away:
            logger.warning("queue %s: %s works again", queue, self._what)
        elif not any(other.away for other in list(self._of.values())):
            logger.warning("%s works again", self._what)
