"""What a supervisor sees of a child without asking it: a few bytes in shared memory.

The child writes a row before a job starts and clears it when the job has stopped, so the rows of
a child that died are exactly the jobs that were running in it. Times are CLOCK_MONOTONIC, which
all processes of a machine share.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

from .job import MAX_ID_LENGTH

HEAD = Struct("=ddB")  # lease until, last sign of life, memory in % of Redis' maximum
ROW = Struct(f"=I{MAX_ID_LENGTH}sHddI")  # fence, id, queue, started, deadline, pid
FENCE = PROCESS = Struct("=I")


class Row(NamedTuple):
    """A job that is running in a slot. ``deadline``: 0 for none; ``process``: 0, or its own."""

    slot: int
    fence: int
    id: str
    queue: int
    started: float
    deadline: float
    process: int = 0


class Table:
    """The rows of one child over a buffer of ``size(slots)`` bytes."""

    def __init__(self, memory: Any, slots: int) -> None:
        self._memory = memoryview(memory).cast("B")
        self.slots = slots

    @staticmethod
    def size(slots: int) -> int:
        """Bytes that ``slots`` rows need."""
        return HEAD.size + slots * ROW.size

    def clear(self) -> None:
        """Makes it a new child's."""
        self._memory[:] = bytes(len(self._memory))

    # -- head ------------------------------------------------------------------------------------

    @property
    def lease_until(self) -> float:
        """When the child must have stopped; 0 before its first claim."""
        return float(HEAD.unpack_from(self._memory)[0])

    @lease_until.setter
    def lease_until(self, moment: float) -> None:
        self._write_head(0, moment)

    def is_over(self, now: float) -> bool:
        """Whether the child's lease has ended."""
        return 0 < self.lease_until < now

    @property
    def alive_at(self) -> float:
        """The child's last sign of life."""
        return float(HEAD.unpack_from(self._memory)[1])

    @alive_at.setter
    def alive_at(self, moment: float) -> None:
        self._write_head(1, moment)

    @property
    def memory(self) -> int:
        """Redis' used memory in % of its maximum, as of the last renewal."""
        return int(HEAD.unpack_from(self._memory)[2])

    @memory.setter
    def memory(self, percent: int) -> None:
        self._write_head(2, min(percent, 255))

    def _write_head(self, at: int, value: float) -> None:
        # One field, one writer: the supervisor and the child never write the same one.
        offset = (0, 8, 16)[at]
        Struct("=B" if at == 2 else "=d").pack_into(self._memory, offset, value)

    # -- rows ------------------------------------------------------------------------------------

    def start(
        self, slot: int, fence: int, id: str, queue: int, now: float, deadline: float
    ) -> None:
        """Writes a row; its fence last, because it says that the row counts."""
        at = HEAD.size + slot * ROW.size
        ROW.pack_into(self._memory, at, 0, id.encode(), queue, now, deadline, 0)
        FENCE.pack_into(self._memory, at, fence)

    def note_process(self, slot: int, pid: int) -> None:
        """Notes that the row's job runs in a process of its own."""
        PROCESS.pack_into(self._memory, HEAD.size + (slot + 1) * ROW.size - PROCESS.size, pid)

    def stop(self, slot: int) -> None:
        """Clears a row."""
        FENCE.pack_into(self._memory, HEAD.size + slot * ROW.size, 0)

    def rows(self) -> list[Row]:
        """The jobs that are running."""
        rows = []
        for slot in range(self.slots):
            fence, id, queue, started, deadline, process = ROW.unpack_from(
                self._memory, HEAD.size + slot * ROW.size
            )
            if fence:
                name = id.rstrip(b"\0").decode("ascii", "replace")
                rows.append(Row(slot, fence, name, queue, started, deadline, process))
        return rows
