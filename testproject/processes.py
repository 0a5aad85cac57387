"""The site as processes: a web server and a worker, started and stopped together.

What ``demo`` and ``smoke`` share. The embedded Valkey is started by whoever needs it first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
MANAGE = ROOT / "testproject" / "manage.py"
HOST = "127.0.0.1"
PAUSE = 0.1  # seconds between two looks at something that is awaited
START_TIMEOUT = 30.0  # seconds until the web server must answer
STOP_TIMEOUT = 20.0  # seconds a process has to end by itself
# Output at once, without runserver's reminder that it is for development.
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "DJANGO_RUNSERVER_HIDE_WARNING": "true"}
PR_SET_PDEATHSIG = 1
TAIL = 30  # lines of a log that are shown
# Nobody's proxy settings stand between us and a server on this machine.
DIRECT = urllib.request.ProxyHandler({})


class Trouble(Exception):
    """Something that had to happen did not; the message says what."""


class Interrupted(BaseException):
    """A signal asked for the end."""


class Child:
    """A process of the site. ``log``: the file its output goes to; None: where ours goes."""

    def __init__(self, name: str, arguments: list[str], log: Path | None = None) -> None:
        self.name = name
        self.log = log
        output: IO[bytes] | None = log.open("ab") if log else None
        try:
            self.process = subprocess.Popen(
                [sys.executable, str(MANAGE), *arguments],
                cwd=ROOT,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                # Ctrl-C reaches us alone: we pass on one TERM, so that the worker sees the first
                # of two signals and not both at once.
                process_group=0,
                preexec_fn=die_with_parent(),
            )
        finally:
            if output:
                output.close()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def tail(self) -> str:
        """The end of its log."""
        if self.log is None:
            return ""
        lines = self.log.read_text("utf-8", "replace").splitlines()[-TAIL:]
        return "\n".join([f"--- the end of the {self.name}'s log:", *lines])


def die_with_parent() -> Callable[[], object] | None:
    """What a child runs first so that no kill -9 of ours leaves it behind; Linux can do that."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, int(signal.SIGTERM))


class Site:
    """Web server and worker. ``port`` 0 takes any free one; ``logs`` is a directory for logs."""

    def __init__(self, port: int = 0, logs: Path | None = None) -> None:
        self.url = f"http://{HOST}:{free_port(port)}/"
        self.logs = logs
        self.children: list[Child] = []

    def start(self) -> None:
        """Start both and wait until the web server answers. Raises Trouble."""
        self._start("web server", ["runserver", "--noreload", self.url.split("/")[2]])
        self._start("worker", ["runworker", "--shutdown-timeout", "10"])
        self.wait_for("the web server answers", self._answers, START_TIMEOUT)

    def _start(self, name: str, arguments: list[str]) -> None:
        log = self.logs / f"{name.replace(' ', '-')}.log" if self.logs else None
        self.children.append(Child(name, arguments, log))

    def _answers(self) -> bool:
        try:
            with urllib.request.build_opener(DIRECT).open(self.url, timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            raise Trouble(f"{self.url} answers {error.code} {error.reason}") from error
        except OSError:
            return False

    def wait_for(self, what: str, condition: Callable[[], object], seconds: float) -> None:
        """Return when ``condition()`` is true. Raises Trouble after so many seconds."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() >= deadline:
                raise Trouble(f"within {seconds:.0f} s this did not happen: {what}")
            time.sleep(PAUSE)

    def check(self) -> None:
        """Raises Trouble when one of the processes has ended."""
        for child in self.children:
            if child.exit_code is not None:
                raise Trouble(f"the {child.name} ended with exit code {child.exit_code}")

    def run(self) -> None:
        """Until a process ends (Trouble) or a signal comes (Interrupted)."""
        while True:
            self.check()
            time.sleep(PAUSE)

    def stop(self) -> None:
        """Stop what runs: TERM, and KILL for what does not end. Returns when all is gone.

        Raises Trouble when something had to be killed. Another signal kills at once.
        """
        running = [child for child in self.children if child.exit_code is None]
        deadline = time.monotonic() + STOP_TIMEOUT
        try:
            for child in running:
                child.process.terminate()
            for child in running:
                child.process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, Interrupted):
            slow = [child for child in running if child.exit_code is None]
            for child in slow:
                kill(child.process)
            if slow:
                names = " and ".join(child.name for child in slow)
                raise Trouble(f"the {names} did not stop and had to be killed") from None

    def tails(self) -> str:
        """The ends of all logs."""
        return "\n".join(child.tail() for child in self.children)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it the hard way, with whatever it started in its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port(wanted: int) -> int:
    """``wanted`` if it is free on the loopback interface, otherwise another one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Trouble("no port is free")


@contextmanager
def signals() -> Iterator[None]:
    """Inside, INT, TERM and HUP raise Interrupted, even where a shell had us ignore INT."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number).name)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def prepare() -> None:
    """Set Django up in this process, and the database."""
    import django
    from django.core.management import call_command

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)


def stop_embedded(var: Path) -> None:
    """Stop the embedded server, if it is one of ours: one under ``var``.

    It would stop by itself some seconds after its last user.
    """
    from django.conf import settings

    from django_taskq.broker import embedded

    url = settings.TASKS["default"]["OPTIONS"]["URL"]
    if url.startswith(embedded.SCHEME):
        path = embedded.parse(url).path
        if path.is_relative_to(var) and path.is_dir():
            embedded.stop(path)
