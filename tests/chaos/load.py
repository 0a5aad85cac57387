"""Jobs that keep coming, and what is known of those whose ``enqueue()`` returned."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from django_taskq.compat import TaskResultDoesNotExist
from django_taskq.exceptions import BrokerError
from tests.chaos.ledger import Ledger

PAUSE = 0.005
CANCEL_EVERY = 40  # calls

Make = Callable[[int], tuple[Any, tuple[Any, ...]]]  # number -> task, arguments


class Load(threading.Thread):
    """Enqueues until ``finish()``, at most ``window`` jobs ahead of what is done.

    A call that fails is made again under the same id until it is accepted, as a careful site
    would. Every CANCEL_EVERY-th job is called off at once.
    """

    def __init__(self, ledger: Ledger, make: Make, window: int, pause: float, bulk: int) -> None:
        super().__init__(name="load", daemon=True)
        self.ids: dict[int, str] = {}  # number -> id, of accepted jobs
        self.since: dict[int, float] = {}  # number -> when it was accepted
        self.cancelled: set[int] = set()
        self.refused = 0  # calls that raised
        self.error: BaseException | None = None
        self._ledger = ledger
        self._make = make
        self._window = window
        self._pause = pause
        self._bulk = bulk
        self._until = float("inf")  # jobs to make in all
        self.gave_up = False
        self._next = 0

    def run(self) -> None:
        try:
            calls = 0
            while self._next < self._until:
                ahead = len(self.ids) - len(self._ledger.done) - len(self.cancelled)
                if ahead >= self._window:
                    time.sleep(PAUSE)
                    continue
                calls += 1
                self._call(random.choice((self._bulk, 1)))
                if calls % CANCEL_EVERY == 0:
                    self._cancel(self._next - 1)
                time.sleep(self._pause)
        except BaseException as error:
            self.error = error

    def finish(self, least: int) -> None:
        """Goes on until so many jobs were accepted; returns when they are."""
        self._until = max(least, self._next)
        self.join()
        if self.error is not None:
            raise self.error

    def give_up(self) -> None:
        """A call that is refused is not made again."""
        self.gave_up = True

    def _call(self, count: int) -> None:
        numbers = range(self._next, self._next + count)
        self._next += count
        groups: dict[int, tuple[Any, list[tuple[int, tuple[Any, ...]]]]] = {}
        for number in numbers:
            task, args = self._make(number)
            groups.setdefault(id(task), (task, []))[1].append((number, args))
        for task, jobs in groups.values():
            rows = [args for _, args in jobs]
            if len(jobs) > 1:
                self._send([n for n, _ in jobs], task, lambda t=task, r=rows: t.enqueue_many(r))
            else:
                self._send([jobs[0][0]], task, lambda t=task, r=rows: [t.enqueue(*r[0])])

    def _send(self, numbers: Sequence[int], task: Any, call: Callable[[], Sequence[Any]]) -> None:
        try:
            self._accept(numbers, call())
        except BrokerError as error:
            self.refused += 1
            for number, result in zip(numbers, error.results, strict=True):
                self._insist(number, task, result)

    def _insist(self, number: int, task: Any, result: Any) -> None:
        while not self.gave_up:
            try:
                self._accept([number], [task.using(id=result.id).enqueue(*result.args)])
                return
            except BrokerError:
                time.sleep(PAUSE * 4)

    def _accept(self, numbers: Sequence[int], results: Sequence[Any]) -> None:
        now = time.monotonic()
        for number, result in zip(numbers, results, strict=True):
            self.ids[number] = result.id
            self.since[number] = now

    def _cancel(self, number: int) -> None:
        if number in self.ids:
            self.cancelled.add(number)
            # A server may have lost it; the judge finds out whether it was allowed to.
            with suppress(BrokerError, TaskResultDoesNotExist):
                self._make(number)[0].get_result(self.ids[number]).cancel()
