"""Django's signals are sent where somebody hears them, and cost nothing where nobody does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from django_taskq.compat import task_enqueued, task_finished, task_started, tasks_logger
from django_taskq.signals import ENQUEUED, FAILED, STARTED, SUCCEEDED, Announcement

ALL = [ENQUEUED, STARTED, SUCCEEDED, FAILED]


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """The logger's level is put back."""
    level = tasks_logger.level
    yield
    tasks_logger.setLevel(level)


def heard() -> list[Announcement]:
    return [each for each in ALL if each.is_heard]


def receive(**kwargs: Any) -> None:
    """A receiver of the project's own."""


@pytest.mark.parametrize(
    ("level", "told"),
    [
        (logging.DEBUG, ALL),
        (logging.INFO, [STARTED, SUCCEEDED, FAILED]),
        (logging.WARNING, [FAILED]),
        (logging.ERROR, [FAILED]),
        (logging.CRITICAL, []),
    ],
)
def test_without_receivers_the_log_alone_decides(level: int, told: list[Announcement]) -> None:
    tasks_logger.setLevel(level)

    assert heard() == told


@pytest.mark.parametrize(
    ("signal", "told"),
    [
        (task_enqueued, [ENQUEUED]),
        (task_started, [STARTED]),
        (task_finished, [SUCCEEDED, FAILED]),
    ],
)
def test_a_receiver_of_the_project_hears_whatever_is_logged(
    signal: Any, told: list[Announcement]
) -> None:
    tasks_logger.setLevel(logging.CRITICAL)
    signal.connect(receive)
    try:
        assert heard() == told
    finally:
        signal.disconnect(receive)
    assert heard() == []


def test_a_receiver_in_the_place_of_djangos_own_is_heard() -> None:
    tasks_logger.setLevel(logging.CRITICAL)
    task_started.disconnect(STARTED.receiver)
    task_started.connect(receive)
    try:
        assert STARTED.is_heard
    finally:
        task_started.disconnect(receive)
        task_started.connect(STARTED.receiver)


def test_a_signal_that_nobody_receives_is_not_heard() -> None:
    tasks_logger.setLevel(logging.DEBUG)
    task_started.disconnect(STARTED.receiver)
    try:
        assert not STARTED.is_heard
    finally:
        task_started.connect(STARTED.receiver)


def test_djangos_own_receiver_is_the_only_one_that_is_connected() -> None:
    """Otherwise nothing of this would save anything."""
    assert [len(each.signal.receivers) for each in ALL] == [1, 1, 1, 1]
