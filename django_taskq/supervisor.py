"""The supervisor: one thread that starts children, keeps their leases, and never runs a job.

It waits in one place, for whatever comes first: a signal, a child's death, a token that says
something is due earlier, a cancellation, or the time of a service.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time

from django.db import connections

from .broker.broker import Broker
from .broker.connection import close_servers
from .broker.doorbell import Ear
from .child_process import LATEST, ChildProcess
from .clock import monotonic
from .codec import printable
from .exceptions import BrokerUnavailable
from .isolation import BLOATED, Make
from .job import new_id
from .judge import Judge
from .periodic import sources
from .service import FOREVER, Service, next_due
from .services.heartbeat import Heartbeat
from .services.janitor import Janitor
from .services.reaper import Reaper
from .services.reloader import Reloader
from .services.rows import Rows
from .services.scheduler import Scheduler
from .services.timekeeper import Timekeeper
from .table import Row
from .worker import DONE, ORDERLY, Plan

logger = logging.getLogger("django_taskq.worker")

BIRTH = 120.0  # seconds until a child's first sign of life; it may have to import the project
SILENCE = 10.0  # seconds without a sign of life after which an idle child is replaced
MOST_STILLBORN = 5  # children in a row that may die while they start
QUICK_DEATH = 2.0  # seconds; a child that lives shorter is replaced after a pause
EPOLL_STEP = 0.001  # seconds: what it is told to wait is rounded up to that
CHUNK = 0.5  # seconds the loop sleeps at most while it has somebody to watch


class Supervisor:
    """One ``runworker``. ``run()`` returns the exit code of the command."""

    def __init__(
        self,
        plan: Plan,
        broker: Broker,
        make: Make,
        *,
        sender: type = object,
        processes: int = 1,
        start_method: str = "fork",
        reload: bool = False,
    ) -> None:
        self.plan = plan
        self._broker = broker
        self._make = make
        self._method = start_method
        self._processes = processes
        self._children: list[ChildProcess] = []
        self._stopping = False
        self._quiet = False  # no child is replaced
        self._restart = False
        self._stillborn = 0  # children in a row that died before they lived
        self._failed = False
        self._born = 0.0  # when the next replacement may start
        queues = list(plan.queues)
        self._ear = Ear(broker.server, broker.control)
        self._reaper = Reaper(broker, queues, Judge(broker, plan.alias, sender))
        self._timekeeper = Timekeeper(broker, queues, new_id())
        janitor = Janitor(broker, queues, self._reaper)
        heartbeat = Heartbeat(
            broker,
            queues,
            plan.lease,
            lambda: self._children,
            self._reaper,
            self._timekeeper,
            janitor,
        )
        self._scheduler = Scheduler(
            broker, plan.alias, sender, plan.max_payload, has_rows=bool(sources())
        )
        self._rows = Rows(plan.alias, make, start_method, self._hang_up, self._scheduler.follow)
        self._services: list[Service] = [
            self._rows,  # first: it forks, and no line to Redis is open yet
            self._reaper,
            heartbeat,
            self._timekeeper,
            janitor,
            self._scheduler,
            Listening(self._ear),
        ]
        if reload:
            self._services.append(Reloader(self.restart))
        self._heard, self._said = socket.socketpair()

    # -- life ------------------------------------------------------------------------------------

    def run(self) -> int:
        """Works until told to stop."""
        self._take_signals()
        connections.close_all()
        close_servers()
        if self._method == "fork":
            gc.collect()
            gc.freeze()  # so that the children's garbage collection does not copy our pages
        while len(self._children) < self._processes:
            self._start()
        logger.info("worker ready: %s", self)
        try:
            while self._children or not self._stopping:
                self._wait()
                self._read_signals()
                self._bury()
                self._watch()
                self._replace()
                now = monotonic()
                for service in self._services:
                    service.run(now)
                if self.plan.burst and not self._children:
                    break
        finally:
            self._end()
        if self._restart:
            self._re_exec()
        return 1 if self._failed else 0

    def __str__(self) -> str:
        plan = self.plan
        return (
            f"queues {', '.join(f'{name}:{weight}' for name, weight in plan.queues.items())}"
            f"{' (strict)' if plan.strict else ''}, "
            f"{self._processes} x {plan.concurrency} slots, {self._broker.server.address}"
        )

    def _start(self) -> None:
        self._children.append(ChildProcess(self.plan, self._make, self._method))

    def _end(self) -> None:
        for child in self._children:
            child.kill("the supervisor ends")
            child.process.join()
        self._rows.close()
        self._bury()
        self._reaper.run(FOREVER)
        self._hang_up()

    def _re_exec(self) -> None:
        logger.info("starting anew")
        logging.shutdown()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    # -- what the operator wants -----------------------------------------------------------------

    def stop(self, timeout: float) -> None:
        """Children finish within ``timeout`` seconds and give back the rest."""
        self._stopping = True
        for child in self._children:
            child.stop(timeout)

    def restart(self) -> None:
        """Children finish, then the command starts anew under the same process id."""
        self._restart = True
        self.stop(self.plan.shutdown_timeout)

    def _take_signals(self) -> None:
        self._heard.setblocking(False)
        self._said.setblocking(False)
        signal.set_wakeup_fd(self._said.fileno(), warn_on_full_buffer=False)
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGTSTP,
            signal.SIGTTIN,
        ):
            signal.signal(number, lambda *_: None)

    def _read_signals(self) -> None:
        try:
            numbers = self._heard.recv(1024)
        except BlockingIOError:
            return
        for number in numbers:
            self._obey(number)

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            again = self._stopping and number == signal.SIGINT
            if not again:
                logger.info("stopping: jobs have %.0f s to finish", self.plan.shutdown_timeout)
            self.stop(0.0 if again else self.plan.shutdown_timeout)
        elif number == signal.SIGHUP:
            self.restart()
        elif number == signal.SIGTSTP:
            self._quiet = True
            logger.info("quiet: running jobs finish, no more are taken")
            for child in self._children:
                child.order("quiet")
        elif number == signal.SIGTTIN:
            for child in self._children:
                child.order("dump")

    # -- the loop --------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Sleeps until something is there."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._heard, selectors.EVENT_READ)
            for child in self._children:
                selector.register(child.process.sentinel, selectors.EVENT_READ)
            if self._timekeeper.bell.asked:
                selector.register(self._timekeeper.bell, selectors.EVENT_READ, self._ring)
            if self._ear.is_open:
                selector.register(self._ear, selectors.EVENT_READ, self._hear)
            if self._rows.is_open:
                selector.register(self._rows, selectors.EVENT_READ, self._rows.read)
            rest = min(next_due(self._services) - monotonic(), CHUNK)
            if 0 < rest <= EPOLL_STEP:
                time.sleep(rest)
            for key, _ in selector.select(max(rest - EPOLL_STEP, 0)):
                if key.data is not None:
                    key.data()

    def _ring(self) -> None:
        self._timekeeper.rung()

    def _hear(self) -> None:
        try:
            messages = self._ear.messages()
        except BrokerUnavailable:
            return
        for message in messages:
            word, *rest = message.split(" ")
            if word in ("cancel", "kill") and len(rest) == 4:
                holder, _, id, fence = rest
                for child in self._children:
                    if child.holder == holder and fence.isdecimal() and len(fence) <= 10:
                        child.order(word, id, int(fence))
            elif word == "schedules":
                self._rows.ask()
                self._scheduler.look_again()

    def _hang_up(self) -> None:
        """Before a fork and at the end: an answer must not be read by two processes."""
        self._timekeeper.bell.close()
        self._ear.close()

    # -- children --------------------------------------------------------------------------------

    def _bury(self) -> None:
        """Dead children: their jobs go back at once."""
        for child in [c for c in self._children if c.is_dead()]:
            self._children.remove(child)
            code, cause, rows = child.close()
            self._give_back(child, code, cause, rows)
            if code < 0 or code == 1:
                logger.error("child %s is gone: %s", child.process.pid, cause)
            if monotonic() - child.started < QUICK_DEATH and code != DONE:
                self._born = monotonic() + 1.0
            self._stillborn = 0 if child.table.alive_at else self._stillborn + 1
            if self._stillborn >= (1 if self.plan.burst else MOST_STILLBORN):
                logger.error("children die while they start: the worker gives up")
                self._failed = True
                self.stop(0.0)
            if code == DONE and not self._stopping:
                self._processes -= 1  # it was told so, or found nothing left (burst)

    def _give_back(self, child: ChildProcess, code: int, cause: str, rows: list[Row]) -> None:
        """What ran past its timeout has failed; the rest goes back, charged with a crash or not."""
        now = monotonic()
        started: dict[str, dict[str, bool]] = {}
        overdue: dict[str, dict[str, int]] = {}
        for row in rows:
            queue = self.plan.names[row.queue]
            if 0 < row.deadline < now:
                overdue.setdefault(queue, {})[row.id] = row.fence
            elif code not in ORDERLY and not child.blameless and not row.process:
                started.setdefault(queue, {})[row.id] = row.alone
        self._reaper.died(child.holder, started, cause, overdue)

    def _replace(self) -> None:
        if self._stopping or self._quiet or monotonic() < self._born:
            return
        # What a child still runs whose lease is over may be anybody's by now, but not ours: two
        # attempts of a job never run in one worker.
        if any(child.has_lost(monotonic()) for child in self._children):
            return
        while len(self._children) < self._processes:
            self._hang_up()
            try:
                self._start()
            except OSError as error:
                logger.error("no child can be started: %s; trying again", error)
                self._born = monotonic() + 1.0
                return

    def _watch(self) -> None:
        """Kills what ignores its deadline, or the order to leave."""
        now = monotonic()
        for child in self._children:
            if now > child.stop_by:
                child.kill("it does not leave")
                child.stop_by = FOREVER
            alive_at = child.table.alive_at
            if alive_at and now > alive_at + SILENCE and not child.table.rows():
                child.kill(f"it gave no sign of life for {SILENCE:.0f} s")
            if not alive_at and now > child.started + BIRTH:
                child.kill(f"it was not ready within {BIRTH:.0f} s")
            if (row := child.obstinate(now)) is not None:
                child.kill(f"job {printable(row.id)} does not stop")
            if child.has_lost(now - LATEST):
                child.kill("its lease is over, and it does not leave")
            self._weigh(child)

    def _weigh(self, child: ChildProcess) -> None:
        """A child that grows faster than it can be replaced takes no other process with it."""
        held, most = child.weigh() >> 20, self.plan.max_memory
        if most is not None and held > BLOATED * most:
            child.kill(f"it holds {held:,} MB and --max-memory is {most:,}", blame=True)


class Listening(Service):
    """Keeps the ear on the control channel."""

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self._ear = ear

    def tick(self) -> float:
        if not self._ear.is_open:
            self._ear.open()
        return 1.0


def usable_method(wanted: str | None) -> str:
    """How children are started: forked where that is safe, else spawned."""
    if wanted:
        return wanted
    return "fork" if sys.platform == "linux" else "spawn"
