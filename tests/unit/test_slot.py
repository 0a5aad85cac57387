"""How running code is interrupted: once, only the attempt that is meant, never after its end."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_taskq.clock import monotonic
from django_taskq.codec import encode_envelope
from django_taskq.exceptions import CancelRequested, Interruption, LeaseLost, TaskTimeout
from django_taskq.execution import Attempt, Runner
from django_taskq.job import Envelope, Grant, Kind, Live, new_id
from django_taskq.slot import GRACE, MESSAGES, Slot
from django_taskq.table import Table
from tests.conftest import eventually
from tests.engine import tasks

LONG = 20.0  # seconds after which a thread that was not interrupted gives up


def attempt_of(
    task: Any = tasks.nothing, *args: Any, fence: int = 1, id: str = "job", **options: Any
) -> Attempt:
    """An attempt at a job that was just claimed; ``options``: of the job."""
    envelope = encode_envelope(Envelope(t=task.module_path, e=1, a=[*args], o=options), 1000)
    grant = Grant("default", id, envelope, Live(fence=fence))
    attempt = Runner("default", new_id(), object).prepare(grant, 1)
    assert isinstance(attempt, Attempt)
    return attempt


@pytest.fixture
def table() -> Table:
    return Table(bytearray(Table.size(2)), 2)


@pytest.fixture
def slot(table: Table) -> Slot:
    return Slot(1, table)


class Hand(threading.Thread):
    """A thread that is in the slot until it is interrupted or told to go on."""

    def __init__(self, slot: Slot, attempt: Attempt, *, swallow: bool = False) -> None:
        super().__init__(daemon=True)
        self.slot = slot
        self.attempt = attempt
        self.swallow = swallow
        self.inside = threading.Event()
        self.go_on = threading.Event()
        self.raised: list[BaseException] = []
        self.left: Interruption | None = None
        self.start()
        assert self.inside.wait(LONG)

    def run(self) -> None:
        self.slot.enter(self.attempt, 0)
        try:
            self.work()
            if self.swallow:
                self.work()
        except BaseException as error:
            self.raised.append(error)
        self.left = self.slot.leave()

    def work(self) -> None:
        try:
            self.spin()  # a call: a jump back in a loop is not always inside its ``try``
        except Interruption as error:
            self.raised.append(error)

    def spin(self) -> None:
        """Code that can be interrupted between any two of its steps."""
        until = time.monotonic() + LONG
        self.inside.set()
        while not self.go_on.is_set() and time.monotonic() < until:
            pass

    def ends(self) -> list[type[BaseException]]:
        """Waits for the end; what was raised in the thread."""
        self.join(LONG)
        assert not self.is_alive()
        return [type(error) for error in self.raised]


@pytest.fixture
def hand(slot: Slot) -> Iterator[Hand]:
    one = Hand(slot, attempt_of())
    yield one
    one.go_on.set()
    one.ends()


# -- the table -------------------------------------------------------------------------------------


def test_a_job_stands_in_the_table_from_enter_to_leave(slot: Slot, table: Table) -> None:
    attempt = attempt_of(fence=4, timeout=None)
    began = slot.enter(attempt, 3)

    (row,) = table.rows()
    assert row == (1, 4, attempt.grant.id, 3, began, 0.0, 0)
    assert slot.attempt is attempt

    assert slot.leave() is None
    assert table.rows() == []
    assert slot.attempt is None


def test_a_timeout_makes_a_deadline(slot: Slot, table: Table) -> None:
    began = slot.enter(attempt_of(timeout=5), 0)

    assert table.rows()[0].deadline == slot.deadline == began + 5
    assert not slot.is_late(began + 5)
    assert slot.is_late(began + 5.1)

    slot.leave()


def test_a_job_without_a_timeout_is_never_late(slot: Slot) -> None:
    began = slot.enter(attempt_of(timeout=None), 0)

    assert not slot.is_late(began + 1e9)

    slot.leave()


def busy() -> None:
    """Has many places at which something may be raised."""
    for _ in range(2000):
        pass


# -- threads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [TaskTimeout, CancelRequested, LeaseLost])
def test_running_code_is_interrupted(slot: Slot, hand: Hand, reason: type[Interruption]) -> None:
    assert slot.interrupt("job", 1, reason)

    assert hand.ends() == [reason]
    assert isinstance(hand.left, reason)
    assert isinstance(hand.attempt.interrupted, reason)
    assert str(hand.left), "it says why"


def test_another_fence_is_not_this_job(slot: Slot, hand: Hand) -> None:
    assert not slot.interrupt("job", 2, CancelRequested)
    hand.go_on.set()

    assert hand.ends() == []
    assert hand.left is None


def test_another_job_of_the_same_fence_is_not_this_job(slot: Slot) -> None:
    """Most jobs have the fence 1; the next one may begin while the last one is looked at."""
    hand = Hand(slot, attempt_of(id="next"))

    assert not slot.interrupt("job", 1, TaskTimeout)
    hand.go_on.set()

    assert hand.ends() == []


def test_an_empty_slot_has_nobody_to_interrupt(slot: Slot) -> None:
    assert not slot.interrupt("job", 1, TaskTimeout)
    slot.enter(attempt_of(), 0)
    slot.leave()

    assert not slot.interrupt("job", 1, TaskTimeout)


def test_a_job_is_interrupted_once(slot: Slot) -> None:
    """The first reason stays; code that swallows it is not raised at again."""
    hand = Hand(slot, attempt_of(), swallow=True)
    assert slot.interrupt("job", 1, TaskTimeout)
    eventually(lambda: hand.raised)

    assert slot.interrupt("job", 1, LeaseLost), "it still runs here"
    hand.go_on.set()

    assert hand.ends() == [TaskTimeout]
    assert isinstance(hand.left, TaskTimeout)


def test_a_job_that_was_told_is_not_late_again(slot: Slot) -> None:
    hand = Hand(slot, attempt_of(timeout=5), swallow=True)
    late = slot.deadline + 1
    assert slot.is_late(late)

    slot.interrupt("job", 1, TaskTimeout, hard=True)

    assert not slot.is_late(late)
    hand.go_on.set()
    hand.ends()


def test_a_job_may_ignore_a_soft_request_for_as_long_as_it_likes(slot: Slot) -> None:
    hand = Hand(slot, attempt_of(), swallow=True)
    slot.interrupt("job", 1, CancelRequested)

    assert not slot.is_deaf(monotonic() + 1e9)
    hand.go_on.set()
    hand.ends()


def test_a_hard_request_is_raised_once_more_and_then_waits_for_the_grace(slot: Slot) -> None:
    hand = Hand(slot, attempt_of(), swallow=True)
    slot.interrupt("job", 1, CancelRequested)
    eventually(lambda: hand.raised)
    before = monotonic()

    slot.interrupt("job", 1, CancelRequested, hard=True)
    ends_at = slot.ends_at
    slot.interrupt("job", 1, CancelRequested, hard=True)

    assert before + GRACE <= ends_at == slot.ends_at
    assert hand.ends() == [CancelRequested, CancelRequested]
    assert not slot.is_deaf(ends_at + 1), "it has stopped"


def test_a_job_that_does_not_stop_is_deaf_when_its_grace_is_over(slot: Slot) -> None:
    hand = Hand(slot, attempt_of(timeout=5), swallow=True)
    slot.interrupt("job", 1, TaskTimeout, hard=True)

    assert not slot.is_deaf(slot.ends_at)
    assert slot.is_deaf(slot.ends_at + 0.001)
    assert "spin" in slot.stack(), "and it can be seen where it is"
    hand.go_on.set()
    hand.ends()


def test_the_next_job_starts_without_the_interruption_of_the_last(slot: Slot) -> None:
    first = Hand(slot, attempt_of())
    slot.interrupt("job", 1, TaskTimeout)
    first.ends()

    second = Hand(slot, attempt_of())
    assert slot.interrupted is None
    second.go_on.set()

    assert second.ends() == []
    assert second.left is None


class Slow(CancelRequested):
    """A reason that takes its time, under the slot's lock, until ``hold`` says so."""

    hold: Callable[[], object]

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        if message:  # without one it is made by the interpreter, in the thread that it hits
            self.hold()


