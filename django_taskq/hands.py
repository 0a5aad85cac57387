"""The hands of a child: threads that run jobs, fetch them, and wait for them, as need be.

There are no roles and no queue between them. A hand that is awake takes the next job; another is
woken only for work that nobody has touched for about a millisecond, so short jobs run on one
thread, which never waits for the interpreter, and blocking ones on as many as there are slots.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .client import running_job
from .exceptions import Interruption
from .hygiene import close_all

logger = logging.getLogger("django_taskq.worker")


class Hand(threading.Thread):
    """One thread."""

    def __init__(self, hands: Hands, number: int) -> None:
        super().__init__(name=f"taskq-hand-{number}", daemon=True)
        self._hands = hands
        self._signal = threading.Semaphore(0)

    def run(self) -> None:
        running_job.set(True)
        try:
            self._hands.work(self)
        except (Interruption, Replaced):
            pass  # this thread is worn out
        except BaseException:
            logger.exception("a hand of the worker failed; another takes its place")
        finally:
            with suppress(Exception):
                close_all()
            self._hands.gone(self)

    def wait(self) -> None:
        self._signal.acquire()

    def wake(self) -> None:
        self._signal.release()


class Replaced(Exception):
    """Ends a hand whose thread was interrupted; another is made when it is needed."""


class Hands:
    """At most ``most`` of them.

    ``turn`` is what a hand does next, False if there is nothing; ``rests`` is called when one has
    nothing to do, ``ended`` when one is no more.
    """

    def __init__(
        self,
        most: int,
        turn: Callable[[], bool],
        rests: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self.closed = False
        self._most = most
        self._turn = turn
        self._rests = rests
        self._ended = ended
        self._parked: deque[Hand] = deque()
        self._all: set[Hand] = set()
        self._active: set[Hand] = set()  # those that are not parked

    @property
    def active(self) -> int:
        """How many are not parked."""
        return len(self._active)

    def summon(self) -> None:
        """Wakes a parked hand, or makes one while there are fewer than needed."""
        try:
            self._parked.pop().wake()
        except IndexError:
            if len(self._all) < self._most and not self.closed:
                self._make()

    def _make(self) -> None:
        hand = Hand(self, len(self._all))
        self._all.add(hand)
        self._active.add(hand)
        try:
            hand.start()
        except RuntimeError:  # no more threads are to be had
            self._all.discard(hand)
            self._active.discard(hand)
            raise

    def work(self, hand: Hand) -> None:
        """The calling hand does what there is, and rests in between."""
        while not self.closed:
            if not self._turn():
                self._park(hand)

    def _park(self, hand: Hand) -> None:
        self._active.discard(hand)
        self._parked.append(hand)
        self._rests()
        if not self.closed:
            hand.wait()
        self._active.add(hand)

    def gone(self, hand: Hand) -> None:
        """A hand ended."""
        self._active.discard(hand)
        self._all.discard(hand)
        self._ended()

    def close(self) -> None:
        """No more turns; running jobs are not waited for."""
        self.closed = True
        for hand in list(self._all):
            hand.wake()
