"""The hands of a child: threads that run jobs, fetch them, and wait for them, as need be.

There are no roles and no queue between them. A hand that is awake takes the next job; another is
woken only for work that nobody has touched for about a millisecond, so short jobs run on one
thread, which never waits for the interpreter, and blocking ones on as many as there are slots.
Two hands more than slots: one may listen and one may hand in outcomes while all slots are busy.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from time import sleep, thread_time
from typing import Any

from .client import running_job
from .clock import monotonic
from .codec import printable
from .exceptions import Interruption
from .execution import Attempt, Runner
from .hygiene import AsyncHygiene, close_all, tidy
from .isolation import Isolation
from .job import Grant, Outcome
from .pace import SAMPLE
from .services.consumer import Consumer
from .slot import Slot
from .table import Table

logger = logging.getLogger("django_taskq.worker")

RESTART_AFTER = 1.0  # seconds until an isolated job goes back for which there was no process


class Hand(threading.Thread):
    """One thread of the pool."""

    def __init__(self, pool: Pool, number: int) -> None:
        super().__init__(name=f"taskq-hand-{number}", daemon=True)
        self._pool = pool
        self._signal = threading.Semaphore(0)

    def run(self) -> None:
        running_job.set(True)
        try:
            while not self._pool.closed:
                if self._pool.turn():
                    continue
                self._pool.park(self)
        except (Interruption, Replaced):
            pass  # this thread is worn out
        except BaseException:
            logger.exception("a hand of the worker failed; another takes its place")
        finally:
            with suppress(Exception):
                close_all()
            self._pool.gone(self)

    def wait(self) -> None:
        self._signal.acquire()

    def wake(self) -> None:
        self._signal.release()


class Replaced(Exception):
    """Ends a hand whose thread was interrupted; the pool makes another."""


class Pool:
    """Slots and hands.

    ``busy`` is called when there is something to watch over; ``is_over`` says whether the lease
    has ended and nothing may be started any more.
    """

    def __init__(
        self,
        runner: Runner,
        isolation: Isolation,
        table: Table,
        loop: asyncio.AbstractEventLoop,
        busy: Callable[[], None],
        is_over: Callable[[], bool],
    ) -> None:
        self.runner = runner
        self.isolation = isolation
        self.slots = [Slot(number, table) for number in range(table.slots)]
        self.free = deque(self.slots)
        self.closed = False
        self.limit = sys.maxsize  # jobs to take in all
        self.taken = 0  # jobs ever taken: a watcher sees by it whether there is progress
        self.consumer: Consumer
        self.places: dict[str, int] = {}  # queue -> its number in the table
        self._loop = loop
        self._busy = busy
        self._is_over = is_over
        self._parked: deque[Hand] = deque()
        self._hands: set[Hand] = set()
        self._active: set[Hand] = set()  # those that are not parked
        self._tasks: set[asyncio.Task[None]] = set()

    # -- hands -----------------------------------------------------------------------------------

    def summon(self) -> None:
        """Wakes a parked hand, or makes one while there are fewer than needed."""
        try:
            self._parked.pop().wake()
        except IndexError:
            if len(self._hands) < len(self.slots) + 2 and not self.closed:
                hand = Hand(self, len(self._hands))
                self._hands.add(hand)
                self._active.add(hand)
                try:
                    hand.start()
                except RuntimeError:  # no more threads are to be had
                    self._hands.discard(hand)
                    self._active.discard(hand)
                    raise

    def park(self, hand: Hand) -> None:
        """The calling hand rests until it is summoned."""
        self._active.discard(hand)
        self._parked.append(hand)
        if not self.consumer.listening:
            self._busy()  # nobody would hear new work: have it watched
        if not self.closed:
            hand.wait()
        self._active.add(hand)

    def gone(self, hand: Hand) -> None:
        """A hand ended."""
        self._active.discard(hand)
        self._hands.discard(hand)
        self._busy()

    def close(self) -> None:
        """No more turns; running jobs are not waited for."""
        self.closed = True
        for hand in list(self._hands):
            hand.wake()

    @property
    def running(self) -> int:
        return len(self.slots) - len(self.free)

    # -- a turn ----------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Does what is to be done next; False when there is nothing for this hand."""
        consumer = self.consumer
        try:
            slot = self.free.pop()
        except IndexError:
            return self._hand_in()
        try:
            grant = consumer.next() if self.taken < self.limit else None
        except BaseException:
            self.free.append(slot)
            raise
        if grant is None:
            self.free.append(slot)
            if consumer.listen():
                return True
            return self._hand_in()
        if self._is_over():  # what was claimed may be somebody else's by now
            self.free.append(slot)
            self._busy()
            return False
        self.taken += 1
        self._start(slot, grant)
        return not (len(self._active) > 1 and consumer.pace.one_thread_is_best)

    def _hand_in(self) -> bool:
        if self.consumer.is_due:
            self.consumer.flush()
            return True
        return False

    # -- jobs ------------------------------------------------------------------------------------

    def _start(self, slot: Slot, grant: Grant) -> None:
        now = round((monotonic() + self.consumer.offset) * 1000)
        attempt = self.runner.prepare(grant, now)
        if isinstance(attempt, Outcome):
            self._finish(slot, attempt)
        elif attempt.task.options.isolate or grant.live.crashes:  # see isolation.py
            self._run_apart(slot, attempt)
        elif attempt.task.is_async:
            self._loop.call_soon_threadsafe(self._start_async, slot, attempt)
            self._busy()
        else:
            self._run(slot, attempt)

    def _run(self, slot: Slot, attempt: Attempt) -> None:
        unknown = self.consumer.pace.begins(attempt.task.module_path)
        began = monotonic()
        outcome = None
        sampled = self.taken % SAMPLE == 0 and len(self._active) == 1 and thread_time()
        try:
            slot.enter(attempt, self.places[attempt.grant.queue])
            self._busy()
            tidy()
            outcome = attempt.run()
            tidy()
            interruption = slot.leave()
        except BaseException as error:  # an interruption between two lines of ours, a database
            outcome = outcome or attempt.fail(error)
            interruption = slot.leave()
        took = monotonic() - began
        if sampled and took:
            self.consumer.pace.waited(1 - (thread_time() - sampled) / took)
        self.consumer.pace.ran(attempt.task.module_path, took, unknown)
        self._finish(slot, outcome)
        if interruption is not None:
            raise Replaced

    def _run_apart(self, slot: Slot, attempt: Attempt) -> None:
        """Runs the job in a process of its own, for which this thread waits."""
        try:
            cell = self.isolation.start()
        except Exception:
            id = printable(attempt.grant.id)
            logger.exception("no process can be started for job %s; trying again", id)
            sleep(RESTART_AFTER)
            self._finish(slot, attempt.give_back())
            return
        if (
            self.closed or self._is_over()
        ):  # it took its time: the job may be somebody else's by now
            cell.close()
            self._finish(slot, attempt.give_back())
            return
        unknown = self.consumer.pace.begins(attempt.task.module_path)
        place = self.places[attempt.grant.queue]
        with closing(cell):
            began = slot.enter(attempt, place, contained=True)
            self._busy()
            try:
                outcome = cell.run(slot, attempt)
            except BaseException as error:
                outcome = attempt.fail(error)
            slot.leave()
        self.consumer.pace.ran(attempt.task.module_path, monotonic() - began, unknown)
        self._finish(slot, outcome)

    def _start_async(self, slot: Slot, attempt: Attempt) -> None:
        task = self._loop.create_task(self._run_async(slot, attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_async(self, slot: Slot, attempt: Attempt) -> None:
        running_job.set(True)
        unknown = self.consumer.pace.begins(attempt.task.module_path)
        own = asyncio.current_task()
        began = slot.enter(attempt, self.places[attempt.grant.queue], own)
        outcome = None
        try:
            async with AsyncHygiene():
                outcome = await attempt.run_async()
        except BaseException as error:
            outcome = outcome or attempt.fail(error)
        slot.leave()
        self.consumer.pace.ran(attempt.task.module_path, monotonic() - began, unknown)
        self._finish(slot, outcome)
        if not self.consumer.leading:
            self.summon()  # no thread comes by here that would hand the outcome in

    def _finish(self, slot: Slot, outcome: Outcome) -> None:
        self.consumer.done(outcome)
        self.free.append(slot)

    def find(self, id: str, fence: int) -> Slot | None:
        """The slot that runs this attempt."""
        for slot in self.slots:
            attempt: Any = slot.attempt
            if attempt is not None and attempt.grant.id == id and attempt.grant.live.fence == fence:
                return slot
        return None
