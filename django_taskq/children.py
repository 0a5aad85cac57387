"""The children of one worker: started, watched, buried and replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from .child_process import LATEST, ChildProcess, Remains
from .clock import monotonic
from .codec import printable
from .isolation import BLOATED, Make
from .plan import DONE, Plan
from .service import FOREVER

logger = logging.getLogger("django_taskq.worker")

BIRTH = 120.0  # seconds until a child's first sign of life; it may have to import the project
SILENCE = 10.0  # seconds without a sign of life after which an idle child is replaced
MOST_STILLBORN = 5  # children in a row that may die while they start
QUICK_DEATH = 2.0  # seconds; a child that lives shorter is replaced after a pause
PAUSE = 1.0  # that pause, in seconds


class Children:
    """As many as are wanted, for as long as they are.

    ``forking`` is called before another one is started; ``buried`` with each that has died.
    """

    def __init__(
        self,
        plan: Plan,
        make: Make,
        method: str,
        wanted: int,
        forking: Callable[[], None],
        buried: Callable[[ChildProcess, Remains], None],
    ) -> None:
        self.wanted = wanted
        self.quiet = False  # none is replaced
        self.failed = False  # they die while they start
        self.attempts = self.failures = 0  # that ended in those that are gone
        self._plan = plan
        self._make = make
        self._method = method
        self._forking = forking
        self._buried = buried
        self._all: list[ChildProcess] = []
        self._stopping = False
        self._stillborn = 0  # in a row that died before they lived
        self._born = 0.0  # when the next replacement may start

    def __iter__(self) -> Iterator[ChildProcess]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def start(self) -> None:
        """Starts as many as are missing."""
        while len(self._all) < self.wanted:
            plan = self._plan
            if any(child.runs_errands for child in self._all):
                plan = replace(plan, errands=())
            self._all.append(ChildProcess(plan, self._make, self._method))

    def order(self, *order: object) -> None:
        """Tells all of them something."""
        for child in self._all:
            child.order(*order)

    def stop(self, timeout: float) -> None:
        """They finish within ``timeout`` seconds and are not replaced."""
        self._stopping = True
        for child in self._all:
            child.stop(timeout)

    def end(self) -> None:
        """Ends those that are left, the hard way."""
        for child in self._all:
            child.kill("the supervisor ends")
            child.process.join()
        self._bury()

    def look(self) -> None:
        """Does what has become necessary since the last look."""
        self._bury()
        now = monotonic()
        for child in self._all:
            self._watch(child, now)
            self._weigh(child)
        self._replace(now)

    def _bury(self) -> None:
        """Dead children: their jobs go back at once."""
        for child in [c for c in self._all if c.is_dead()]:
            self._all.remove(child)
            remains = child.close()
            attempts, failed = child.table.counts
            self.attempts += attempts
            self.failures += failed
            self._buried(child, remains)
            self._learn(child, remains)

    def _learn(self, child: ChildProcess, remains: Remains) -> None:
        """Whether and when another one takes its place."""
        is_done = remains.orderly and remains.code == DONE
        if not remains.orderly:
            logger.error("child %s is gone: %s", child.process.pid, remains.cause)
        if monotonic() - child.started < QUICK_DEATH and not is_done:
            self._born = monotonic() + PAUSE
        self._stillborn = 0 if child.table.alive_at else self._stillborn + 1
        if self._stillborn >= (1 if self._plan.burst else MOST_STILLBORN):
            logger.error("children die while they start: the worker gives up")
            self.failed = True
            self.stop(0.0)
        if is_done and self._plan.burst and not self.quiet:
            self.wanted -= 1  # it found nothing left

    def _replace(self, now: float) -> None:
        if self._stopping or self.quiet or now < self._born or len(self._all) >= self.wanted:
            return
        # What a child still runs whose lease is over may be anybody's by now, but not ours: two
        # attempts of a job never run in one worker.
        if any(child.has_lost(now) for child in self._all):
            return
        self._forking()
        try:
            self.start()
        except OSError as error:
            logger.error("no child can be started: %s; trying again", error)
            self._born = now + PAUSE

    def _watch(self, child: ChildProcess, now: float) -> None:
        """Kills what ignores its deadline, or the order to leave."""
        child.tell()
        if now > child.stop_by:
            child.kill("it does not leave")
            child.stop_by = FOREVER
        alive_at = child.table.alive_at
        if alive_at and now > alive_at + SILENCE and not child.table.rows():
            child.kill(f"it gave no sign of life for {SILENCE:.0f} s")
        if not alive_at and now > child.started + BIRTH:
            child.kill(f"it was not ready within {BIRTH:.0f} s")
        if (row := child.obstinate(now)) is not None:
            child.kill(f"job {printable(row.id)} does not stop")
        if child.has_lost(now - LATEST):
            child.kill("its lease is over, and it does not leave")

    def _weigh(self, child: ChildProcess) -> None:
        """A child that grows faster than it can be replaced takes no other process with it."""
        held, most = child.weigh() >> 20, self._plan.max_memory
        if most is not None and held > BLOATED * most:
            child.kill(f"it holds {held:,} MB and --max-memory is {most:,}", blame=True)
