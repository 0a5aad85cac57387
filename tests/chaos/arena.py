"""A server, workers, jobs that keep coming, and faults between them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.checker import Queue
from tests.chaos.fault import Fault
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.server import Server
from tests.chaos.worker import Worker

PAUSE = 0.01
PREFIX = "chaos"


class Late(Exception):
    """Something that had to happen did not."""


class Arena:
    """Where one fault is tried."""

    def __init__(self, fault: Fault, home: Path) -> None:
        self.fault = fault
        self.home = home
        self.ledger = Ledger(home / "ledger")
        self.server: Any = None
        self.workers: list[Worker] = []
        self.load: Load
        self.flight: set[int] = set()  # jobs that were in flight at a fault
        self.held: set[str] = set()  # ids of those that were claimed then, and not settled
        self.recoveries: list[float] = []  # seconds
        self.expected: dict[str, tuple[str, str]] = {}  # id -> its end, words of its error
        self.struck = 0
        self.notes: list[str] = []  # for the table
        self.gone, self.oldest = 0, 0.0  # accepted jobs that the server lost; s before
        self.late: list[str] = []  # what took longer than it may, for the table
        os.environ.update(
            CHAOS_LEDGER=str(self.ledger.path),
            CHAOS_LEASE=str(fault.lease),
            DJANGO_SETTINGS_MODULE="tests.chaos.settings",
        )

    def start_server(self, aof: str, env: dict[str, str] | None = None, **options: str) -> None:
        self.server = Server(self.home, aof, env, **options)
        self.url = self.server.url

    @property
    def url(self) -> str:
        """What clients are told."""
        return os.environ["CHAOS_URL"]

    @url.setter
    def url(self, url: str) -> None:
        os.environ["CHAOS_URL"] = url

    @property
    def queue(self) -> Queue:
        return Queue(self.server.client, PREFIX)

    def worker(self, *args: str, wait: bool = True, **env: str) -> Worker:
        """One more worker."""
        log = self.home / f"worker-{len(self.workers)}.log"
        worker = Worker(log, args, env)
        self.workers.append(worker)
        return worker.ready() if wait else worker

    @property
    def living(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.lives]

    @property
    def starting(self) -> float:
        """Seconds that recoveries may take because processes start: twice the slowest worker."""
        return 2 * max([worker.took for worker in self.workers if worker.took], default=0.0)

    # -- waiting -----------------------------------------------------------------------------------

    def wait(self, check: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
        """Reads the ledger until ``check`` says so. Raises Late."""
        deadline = time.monotonic() + seconds
        while True:
            self.ledger.read()
            for worker in self.living:
                worker.is_ready()
            found = check()
            if found:
                return found
            if time.monotonic() > deadline:
                raise Late(f"not within {seconds:.0f} s: {what}")
            time.sleep(PAUSE)

    def until_busy(self, jobs: int = 20) -> None:
        """Until so many more jobs are done, and some are running."""
        target = len(self.ledger.done) + jobs

        def busy() -> bool:
            if self.load.error is not None:
                raise self.load.error
            return len(self.ledger.done) >= target and bool(self.running())

        self.wait(busy, "jobs are running")

    def running(self) -> set[int]:
        """Numbers of the jobs that run now, as the ledger has it."""
        return self.ledger.open.keys() - self.load.cancelled

    def note_held(self) -> None:
        """Notes what a fault may meet beyond that: runs that have ended, and are not told of."""
        self.held.update(self.queue.members("running"))

    def pass_time(self, seconds: float) -> None:
        """Lets a fault last."""
        deadline = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= deadline, "time passes", seconds + 5)

    # -- rounds ------------------------------------------------------------------------------------

    def round(self) -> None:
        """One fault, and the time until all that it met has ended and new jobs start."""
        self.until_busy()
        noted = time.monotonic()
        self.note_held()
        self.until_busy(0)  # also now that this is noted
        began = time.monotonic()
        met = set(self.running())
        self.struck += 1
        self.fault.strike(self)
        over = time.monotonic()
        gone = self.load.gave_up
        try:
            self.wait(
                lambda: not (met & self.running()) and (gone or self.ledger.latest > over),
                "the jobs that the fault met have ended, and new ones start",
                self.fault.patience,
            )
        finally:
            self.flight |= met | self.running() | self.ledger.done_since(noted)
        self.recoveries.append(time.monotonic() - began)

    def drain(self) -> None:
        """Until every job has come to its end, and no dead holder is left."""
        self.wait(self.queue.is_quiet, "every job has come to its end", self.fault.patience)

        def cleared_up() -> bool:
            children = sum(len(worker.children()) for worker in self.living)
            if self.queue.count("holders") > children or self.queue.count_dead():
                return False
            return all(worker.is_ready() for worker in self.living)  # and no child is still to come

        self.wait(cleared_up, "what the dead held is cleared up", self.fault.patience)

    def close(self) -> None:
        """Ends what still runs."""
        for worker in self.living:
            worker.kill_all()
        if self.server is not None:
            self.server.kill()
        self.ledger.close()
