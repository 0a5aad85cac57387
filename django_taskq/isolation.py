"""Jobs in a process of their own: what such a job does to its process touches no other job.

The processes are forked from a server that knows the project's code and runs nothing: a child has
threads, and a fork of it could deadlock.
https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from .broker.broker import CRASH_LIMIT, Broker
from .clock import monotonic, now_ms
from .codec import printable
from .deaths import cause_of
from .exceptions import WorkerCrashed
from .execution import Attempt, log_fields, path_of
from .isolated import pack_grant, unpack_outcome, work
from .job import Failure, Kind, Outcome
from .memory import memory_of
from .slot import Slot

logger = logging.getLogger("django_taskq.worker")

LOOK = 0.1  # seconds between two looks at a job that is to stop
BLOATED = 2  # times --max-memory that a process may hold before it is killed

Make = Callable[[str], tuple[Broker, type]]


class Isolation:
    """Starts the processes of one child's isolated jobs. Safe to use from any thread.

    ``make`` gives the alias's broker; ``max_memory``: MB, or None.
    """

    def __init__(self, make: Make, alias: str, max_payload: int, max_memory: int | None) -> None:
        self._make = make
        self._alias = alias
        self._max_payload = max_payload
        self._max_memory = max_memory
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["django_taskq.preload"])
        self._context = context

    def run(self, slot: Slot, attempt: Attempt) -> Outcome:
        """Runs the attempt, which has entered its slot, to its end."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work,
            args=(self._make, self._alias, attempt.runner.holder, self._max_payload, theirs),
            name="taskq-isolated",
        )
        process.start()
        theirs.close()
        try:
            slot.contain(process.pid)  # its supervisor has to know it before its code runs
            attempt.began = now_ms()
            ours.send_bytes(pack_grant(attempt.grant))
            slot.connect(ours)
            return self._wait(process, ours, slot, attempt)
        except OSError:  # it died before it had the job
            end(process)
            return crashed(attempt, cause_of(process.exitcode))
        finally:
            end(process)
            ours.close()

    def _wait(self, process: Any, pipe: Connection, slot: Slot, attempt: Attempt) -> Outcome:
        while not pipe.poll(LOOK):
            interruption = slot.interrupted
            if interruption is not None and slot.is_over(monotonic()):
                logger.error("job %s does not stop: its process is killed", attempt.grant.id)
                end(process)
                return attempt.fail(interruption)
            if cause := self._bloat(process.pid):
                end(process)
                return crashed(attempt, cause)
        try:
            return unpack_outcome(attempt.grant, pipe.recv_bytes())
        except EOFError:
            end(process)
            return crashed(attempt, cause_of(process.exitcode))

    def _bloat(self, pid: int) -> str:
        """Why the process has to die, if it holds too much."""
        if self._max_memory is None:
            return ""
        held = memory_of(pid).now >> 20
        if held <= BLOATED * self._max_memory:
            return ""
        return f"it holds {held:,} MB and --max-memory is {self._max_memory:,}"


def end(process: Any) -> None:
    """Kills a process, if it lives, and waits until it is dead."""
    process.kill()
    process.join()


def crashed(attempt: Attempt, cause: str) -> Outcome:
    """A run that its process did not survive: it costs no attempt, and three are enough."""
    grant = attempt.grant
    logger.error("job %s: %s", printable(grant.id), cause, extra=log_fields(grant, attempt.task))
    if max(grant.live.crashes, 1) + 1 <= CRASH_LIMIT:
        return Outcome(grant, Kind.CRASHED, started=attempt.began)
    error = WorkerCrashed(cause)
    failure = Failure(c=path_of(error), m=cause, w=attempt.runner.holder, f=now_ms())
    blob = attempt.runner.encode(grant, failure)
    return Outcome(grant, Kind.POISON, blob, attempt.runner.dead_retention, attempt.began)
