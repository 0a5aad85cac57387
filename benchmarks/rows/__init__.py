"""The rows by the names the command line knows them by."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.bench import Bench
from benchmarks.report import Row
from benchmarks.rows.backlog import backlog
from benchmarks.rows.delayed import delayed
from benchmarks.rows.drain import drain
from benchmarks.rows.enqueue import aenqueue, enqueue, enqueue_many
from benchmarks.rows.idle import idle
from benchmarks.rows.lateness import lateness
from benchmarks.rows.limits import limits
from benchmarks.rows.memory import memory
from benchmarks.rows.mirror import mirror
from benchmarks.rows.pages import pages
from benchmarks.rows.pickup import pickup
from benchmarks.rows.schedules import schedules

ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "drain": drain,
    "delayed": delayed,
    "limits": limits,
    "backlog": backlog,
    "enqueue": enqueue,
    "aenqueue": aenqueue,
    "enqueue_many": enqueue_many,
    "pickup": pickup,
    "lateness": lateness,
    "schedules": schedules,
    "memory": memory,
    "mirror": mirror,
    "pages": pages,
    "idle": idle,
}
