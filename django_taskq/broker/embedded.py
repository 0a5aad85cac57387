"""The server behind ``embedded://PATH``: a real Valkey, shared by all processes of a project.

The first process that wants it starts a keeper (``keeper.py``, which tells how the locks work);
the keeper starts the server, and stops it after its last user is gone. A process is a user from
its first ``ensure()`` until it ends, however it ends.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured

from . import keeper, locks
from .locks import close_lock, exclusive, open_lock
from .private import SCHEME as SCHEME
from .private import prepare
from .sockets import find_socket
from .starting import PAUSE, unavailable, wait_until_it_answers
from .starting import server_binary as server_binary

START_TIMEOUT = 10.0  # seconds until the server must answer
LINGER = 10.0  # seconds that the server outlives its last user

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
            use.socket = wait_until_it_answers(
                use.directory, use.persist, use.linger, time.monotonic() + timeout
            )
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
        with exclusive(directory / keeper.KEEPER_LOCK) as lock:
            if lock is not None:
                return
        if time.monotonic() >= deadline:
            raise unavailable(directory, "does not stop")
        with suppress(OSError):  # it starts just now, or ends
            keeper.ask(str(find_socket(directory)), "SHUTDOWN")
        time.sleep(PAUSE)


def _real(path: Location) -> str:
    name = os.fspath(path)
    return _real_absolute(name) if os.path.isabs(name) else os.path.realpath(name)


_real_absolute = functools.lru_cache(maxsize=64)(os.path.realpath)


@contextmanager
def _one_thread(name: str, timeout: float) -> Iterator[None]:
    guard = _guard  # a fork replaces it
    if not guard.acquire(timeout=timeout):
        raise unavailable(Path(name), f"did not answer another thread within {timeout:g} s")
    try:
        yield
    except OSError as error:  # no room, no more files, ...
        raise unavailable(Path(name), f"cannot be used: {error}") from error
    finally:
        guard.release()


# -- Being a user -----------------------------------------------------------------------------


def _join(directory: Path, persist: bool, linger: float, timeout: float) -> _Use:
    prepare(directory)
    try:
        lock = open_lock(directory / keeper.USERS_LOCK)
    except OSError as error:
        raise ImproperlyConfigured(f"{SCHEME}{directory} cannot be used: {error}") from error
    use = _Use(directory, persist, linger, lock, directory / keeper.SOCKET)
    deadline = time.monotonic() + timeout
    try:
        # Before the first PING: from here on the keeper does not stop the server.
        if not keeper.take(lock, shared=True, timeout=timeout):
            raise unavailable(directory, "is being stopped and does not end")
        use.socket = wait_until_it_answers(directory, persist, linger, deadline)
    except BaseException:
        close_lock(lock)
        raise
    return use


def _leave(name: str) -> None:
    use = _uses.pop(name, None)
    if use is not None:
        close_lock(use.lock)


def _after_fork_in_child() -> None:
    """Take locks of our own, then close the inherited ones.

    An flock belongs to the open file, which parent and child share: kept, it would make the
    server live as long as the child for the parent's sake, and the other way round.
    """
    global _guard
    _guard = threading.Lock()
    inherited = locks.after_fork()
    for name, use in list(_uses.items()):
        try:
            use.lock = open_lock(use.directory / keeper.USERS_LOCK)
            keeper.take(use.lock, shared=True)  # at once: the inherited lock is a shared one too
        except OSError:  # the directory was deleted: the next ensure() starts anew
            del _uses[name]
    for descriptor in inherited:
        close_lock(descriptor)


if sys.platform != "win32":
    os.register_at_fork(
        before=locks.before_fork,
        after_in_parent=locks.after_fork,
        after_in_child=_after_fork_in_child,
    )
