"""Which of several databases' commits an enqueue waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections, transaction

from django_taskq.compat import InvalidTask
from tests.engine.tasks import add, bound_to_second


@contextmanager
def databases(*aliases: str) -> Iterator[None]:
    """A block with further databases, empty ones in memory."""
    for alias in aliases:
        connections.settings[alias] = {
            **connections.settings["default"],
            "NAME": f"file:{alias}?mode=memory&cache=shared",
            "OPTIONS": {},
        }
    try:
        yield
    finally:
        for alias in aliases:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]


@pytest.fixture(autouse=True)
def _unblocked(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    # A TestCase would forbid databases that are not in the settings.
    with django_db_blocker.unblock():
        yield
        connections.close_all()


@pytest.fixture
def _second() -> Iterator[None]:
    with databases("second"):
        yield


@pytest.fixture
def _second_and_third() -> Iterator[None]:
    with databases("second", "third"):
        yield


@pytest.mark.usefixtures("_second")
def test_the_only_database_in_a_transaction_is_waited_for(enqueued: Any) -> None:
    with transaction.atomic("second"):
        add.enqueue(1)
        assert enqueued() == []
    assert enqueued() == [1]


@pytest.mark.usefixtures("_second")
def test_of_two_databases_the_default_one_is_waited_for(enqueued: Any) -> None:
    with transaction.atomic("second"):
        with transaction.atomic("default"):
            add.enqueue(1)
            assert enqueued() == []
        assert enqueued() == [1]


@pytest.mark.usefixtures("_second")
def test_a_task_names_the_database_it_waits_for(enqueued: Any) -> None:
    with transaction.atomic("default"):
        with transaction.atomic("second"):
            bound_to_second.enqueue(1)
            add.using(on_commit="second").enqueue(2)
            assert enqueued() == []
        assert enqueued() == [1, 2]
        bound_to_second.enqueue(3)  # no transaction is open there
        assert enqueued() == [1, 2, 3]


@pytest.mark.usefixtures("_second_and_third")
def test_which_of_two_others_is_meant_must_be_said(enqueued: Any) -> None:
    with transaction.atomic("second"), transaction.atomic("third"):
        with pytest.raises(InvalidTask, match="second, third"):
            add.enqueue(1)
        add.using(on_commit="third").enqueue(2)
        assert enqueued() == []
    assert enqueued() == [2]


def test_a_database_that_does_not_exist_is_refused(enqueued: Any) -> None:
    with pytest.raises(InvalidTask, match="on_commit='nowhere'"):
        add.using(on_commit="nowhere").enqueue(1)
    assert enqueued() == []


@pytest.mark.usefixtures("_second")
def test_each_database_decides_about_its_own_jobs(enqueued: Any) -> None:
    with transaction.atomic("default"):
        add.enqueue(1)
        with transaction.atomic("second"):
            bound_to_second.enqueue(2)
            add.enqueue(3)
            transaction.set_rollback(True, using="second")
        assert enqueued() == []
        with transaction.atomic("second"):
            bound_to_second.enqueue(4)
            add.enqueue(5)
        assert enqueued() == [4]
    assert enqueued() == [4, 1, 3, 5]


@pytest.mark.usefixtures("_second")
def test_a_rollback_of_the_outer_database_leaves_what_the_inner_one_committed(
    enqueued: Any,
) -> None:
    with transaction.atomic("default"):
        add.enqueue(1)
        with transaction.atomic("second"):
            bound_to_second.enqueue(2)
        transaction.set_rollback(True, using="default")
    assert enqueued() == [2]
