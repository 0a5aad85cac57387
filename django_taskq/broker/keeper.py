"""Keeps the embedded server: starts it, watches its users, stops it after the last of them.

``embedded.py`` runs this file with ``python -I -S``, so it needs neither Django nor the project
to be importable and stays small. Standard library only.

Three files in the server's directory are locked with ``flock``, which the kernel frees even
after a SIGKILL:

``users.lock``   shared by every process that uses the server; exclusive by the keeper, for a
                 moment each time it looks whether anybody is left, and while it stops the server.
``keeper.lock``  by the keeper, from before its start (its starter hands it over) to its end.
``server.lock``  by the server process itself, so that two never write one data directory.

A user locks ``users.lock`` before it talks to the server, so it never meets one that is about to
stop: either the keeper sees the lock and goes on, or the user waits until all is stopped and then
starts a new one.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from typing import IO, Any, NamedTuple, NoReturn

if sys.platform != "win32":  # there is no server to keep on Windows, yet imports must work
    import fcntl

USERS_LOCK = "users.lock"
KEEPER_LOCK = "keeper.lock"
SERVER_LOCK = "server.lock"
SOCKET = "valkey.sock"
LOG = "valkey.log"

LOOK_EVERY = 1.0  # seconds between two looks at the users
BIND_EVERY = 0.05  # seconds between two looks for the new server's socket
BIND_TIMEOUT = 5.0  # seconds it has to make it; reading its data comes after that
STOP_TIMEOUT = 10.0  # seconds a server has to write its data and end
PAUSE = 0.01  # seconds between two tries of a lock
PR_SET_PDEATHSIG = 1


class Plan(NamedTuple):
    """What a keeper is told on its command line."""

    keeper_lock: int  # the descriptor that holds keeper.lock
    directory: str
    socket: str
    binary: str
    persist: bool
    linger: float  # seconds without users before the server is stopped

    @classmethod
    def read(cls, words: list[str]) -> Plan:
        """The plan from the words that ``words()`` made."""
        lock, directory, address, binary, persist, linger = words
        return cls(int(lock), directory, address, binary, persist == "yes", float(linger))

    def words(self) -> list[str]:
        """The plan as command line arguments."""
        persist = "yes" if self.persist else "no"
        lock, linger = str(self.keeper_lock), str(self.linger)
        return [lock, self.directory, self.socket, self.binary, persist, linger]


def ask(address: str, *words: str, timeout: float = 1.0) -> Any:
    """The server's answer to one command: bytes (errors too, with their ``-``), a list or None.

    Raises OSError when there is none within ``timeout`` seconds.
    """
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(address)
        connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        with connection.makefile("rb") as stream:
            return _answer(stream)


def _answer(stream: IO[bytes]) -> Any:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("The server closed the connection.")
    if line[:1] == b"*":
        return [_answer(stream) for _ in range(int(line[1:]))]
    if line == b"$-1\r\n":
        return None
    if line[:1] == b"$":
        return stream.read(int(line[1:]) + 2)[:-2]
    return line.rstrip()


def open_lock(path: str | os.PathLike[str]) -> int:
    """A descriptor of a lock file, which is made if need be. No program started inherits it."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def take(descriptor: int, *, shared: bool = False, timeout: float = 0.0) -> bool:
    """Whether the lock could be had within ``timeout`` seconds."""
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(PAUSE)
        else:
            return True


