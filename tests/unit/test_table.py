"""What a supervisor sees of a child without asking it."""

from __future__ import annotations

import mmap

import pytest

from django_taskq.job import MAX_ID_LENGTH, new_id
from django_taskq.table import Row, Table

SLOTS = 3


@pytest.fixture
def table() -> Table:
    return Table(bytearray(Table.size(SLOTS)), SLOTS)


def test_a_new_table_is_empty(table: Table) -> None:
    assert table.rows() == []
    assert (table.lease(0), table.alive_at, table.memory) == (0.0, 0.0, 0)


def test_a_row_stands_there_while_its_job_runs(table: Table) -> None:
    table.start(1, 7, "some-job", 2, 100.25, 160.5)
    assert table.rows() == [Row(1, 7, "some-job", 2, 100.25, 160.5)]

    table.stop(1)
    assert table.rows() == []


def test_every_slot_has_a_row_of_its_own(table: Table) -> None:
    ids = [new_id() for _ in range(SLOTS)]
    for slot, id in enumerate(ids):
        table.start(slot, slot + 1, id, 0, 1.0, 0.0)

    assert [(row.slot, row.fence, row.id) for row in table.rows()] == [
        (slot, slot + 1, id) for slot, id in enumerate(ids)
    ]

    table.stop(1)
    assert [row.id for row in table.rows()] == [ids[0], ids[2]]


def test_a_shorter_id_leaves_nothing_of_the_longer_one_before_it(table: Table) -> None:
    table.start(0, 1, "x" * MAX_ID_LENGTH, 0, 1.0, 0.0)
    table.start(0, 2, "y", 0, 1.0, 0.0)

    assert [row.id for row in table.rows()] == ["y"]


def test_the_largest_values_fit(table: Table) -> None:
    row = Row(2, 2**32 - 1, "z" * MAX_ID_LENGTH, 2**16 - 1, 1e12, 2e12, 2**32 - 1)
    table.start(*row[:-1])
    table.note_process(row.slot, row.process)

    assert table.rows() == [row]


def test_the_fields_of_the_head_do_not_touch_each_other_or_the_rows(table: Table) -> None:
    table.start(0, 1, "a", 0, 1.0, 2.0)
    before = table.rows()

    table.extend(0, 1234.5)
    table.alive_at = 678.25
    table.memory = 91

    assert (table.lease(0), table.alive_at, table.memory) == (1234.5, 678.25, 91)
    assert table.rows() == before


def test_memory_beyond_its_maximum_is_shown_as_much_as_fits(table: Table) -> None:
    """maxmemory may be lowered below what is used."""
    table.memory = 1000

    assert table.memory == 255


def test_a_child_says_that_it_leaves_and_nothing_else_changes(table: Table) -> None:
    table.memory = 42
    table.extend(0, 5.0)
    assert not table.leaving

    table.leave()

    assert table.leaving
    assert (table.memory, table.lease(0)) == (42, 5.0)


def test_attempts_are_counted_beside_everything_else(table: Table) -> None:
    table.extend(0, 5.0)
    table.memory = 42
    table.start(0, 1, "a", 0, 1.0, 2.0)

    table.count(2**33, 1)
    table.count(3, 2)

    assert table.counts == (2**33 + 3, 3)
    assert (table.lease(0), table.memory, table.leaving) == (5.0, 42, False)
    assert [row.id for row in table.rows()] == ["a"]


def test_the_rows_of_a_child_that_died_are_what_was_running_in_it() -> None:
    """The supervisor looks at the same memory through a table of its own."""
    memory = mmap.mmap(-1, Table.size(SLOTS))
    child, supervisor = Table(memory, SLOTS), Table(memory, SLOTS)
    child.start(0, 1, "ended", 0, 1.0, 0.0)
    child.start(2, 9, "running", 1, 2.0, 0.0)
    child.stop(0)
    child.extend(0, 77.0)

    assert [(row.slot, row.fence, row.id) for row in supervisor.rows()] == [(2, 9, "running")]
    assert supervisor.lease(0) == 77.0
