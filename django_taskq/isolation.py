"""Jobs in a process of their own: what such a job does to its process touches no other job.

Those of a task that asks for it, and each that was running when its process died: whether it is to
blame shows when it runs alone.

The processes are forked from a server that knows the project's code and runs nothing: a child has
threads, and a fork of it could deadlock.
https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any

from . import paths
from .broker.broker import Broker
from .clock import monotonic, now_ms
from .codec import printable
from .deaths import cause_of
from .exceptions import WorkerCrashed
from .execution import Attempt, Runner
from .isolated import REPORT, pack_grant, unpack_outcome, work
from .job import Failure, Kind, Outcome
from .memory import memory_of
from .outcomes import log_fields, outcome, path_of
from .report import decode_report
from .slot import Slot

logger = logging.getLogger("django_taskq.worker")

START_TIMEOUT = 60.0  # seconds until a process must be ready; the first imports the project
LOOK = 0.1  # seconds between two looks at a job that is to stop
CRASH_LIMIT = 3  # times a job may take its process down, the one it shared counted in
BLOATED = 2  # times --max-memory that a process may hold before it is killed

Make = Callable[[str], tuple[Broker, type]]


class Isolation:
    """Starts the processes of one child's isolated jobs. Safe to use from any thread.

    ``make`` gives the alias's broker; ``max_memory``: MB, or None.
    """

    def __init__(self, make: Make, runner: Runner, max_memory: int | None) -> None:
        self._make = make
        self._runner = runner
        self._max_memory = max_memory
        context: Any = multiprocessing.get_context("forkserver")
        paths.leave()
        context.set_forkserver_preload(["django_taskq.preload"])
        self._context = context

    def start(self) -> Cell:
        """A process that is ready to run a job. Raises OSError or EOFError if there is none."""
        runner = self._runner
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work,
            args=(self._make, runner.alias, runner.holder, runner.result_limit, theirs),
            name="taskq-isolated",
        )
        process.start()
        # Else whoever starts the next one asks for its exit code, too.
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
        theirs.close()
        cell = Cell(process, ours, self._max_memory)
        try:
            if not ours.poll(START_TIMEOUT):
                raise TimeoutError(f"it was not ready within {START_TIMEOUT:.0f} s")
            ours.recv_bytes()
        except BaseException:
            cell.close()
            raise
        return cell


class Cell:
    """A process for one job."""

    def __init__(self, process: Any, pipe: Connection, max_memory: int | None) -> None:
        self._process = process
        self._pipe = pipe
        self._max_memory = max_memory
        self._peak = 0  # bytes, as far as was seen

    def run(self, slot: Slot, attempt: Attempt) -> Outcome:
        """Runs the attempt, which has entered its slot, to its end."""
        slot.contain(self._process.pid)  # its supervisor has to know it before its code runs
        self._weigh()
        attempt.began = now_ms()
        try:
            self._pipe.send_bytes(pack_grant(attempt.grant))
            slot.connect(self._pipe)
            while isinstance(told := self._wait(slot, attempt), bytes):
                if not told.startswith(REPORT):
                    return unpack_outcome(attempt.grant, told)
                attempt.report = decode_report(told[len(REPORT) :])
                attempt.reported()
            return told
        except (EOFError, OSError):  # it is dead
            return self._bury(attempt)

    def _wait(self, slot: Slot, attempt: Attempt) -> bytes | Outcome:
        """What the process sends next, or the end of an attempt whose process had to be killed."""
        while not wait([self._pipe, self._process.sentinel], LOOK):
            interruption = slot.interrupted
            if interruption is not None and slot.is_over(monotonic()):
                logger.error("job %s does not stop: its process is killed", attempt.grant.id)
                self._end()
                return attempt.fail(interruption)
            held, most = self._weigh() >> 20, self._max_memory
            if most is not None and held > BLOATED * most:
                self._end()
                return crashed(attempt, f"it holds {held:,} MB and --max-memory is {most:,}")
        if not self._pipe.poll():  # it is dead, and something that it forked holds the pipe
            raise EOFError
        return self._pipe.recv_bytes()

    def _bury(self, attempt: Attempt) -> Outcome:
        code = self._end()
        if code is None:
            logger.error("job %s: the server of its process is dead", printable(attempt.grant.id))
            return attempt.give_back()
        return crashed(attempt, cause_of(code, f"at least {self._peak >> 20:,} MB"))

    def _weigh(self) -> int:
        """Bytes of memory it holds."""
        held = memory_of(self._process.pid)
        self._peak = max(self._peak, held.peak)
        return held.now

    def _end(self) -> int | None:
        """Ends the process; its exit code, which is told once. None if nobody knows it.

        The server that knows it may have died, which took the process along; multiprocessing
        would say 255 then.
        """
        sentinel = self._process.sentinel
        if not wait([sentinel], 0):
            self._process.kill()
        try:
            return int(forkserver.read_signed(sentinel))
        except (EOFError, OSError):
            return None

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._end()
        self._pipe.close()


def crashed(attempt: Attempt, cause: str) -> Outcome:
    """A run that its process did not survive: it costs no attempt, and three are enough."""
    grant = attempt.grant
    logger.error("job %s: %s", printable(grant.id), cause, extra=log_fields(grant, attempt.task))
    if max(grant.live.crashes, 1) + 1 <= CRASH_LIMIT:
        return outcome(attempt, Kind.CRASHED)
    error = WorkerCrashed(cause)
    failure = Failure(c=path_of(error), m=cause, w=attempt.runner.holder, f=now_ms())
    blob = attempt.runner.encode(grant, failure)
    return outcome(attempt, Kind.POISON, blob, attempt.runner.dead_retention)
