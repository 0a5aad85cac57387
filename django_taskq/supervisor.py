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
from .broker.roster import Roster
from .child_process import ChildProcess, Remains
from .children import Children
from .clock import monotonic
from .court import Case, Court
from .deaths import SIGNALS
from .exceptions import BrokerUnavailable
from .isolation import Make
from .job import new_id
from .judge import PlainJudge
from .periodic import sources
from .plan import Plan
from .service import FOREVER, Service, next_due
from .services.beside import Beside
from .services.gauge import Gauge
from .services.hanging import Hanging
from .services.heartbeat import Heartbeat, Leased
from .services.janitor import Janitor
from .services.presence import Presence
from .services.reaper import Reaper
from .services.reloader import Reloader
from .services.rows import Rows
from .services.scheduler import Scheduler
from .services.timekeeper import Timekeeper

logger = logging.getLogger("django_taskq.worker")

EPOLL_STEP = 0.001  # seconds: what it is told to wait is rounded up to that
STEERING = {"quiet": signal.SIGTSTP, "restart": signal.SIGHUP, "stop": signal.SIGTERM}
PATIENCE = 4.0  # seconds that processes beside this one have to come to their end
CHUNK = 0.5  # seconds the loop sleeps at most while it has somebody to watch


class Supervisor:
    """One ``runworker``. ``run()`` returns the exit code of the command."""

    def __init__(
        self,
        plan: Plan,
        broker: Broker,
        make: Make,
        *,
        sender: type,
        processes: int = 1,
        start_method: str = "fork",
        reload: bool = False,
    ) -> None:
        self.plan = plan
        self._broker = broker
        self._make = make
        self._method = start_method
        self._sender = sender
        self._stopping = False
        self._restart = False
        self._heard, self._said = socket.socketpair()
        queues = list(plan.queues)
        self._ear = Ear(broker.server, broker.control)
        self._listening = Listening(self._ear)
        self._timekeeper = Timekeeper(broker, queues, new_id())
        self._reaper = Reaper(broker, queues, PlainJudge(broker, plan.alias))
        self._court = Court(plan.alias, make, start_method, self._reaper, self._hang_up)
        self._children = Children(plan, make, start_method, processes, self._hang_up, self._buried)
        self._services = self._make_services(reload=reload)

    def _make_services(self, *, reload: bool) -> list[Service]:
        """In the order in which they run."""
        queues = list(self.plan.queues)
        janitor = Janitor(self._broker, queues, self._reaper)
        beats = (self._leased, self._reaper, self._timekeeper, janitor)
        self._heartbeat = Heartbeat(self._broker, queues, self.plan.lease, *beats)
        self._scheduler = Scheduler(
            self._broker,
            self.plan.alias,
            self._sender,
            self.plan.max_payload,
            has_rows=bool(sources()),
        )
        self._rows = Rows(
            self.plan.alias, self._make, self._method, self._hang_up, self._scheduler.follow
        )
        self._beside = [
            Beside(self.plan.alias, self._make, self._method, self._hang_up, body, what)
            for what, body in self.plan.beside.items()
        ]
        roster = Roster(self._broker)
        self._presence = Presence(
            self._broker, new_id(), self.plan, lambda: self._children, self._state
        )
        self._hanging = Hanging(roster, lambda: self._children)
        # First: they fork, and no line to Redis is open yet.
        services = [self._rows, *self._beside, self._heartbeat, self._hanging]
        self._followers = [
            self._reaper,
            self._timekeeper,
            janitor,
            self._scheduler,
            Gauge(self._broker, queues),
            self._listening,
            self._presence,
        ]
        return [*services, Reloader(self.restart)] if reload else services

    def _running(self) -> list[Service]:
        """Those that have something to do just now.

        Where no server can be reached, each try costs this one thread a timeout, and what has to
        be known first is whether leases can be renewed.
        """
        others = [] if self._heartbeat.is_cut_off else self._followers
        return [*self._services, *others]

    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        return "quiet" if self._children.quiet else "running"

    def _leased(self) -> list[Leased]:
        return [*self._children, *self._court.cases]

    # -- life ------------------------------------------------------------------------------------

    def run(self) -> int:
        """Works until told to stop."""
        self._take_signals()
        connections.close_all()
        close_servers()
        if self._method == "fork":
            gc.collect()
            gc.freeze()  # so that the children's garbage collection does not copy our pages
        self._children.start()
        logger.info("worker ready: %s", self)
        try:
            while not self._is_done:
                self._wait()
                self._read_signals()
                self._children.look()
                self._court.look()
                now = monotonic()
                for service in self._running():
                    service.run(now)
        finally:
            self._end()
        if self._restart:
            self._re_exec()
        return 1 if self._children.failed else 0

    @property
    def _is_done(self) -> bool:
        if self._children or self._court.cases:
            return False
        if self.plan.burst and (self._children.quiet or not self._children.wanted):
            return True
        return self._stopping or self._children.failed

    def __str__(self) -> str:
        plan = self.plan
        return (
            f"queues {', '.join(f'{name}:{weight}' for name, weight in plan.queues.items())}"
            f"{' (strict)' if plan.strict else ''}, "
            f"{self._children.wanted} x {plan.concurrency} slots, {self._broker.server.address}"
        )

    def _hang_up(self) -> None:
        """Before a fork and at the end: an answer must not be read by two processes."""
        self._timekeeper.bell.close()
        self._ear.close()
        # Both are asked again as soon as the fork is over: until then nobody hears a thing.
        self._timekeeper.due = self._listening.due = 0.0

    def _buried(self, child: ChildProcess, remains: Remains) -> None:
        self._court.hear(Case(child, remains, self.plan.names))

    def _end(self) -> None:
        self._court.close()
        self._rows.close()
        self._children.end()
        self._reaper.troubles.urge()
        self._reaper.run(FOREVER)
        for process in self._beside:
            process.close(PATIENCE)
        self._presence.leave()
        self._hang_up()

    def _re_exec(self) -> None:
        logger.info("starting anew")
        logging.shutdown()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    # -- what the operator wants -----------------------------------------------------------------

    def stop(self, timeout: float) -> None:
        """Children finish within ``timeout`` seconds and give back the rest."""
        self._stopping = True
        self._children.stop(timeout)
        self._court.hurry(timeout)

    def resume(self) -> None:
        """Children take jobs again after they were quiet; of a worker that stops none does."""
        if self._children.quiet and not self._stopping:
            self._children.quiet = False
            logger.info("at work again: jobs are taken")
            self._children.order("resume")

    def restart(self) -> None:
        """Children finish, then the command starts anew under the same process id.

        One that stops already does not come back.
        """
        if self._stopping:
            return
        self._restart = True
        self.stop(self.plan.shutdown_timeout)

    def _take_signals(self) -> None:
        self._heard.setblocking(False)
        self._said.setblocking(False)
        signal.set_wakeup_fd(self._said.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
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
            self._restart = False  # whoever wants it to stop does not want it back
            self.stop(0.0 if again else self.plan.shutdown_timeout)
        elif number == signal.SIGHUP:
            self.restart()
        elif number == signal.SIGTSTP:
            self._children.quiet = True
            logger.info("quiet: running jobs finish, no more are taken")
            self._children.order("quiet")
        elif number == signal.SIGTTIN:
            self._children.order("dump")
            self._hanging.ask(aloud=True)

    # -- the loop --------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Sleeps until something is there."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._heard, selectors.EVENT_READ)
            for one in (*self._children, *self._court.cases):
                selector.register(one.process.sentinel, selectors.EVENT_READ)
            if self._timekeeper.bell.asked:
                selector.register(self._timekeeper.bell, selectors.EVENT_READ, self._ring)
            if self._ear.is_open:
                selector.register(self._ear, selectors.EVENT_READ, self._hear)
            if self._rows.is_open:
                selector.register(self._rows, selectors.EVENT_READ, self._rows.read)
            rest = min(next_due(self._running()) - monotonic(), CHUNK)
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
            elif word == "worker" and len(rest) == 2 and rest[0] == self._presence.id:
                self._steer(rest[1])
            elif word == "schedules":
                self._rows.ask()
                self._scheduler.look_again()

    def _steer(self, order: str) -> None:
        """What a person wants of this worker, see roster.ORDERS."""
        if order == "stack":
            self._children.order("stack")
            self._hanging.ask()
        elif order == "resume":
            self.resume()
            self._presence.due = 0.0  # so that it is seen
        elif order in STEERING:
            self._obey(STEERING[order])
            self._presence.due = 0.0  # so that it is seen


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
