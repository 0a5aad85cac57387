"""Errands: what a worker does in the database, beside its jobs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pytest

from django_taskq.errands import start_errands
from django_taskq.service import Service

WAIT = 10.0


class Counting(Service):
    """Counts its ticks; the first one fails."""

    error_delay = 0.001

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.often = threading.Event()
        self.threads: set[str] = set()

    def tick(self) -> float:
        self.ticks += 1
        self.threads.add(threading.current_thread().name)
        if self.ticks == 1:
            raise ValueError("the first time")
        if self.ticks > 3:
            self.often.set()
        return 0.0


class Hanging(Service):
    """Waits for a database that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def tick(self) -> float:
        self.answer.wait(WAIT)
        return 3600.0


def test_a_service_goes_on_after_a_failure_and_beside_one_that_hangs() -> None:
    counting, hanging = Counting(), Hanging()
    running = start_errands([lambda alias: [hanging, counting]], "default")
    try:
        assert counting.often.wait(WAIT)
    finally:
        hanging.answer.set()
        for errand in running:
            errand.close()
            errand.join(WAIT)
    assert not any(errand.is_alive() for errand in running)
    assert counting.threads == {"taskq-counting"}


def test_one_that_cannot_be_made_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    counting = Counting()

    def fail(alias: str) -> Sequence[Service]:
        raise LookupError("no such table")

    with caplog.at_level(logging.ERROR, "django_taskq.worker"):
        running = start_errands([fail, lambda alias: [counting]], "default")
    assert counting.often.wait(WAIT)
    assert "cannot be started" in caplog.text
    for errand in running:
        errand.close()
        errand.join(WAIT)
