"""The process of one isolated job. It talks to its child, never to Redis for itself.

It says that it is ready; the child sends the job, then perhaps why it is to stop; the answer is the
outcome. When the child dies, so does this process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from .broker.broker import Broker
from .client import running_job
from .deaths import die_with_parent, ignore_signals, leave
from .exceptions import Interruption
from .execution import Attempt, Runner
from .job import Grant, Kind, Live, Outcome
from .report import encode_report
from .reporting import report_of
from .slot import MESSAGES, Slot
from .table import Table

REPORT = b"report "  # how a message begins that is no outcome
MOMENT = 0.1  # seconds until what the job says of itself is sent
REASONS = {reason.__name__: reason for reason in MESSAGES}

logger = logging.getLogger("django_taskq.worker")


def pack_grant(grant: Grant) -> bytes:
    """A grant on its way to the process."""
    fields = (grant.queue, grant.id, grant.envelope, grant.live.encode(), grant.errors)
    return msgspec.msgpack.encode(fields)


def unpack_grant(raw: bytes) -> Grant:
    queue, id, envelope, live, errors = msgspec.msgpack.decode(raw)
    return Grant(queue, id, envelope, Live.decode(live), errors)


def pack_outcome(outcome: Outcome) -> bytes:
    """An outcome on its way back."""
    return msgspec.msgpack.encode((*outcome[1:],))


def unpack_outcome(grant: Grant, raw: bytes) -> Outcome:
    """The outcome of the grant's job."""
    kind, *rest = msgspec.msgpack.decode(raw)
    return Outcome(grant, Kind(kind), *rest)


def work(
    make: Callable[[str], tuple[Broker, type]],
    alias: str,
    holder: str,
    max_payload: int,
    pipe: Connection,
) -> None:
    """The body of the process: never returns. ``make`` gives the alias's broker."""
    ignore_signals()
    let_the_server_end()
    die_with_parent(behind_server=True)
    code = 1
    try:
        broker, sender = make(alias)
        runner = Runner.of(broker, alias, holder, sender, max_payload)
        pipe.send_bytes(b"ready")
        attempt = runner.prepare(unpack_grant(pipe.recv_bytes()), now=0)  # it expires no more
        reports = Reports(pipe)
        runner.reported = reports.add
        outcome = Run(attempt, pipe).run() if isinstance(attempt, Attempt) else attempt
        reports.send()
        with reports.lock:
            pipe.send_bytes(pack_outcome(outcome))
        code = 0
    except BaseException:
        logger.exception("the process of an isolated job failed")
    finally:
        leave(code)


def let_the_server_end() -> None:
    """The server that this process is forked from ends when nobody holds this descriptor any more.

    Every process that it forks inherits it, and with it would keep the server alive, whose death is
    what ends a process that hears nothing. multiprocessing has no public name for it.
    """
    server: Any = getattr(forkserver, "_forkserver", None)
    descriptor = getattr(server, "_forkserver_alive_fd", None)
    if descriptor is not None:
        os.close(descriptor)
        server._forkserver_alive_fd = None


class Reports:
    """Sends what the job says of itself to the child, a moment after it said it."""

    def __init__(self, pipe: Connection) -> None:
        self.lock = threading.Lock()  # for whoever sends anything
        self._pipe = pipe
        self._fresh: Attempt | None = None
        self._timer: threading.Timer | None = None

    def add(self, attempt: Attempt) -> None:
        """The attempt said something."""
        self._fresh = attempt
        with self.lock:
            if self._timer is None:
                self._timer = threading.Timer(MOMENT, self.send)
                self._timer.daemon = True
                self._timer.start()

    def send(self) -> None:
        """Sends what is new."""
        with self.lock:
            self._timer = None
            attempt, self._fresh = self._fresh, None
            if attempt is not None:
                self._pipe.send_bytes(REPORT + encode_report(report_of(attempt)))


class Run:
    """The job on this process's main thread, and a thread that hears when it is to stop."""

    def __init__(self, attempt: Attempt, pipe: Connection) -> None:
        self._attempt = attempt
        self._pipe = pipe
        self._slot = Slot(0, Table(bytearray(Table.size(1)), 1))
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> Outcome:
        """What the attempt came to."""
        running_job.set(True)
        attempt = self._attempt
        outcome = None
        try:
            if attempt.task.is_async:
                # Not asyncio.run(), which waits for threads that the job left behind.
                outcome = asyncio.new_event_loop().run_until_complete(self._run_async())
            else:
                outcome = self._run()
        except BaseException as error:  # an interruption between two lines of ours
            outcome = outcome or attempt.fail(error)
        self._slot.leave()
        return outcome

    def _run(self) -> Outcome:
        self._slot.enter(self._attempt, 0)
        self._listen()
        return self._attempt.run()

    async def _run_async(self) -> Outcome:
        self._loop = asyncio.get_running_loop()
        self._slot.enter(self._attempt, 0, asyncio.current_task())
        self._listen()
        return await self._attempt.run_async()

    def _listen(self) -> None:
        threading.Thread(target=self._hear, name="taskq-orders", daemon=True).start()

    def _hear(self) -> None:
        try:
            while True:
                self._obey(REASONS[self._pipe.recv_bytes().decode()])
        except (EOFError, OSError):
            os._exit(1)  # the child is gone, and with it the right to this job

    def _obey(self, reason: type[Interruption]) -> None:
        grant = self._attempt.grant

        def interrupt() -> None:
            # The child says it once more where the first request was soft.
            again = self._slot.interrupted is not None
            self._slot.interrupt(grant.id, grant.live.fence, reason, hard=again)

        if self._loop is None:
            interrupt()
        else:
            self._loop.call_soon_threadsafe(interrupt)
