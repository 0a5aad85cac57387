"""Directories that nobody else may use: an embedded server asks for no password."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from . import keeper

SCHEME = "embedded://"
HARMLESS = {".gitignore", ".gitkeep"}  # may lie in a directory that is otherwise empty


def prepare(directory: Path) -> None:
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


def is_private(home: Path) -> bool:
    """Whether it is a directory that nobody else can put a socket in."""
    found = home.lstat()
    private = not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and private
