"""What a supervisor sees of a child without asking it: a few bytes in shared memory.

The child writes a row before a job starts and clears it when the job has stopped, so the rows of
a child that died are exactly the jobs that were running in it. Times are CLOCK_MONOTONIC, which
all processes of a machine share.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import Any, NamedTuple

from .job import MAX_ID_LENGTH

HEAD = Struct("=dBBQQ")  # last sign of life, memory in % of Redis' maximum, whether it leaves, and
# how many attempts ended, how many of them failed
MEMORY, LEAVING, COUNTS = 8, 9, 10  # where those are
ATTEMPTS = Struct("=QQ")
LEASE = Struct("=d")  # per queue: until when
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
    """The leases and the rows of one child over a buffer of ``size(slots, queues)`` bytes."""

    def __init__(self, memory: Any, slots: int, queues: int = 1) -> None:
        self._memory = memoryview(memory).cast("B")
        self.slots = slots
        self.queues = queues
        self._rows = HEAD.size + queues * LEASE.size

    @staticmethod
    def size(slots: int, queues: int = 1) -> int:
        """Bytes that ``slots`` rows need, of jobs of so many queues."""
        return HEAD.size + queues * LEASE.size + slots * ROW.size

    # -- head ------------------------------------------------------------------------------------

    # One field, one writer: the supervisor and the child never write the same one. (A lease is
    # the child's until its first claim in that queue, and the supervisor's from then on.)

    def lease(self, queue: int) -> float:
        """When the child must have stopped what it runs of a queue; 0 before its first claim."""
        moment: float = LEASE.unpack_from(self._memory, HEAD.size + queue * LEASE.size)[0]
        return moment

    def extend(self, queue: int, moment: float) -> None:
        """Writes until when the lease in a queue lasts."""
        LEASE.pack_into(self._memory, HEAD.size + queue * LEASE.size, moment)

    def is_over(self, queue: int, now: float) -> bool:
        """Whether the child's lease in a queue has ended."""
        return 0 < self.lease(queue) < now

    def ended(self, now: float) -> list[int]:
        """The queues in which its lease has ended."""
        return [queue for queue in range(self.queues) if self.is_over(queue, now)]

    def claimed(self) -> list[int]:
        """The queues in which it has, or had, a lease."""
        return [queue for queue in range(self.queues) if self.lease(queue)]

    @property
    def alive_at(self) -> float:
        """The child's last sign of life."""
        return float(HEAD.unpack_from(self._memory)[0])

    @alive_at.setter
    def alive_at(self, moment: float) -> None:
        struct.pack_into("=d", self._memory, 0, moment)

    @property
    def memory(self) -> int:
        """Redis' used memory in % of its maximum, as of the last look."""
        return int(HEAD.unpack_from(self._memory)[1])

    @memory.setter
    def memory(self, percent: int) -> None:
        self._memory[MEMORY] = min(percent, 255)

    @property
    def leaving(self) -> bool:
        """Whether the child ends by its own will: any job can end it with the same exit code."""
        return bool(self._memory[LEAVING])

    def leave(self) -> None:
        """It does."""
        self._memory[LEAVING] = 1

    @property
    def counts(self) -> tuple[int, int]:
        """How many attempts ended in the child, and how many of them failed."""
        attempts, failed = ATTEMPTS.unpack_from(self._memory, COUNTS)
        return attempts, failed

    def count(self, attempts: int, failed: int) -> None:
        """Adds to them."""
        before, failed_before = self.counts
        ATTEMPTS.pack_into(self._memory, COUNTS, before + attempts, failed_before + failed)

    # -- rows ------------------------------------------------------------------------------------

    def start(
        self, slot: int, fence: int, id: str, queue: int, now: float, deadline: float
    ) -> None:
        """Writes a row; its fence last, because it says that the row counts."""
        at = self._rows + slot * ROW.size
        ROW.pack_into(self._memory, at, 0, id.encode(), queue, now, deadline, 0)
        FENCE.pack_into(self._memory, at, fence)

    def note_process(self, slot: int, pid: int) -> None:
        """Notes that the row's job runs in a process of its own."""
        PROCESS.pack_into(self._memory, self._rows + (slot + 1) * ROW.size - PROCESS.size, pid)

    def stop(self, slot: int) -> None:
        """Clears a row."""
        FENCE.pack_into(self._memory, self._rows + slot * ROW.size, 0)

    def rows(self) -> list[Row]:
        """The jobs that are running."""
        rows = []
        for slot in range(self.slots):
            fence, id, queue, started, deadline, process = ROW.unpack_from(
                self._memory, self._rows + slot * ROW.size
            )
            if fence:
                name = id.rstrip(b"\0").decode("ascii", "replace")
                rows.append(Row(slot, fence, name, queue, started, deadline, process))
        return rows
