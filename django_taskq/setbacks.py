"""Queues that cannot be worked on: each is tried again after a growing rest and holds up no other.

An outage concerns every queue on the same server, any other error its own queue only. May be read
while another thread writes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Hashable, Iterable, Sequence

from .clock import monotonic
from .exceptions import BrokerUnavailable

logger = logging.getLogger("django_taskq.worker")

SHARE = 4  # times as long as a try took it is rested: one that hangs holds others up seldom
MOST = 10.0  # seconds of such a rest
DOUBLINGS = 10
HINT = "`manage.py taskq doctor` says what is wrong with its keys"


class Setback:
    """What went wrong with a queue, how often in a row, and when it is tried again (monotonic)."""

    __slots__ = ("due", "error", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self.due = 0.0
        self.error: Exception | None = None

    @property
    def is_outage(self) -> bool:
        return isinstance(self.error, BrokerUnavailable)


class Setbacks:
    """Those of some queues. Empty, and so false, while there are none.

    ``whereabouts``: what queues on the same server have in common; ``shortest`` and ``longest``:
    seconds of rest; ``name``: who says so in the log.
    """

    def __init__(
        self,
        queues: Sequence[str],
        whereabouts: Callable[[str], Hashable],
        shortest: float,
        longest: float,
        name: str = "",
    ) -> None:
        self._queues = queues
        self._whereabouts = whereabouts
        self._shortest = shortest
        self._longest = longest
        self._prefix = name and f"{name}: "
        self._all: dict[str, Setback] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    def __contains__(self, queue: str) -> bool:
        return queue in self._all

    def failed(self, queue: str, error: Exception, took: float = 0.0) -> list[str]:
        """A try went wrong; the queues that this concerns.

        ``took``: seconds that it held others up.
        """
        queues = self._beside(queue) if isinstance(error, BrokerUnavailable) else [queue]
        news = [name for name in queues if name not in self._all]
        known = [self._all[name] for name in queues if name in self._all]
        failures = max((setback.failures for setback in known), default=0)
        longest = min(self._shortest * 2 ** min(failures, DOUBLINGS), self._longest)
        rest = max(random.uniform(longest / 2, longest), min(took * SHARE, MOST))
        due = monotonic() + rest
        for name in queues:
            setback = self._all.setdefault(name, Setback())
            setback.failures, setback.due, setback.error = failures + 1, due, error
        if news:
            self._say(news, error)
        return queues

    def worked(self, queue: str) -> list[str]:
        """A try went well; the queues whose setbacks end with it."""
        if queue not in self._all:
            return []
        error, was_outage = self._all[queue].error, self._all[queue].is_outage
        ended = [
            name
            for name in (self._beside(queue) if was_outage else [queue])
            if name == queue or (name in self._all and self._all[name].is_outage)
        ]
        for name in ended:
            self._all.pop(name, None)
        if isinstance(error, BrokerUnavailable) and len(ended) == len(self._queues):
            logger.warning("%s%s is back", self._prefix, error.address)
        else:
            logger.warning("%s%s again", self._prefix, subject(ended, "works", "work"))
        return ended

    def rests(self, queue: str, now: float) -> bool:
        """Whether it is not its time to be tried."""
        setback = self._all.get(queue)
        return setback is not None and now < setback.due

    def due(self, queue: str) -> float:
        """When it is tried again (monotonic); 0: nothing is wrong with it."""
        setback = self._all.get(queue)
        return 0.0 if setback is None else setback.due

    def are_everywhere(self, now: float) -> bool:
        """Whether nothing at all can be tried now."""
        return len(self._all) == len(self._queues) and all(
            now < setback.due for setback in list(self._all.values())
        )

    def next_due(self, now: float) -> float:
        """When the first rest ends that lasts now (monotonic); never if none does."""
        dues = [setback.due for setback in list(self._all.values())]
        return min((due for due in dues if due > now), default=float("inf"))

    def expedite(self) -> None:
        """All are to be tried now."""
        for setback in list(self._all.values()):
            setback.due = 0.0

    def is_outage(self) -> bool:
        """Whether a server is away, as far as is known."""
        return any(setback.is_outage for setback in list(self._all.values()))

    def are_final(self, queues: Iterable[str]) -> bool:
        """Whether all of these wait for a person, not for a server."""
        found = [self._all.get(queue) for queue in queues]
        return all(setback is not None and not setback.is_outage for setback in found)

    def _beside(self, queue: str) -> list[str]:
        where = self._whereabouts(queue)
        return [name for name in self._queues if self._whereabouts(name) == where]

    def _say(self, queues: list[str], error: Exception) -> None:
        if len(queues) == len(self._queues) and isinstance(error, BrokerUnavailable):
            logger.error("%s%s; the worker goes on when it is back", self._prefix, error)
            return
        what = error if isinstance(error, BrokerUnavailable) else f"{error}; {HINT}"
        logger.error(
            "%s%s: %s; it is tried again and again, others go on",
            self._prefix,
            subject(queues, "cannot be worked on", "cannot be worked on"),
            what,
        )


def subject(queues: Sequence[str], one: str, many: str) -> str:
    """Some queues and what is said of them."""
    if len(queues) == 1:
        return f"queue {queues[0]} {one}"
    return f"queues {', '.join(queues)} {many}"
