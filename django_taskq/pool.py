"""The slots of a child, and what a hand does in its turn: take a slot, a job, and run it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from time import sleep, thread_time
from typing import Any

from .client import running_job
from .clock import monotonic
from .codec import printable
from .execution import Attempt, Runner
from .hands import Hands, Replaced
from .hygiene import AsyncHygiene, tidy
from .isolation import Isolation
from .job import Grant, Outcome
from .pace import SAMPLE
from .service import FOREVER
from .services.consumer import Consumer
from .slot import Slot
from .table import Table

logger = logging.getLogger("django_taskq.worker")

MOST_SUSPECTS = 8  # that run at once, each in a process of its own
LOOK = 0.5  # seconds between two looks whether a job may still wait for one
RESTART_AFTER = 1.0  # seconds until an isolated job goes back for which there was no process


class Pool:
    """Slots and hands.

    ``places``: each queue's number in the table; ``limit``: how many jobs to take in all;
    ``busy`` is called when there is something to watch over.
    """

    def __init__(
        self,
        runner: Runner,
        isolation: Isolation,
        consumer: Consumer,
        table: Table,
        loop: asyncio.AbstractEventLoop,
        *,
        places: Mapping[str, int],
        limit: int | None,
        busy: Callable[[], None],
    ) -> None:
        self.runner = runner
        self.isolation = isolation
        self.consumer = consumer
        self.places = places
        self.slots = [Slot(number, table) for number in range(table.slots)]
        self.free = deque(self.slots)
        self.limit = limit or sys.maxsize
        self.taken = 0  # jobs ever taken: a watcher sees by it whether there is progress
        self._loop = loop
        self._busy = busy
        self._table = table
        # Two more than slots: one may listen and one may hand in outcomes while all are busy.
        self._hands = Hands(table.slots + 2, self.turn, self._rests, busy)
        self._suspects = threading.Semaphore(MOST_SUSPECTS)
        self._tasks: set[asyncio.Task[None]] = set()

    # -- hands -----------------------------------------------------------------------------------

    def summon(self) -> None:
        """Has one more hand look for work."""
        self._hands.summon()

    def close(self) -> None:
        """No more turns; running jobs are not waited for."""
        self._hands.close()

    def _rests(self) -> None:
        if not self.consumer.listening:
            self._busy()  # nobody would hear new work: have it watched

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
            if consumer.next_try < FOREVER:
                self._busy()  # somebody has to look when it is tried again
            if consumer.listen():
                return True
            return self._hand_in()
        if self._table.is_over(self.places[grant.queue], monotonic()):  # it may be anybody's by now
            self.free.append(slot)
            self._busy()
            return True
        self.taken += 1
        self._start(slot, grant)
        return not (self._hands.active > 1 and consumer.pace.one_thread_is_best)

    def _hand_in(self) -> bool:
        if self.consumer.is_due:
            self.consumer.flush()
            return True
        return False

    # -- jobs ------------------------------------------------------------------------------------

    def _start(self, slot: Slot, grant: Grant) -> None:
        now = round((monotonic() + self.consumer.offset) * 1000)
        attempt = self.runner.admit(grant, now)
        if isinstance(attempt, Outcome):
            self._finish(slot, attempt)
        elif attempt.task.options.isolate:
            self._run_apart(slot, attempt)
        elif grant.live.crashes:
            self._run_suspect(slot, attempt)
        elif attempt.task.is_async:
            self._loop.call_soon_threadsafe(self._start_async, slot, attempt)
            self._busy()
        else:
            self._run(slot, attempt)

    def _run(self, slot: Slot, attempt: Attempt) -> None:
        unknown = self.consumer.pace.begins(attempt.task.module_path)
        began = monotonic()
        outcome = None
        sampled = self.taken % SAMPLE == 0 and self._hands.active == 1 and thread_time()
        try:
            slot.enter(attempt, self.places[attempt.grant.queue])
            self._busy()
            tidy()
            outcome = attempt.bind() or attempt.run()
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

    def _run_suspect(self, slot: Slot, attempt: Attempt) -> None:
        """Runs a job apart that was running when its process died; hundreds may have been."""
        while not self._suspects.acquire(timeout=LOOK):
            if self.consumer.closing:
                self._finish(slot, attempt.give_back())
                return
        try:
            self._run_apart(slot, attempt)
        finally:
            self._suspects.release()

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
        # It took its time: the job may be somebody else's by now.
        place = self.places[attempt.grant.queue]
        if self._hands.closed or self._table.is_over(place, monotonic()):
            cell.close()
            self._finish(slot, attempt.give_back())
            return
        unknown = self.consumer.pace.begins(attempt.task.module_path)
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
                outcome = attempt.bind() or await attempt.run_async()
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
