"""Where an embedded server's socket lies: in its directory, unless that path is too long."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from . import keeper
from .private import SCHEME, is_private

MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107  # bytes the kernel takes


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= MAX_SOCKET_PATH


def find_socket(directory: Path) -> Path:
    """Where the running server's socket is."""
    own = directory / keeper.SOCKET
    if _fits(own):
        return own
    # The starter left a link to it: its $XDG_RUNTIME_DIR need not be ours.
    with suppress(OSError):
        target = Path(os.readlink(own))
        if is_private(target.parent):
            return target
    return own


def place_socket(directory: Path) -> Path:
    """Where a new server's socket goes; what an earlier one left there is removed.

    So the next PING to be answered is the new server's. Linux ends a server with its keeper; where
    a killed keeper left one running, it has to be told while it can still be reached.
    """
    with suppress(OSError):
        keeper.ask(str(find_socket(directory)), "SHUTDOWN")
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
            if _fits(socket) and is_private(home):
                return socket
    raise ImproperlyConfigured(
        f"{SCHEME}{directory} is too long for a unix socket ({MAX_SOCKET_PATH} bytes), and there "
        "is no private place for it: set XDG_RUNTIME_DIR, or choose a shorter path."
    )