def is_leaving(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code is Slot.leave.__code__


def test_an_interruption_that_meets_a_leaving_job_ends_with_it(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is still pending is taken back: it would hit what the thread does next."""
    monkeypatch.setitem(MESSAGES, Slow, "slow")
    inside, leave, after = threading.Event(), threading.Event(), []

    def job() -> None:
        try:
            slot.enter(attempt_of(), 0)
            inside.set()
            leave.wait(LONG)
            slot.leave()
        except Interruption:
            slot.leave()
        try:
            busy()
        except Interruption as error:
            after.append(error)

    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    inside.wait(LONG)

    def hold() -> None:
        leave.set()
        eventually(lambda: is_leaving(thread))

    monkeypatch.setattr(Slow, "hold", staticmethod(hold), raising=False)
    assert slot.interrupt("job", 1, Slow)
    thread.join(LONG)

    assert after == []
    assert isinstance(slot.interrupted, Slow), "and it is known that there was one"
    assert slot.attempt is None


def test_a_thread_is_left_alone_once_it_left(slot: Slot) -> None:
    """Whatever the moment at which it is interrupted: before, in, or after leave()."""
    after: list[BaseException] = []
    for _ in range(200):
        asked = threading.Event()
        attempt = attempt_of()

        def job(attempt: Attempt = attempt, asked: threading.Event = asked) -> None:
            try:
                slot.enter(attempt, 0)
                asked.set()
                slot.leave()
            except Interruption:
                slot.leave()
            try:
                busy()
            except Interruption as error:
                after.append(error)

        thread = threading.Thread(target=job)
        thread.start()
        asked.wait(LONG)
        slot.interrupt("job", 1, CancelRequested)
        thread.join(LONG)
        assert not thread.is_alive()

    assert after == []
    assert not slot._lock.locked()


# -- coroutines ------------------------------------------------------------------------------------


def test_an_async_job_is_cancelled(slot: Slot) -> None:
    attempt = attempt_of(tasks.aadd, 1, 2)
    cancelled = []

    async def job() -> None:
        slot.enter(attempt, 0, asyncio.current_task())
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError as error:
            cancelled.append(error)

    async def both() -> Interruption | None:
        task = asyncio.create_task(job())
        await asyncio.sleep(0)
        assert not slot.interrupt("job", 2, CancelRequested)
        assert slot.interrupt("job", 1, CancelRequested)
        await task
        return slot.leave()

    assert isinstance(asyncio.run(both()), CancelRequested)
    assert len(cancelled) == 1


def test_what_stops_an_interrupted_coroutine_is_the_reason_not_the_cancellation(
    slot: Slot,
) -> None:
    attempt = attempt_of(tasks.aadd, 1, 2, max_attempts=1)

    async def both() -> Any:
        async def job() -> Any:
            slot.enter(attempt, 0, asyncio.current_task())
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError as error:
                return attempt.fail(error)

        task = asyncio.create_task(job())
        await asyncio.sleep(0)
        slot.interrupt("job", 1, TaskTimeout)
        return await task

    outcome = asyncio.run(both())

    assert outcome.kind is Kind.DEAD
    assert b"TaskTimeout" in outcome.blob
    slot.leave()


def test_a_coroutine_that_left_is_not_cancelled(slot: Slot) -> None:
    attempt = attempt_of(tasks.aadd, 1, 2)

    async def job() -> str:
        slot.enter(attempt, 0, asyncio.current_task())
        slot.leave()
        slot.interrupt("job", 1, CancelRequested)
        await asyncio.sleep(0)
        return "untouched"

    assert asyncio.run(job()) == "untouched"