def is_at(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` still names the open file, and not nothing or another one."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


class Bell:
    """Ends the keeper's sleep when its server ends or somebody sends it a SIGTERM."""

    def __init__(self) -> None:
        self.dismissed = False
        self._ear, self._hammer = socket.socketpair()
        self._ear.setblocking(False)
        self._hammer.setblocking(False)
        signal.set_wakeup_fd(self._hammer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._dismiss)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the starter may have blocked them

    def _dismiss(self, *_: object) -> None:
        self.dismissed = True

    def wait(self, seconds: float) -> None:
        """Sleep that long, or until a signal."""
        if select.select([self._ear], [], [], seconds)[0]:
            self._ear.recv(4096)


class Server:
    """The server process, a child of this one."""

    def __init__(self, plan: Plan, bell: Bell) -> None:
        self._bell = bell
        self._ended = False
        lock = self._lock_data(plan)
        keeper = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            _become_server(plan, lock, keeper)
        os.close(lock)  # now the server alone holds it

    @staticmethod
    def _lock_data(plan: Plan) -> int:
        lock = open_lock(os.path.join(plan.directory, SERVER_LOCK))
        if not take(lock, timeout=STOP_TIMEOUT):  # the server of a killed keeper is ending
            sys.exit(f"An earlier server still holds {SERVER_LOCK} and does not end.")
        return lock

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        if not self._ended:
            self._ended = os.waitpid(self._pid, os.WNOHANG)[0] == self._pid
        return self._ended

    def stop(self) -> None:
        """Let it write its data and end; the hard way after ``STOP_TIMEOUT``."""
        deadline = time.monotonic() + STOP_TIMEOUT
        self._send(signal.SIGTERM)
        while not self.has_ended():
            if time.monotonic() >= deadline:
                self.kill()
            self._bell.wait(0.1)

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if not self.has_ended():  # and so the number is still its own
            os.kill(self._pid, number)


def _become_server(plan: Plan, lock: int, keeper: int) -> NoReturn:
    """Turn the forked child into the server."""
    try:
        _die_with(keeper)
        os.set_inheritable(lock, True)
        os.execv(plan.binary, [plan.binary, *server_options(plan)])
    except OSError as error:
        os.write(2, f"{plan.binary} cannot be run: {error}\n".encode())
    finally:
        os._exit(127)


def _die_with(keeper: int) -> None:
    """Have the kernel end this process with its keeper: nobody else would ever stop it."""
    if sys.platform == "linux":
        import ctypes  # here and not above, so that it costs the keeper no memory

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != keeper:
        os._exit(1)


def server_options(plan: Plan) -> list[str]:
    """The server's command line: a private socket and no port; the AOF is all that is kept."""
    options = {
        "port": "0",
        "unixsocket": plan.socket,
        "unixsocketperm": "700",
        "dir": plan.directory,
        "logfile": os.path.join(plan.directory, LOG),
        "appendonly": "yes" if plan.persist else "no",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


class Watch:
    """Looks at the users' locks, and at what users need to find the server."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._users = open_lock(self._path(USERS_LOCK))
        self._alone_since: float | None = None
        self._was_bound = False
        self._bind_until = time.monotonic() + BIND_TIMEOUT

    def _path(self, name: str) -> str:
        return os.path.join(self._plan.directory, name)

    def interval(self) -> float:
        """Seconds until the next look."""
        longest = LOOK_EVERY if self._was_bound else BIND_EVERY
        return min(longest, max(self._plan.linger / 4, 0.02))

    def is_displaced(self) -> bool:
        """The directory was deleted, and perhaps made anew for another server."""
        return not is_at(self._plan.keeper_lock, self._path(KEEPER_LOCK))

    def is_unreachable(self) -> bool:
        """The socket, or the link to it, was deleted."""
        if os.path.exists(self._path(SOCKET)):
            self._was_bound = True
            return False
        return self._was_bound or time.monotonic() >= self._bind_until

    def is_deserted(self) -> bool:
        """Nobody was seen for the whole linger.

        Then the users' lock is left locked: who comes now waits until the keeper, and with it
        the server, is gone.
        """
        if not take(self._users):
            self._alone_since = None
            return False
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since >= self._plan.linger:
            return True
        fcntl.flock(self._users, fcntl.LOCK_UN)
        return False


def main(words: list[str]) -> None:
    """Keep one server until it ends or nobody needs it."""
    plan = Plan.read(words)
    os.set_inheritable(plan.keeper_lock, False)
    if os.fork():
        os._exit(0)  # init adopts the keeper, so that its starter has no child to reap
    os.umask(0o077)
    bell = Bell()
    watch = Watch(plan)
    server = Server(plan, bell)
    while not server.has_ended():
        bell.wait(watch.interval())
        if watch.is_displaced():
            # Its data is gone, and an orderly stop would delete the socket of its successor.
            server.kill()
        elif bell.dismissed or watch.is_unreachable() or watch.is_deserted():
            server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
