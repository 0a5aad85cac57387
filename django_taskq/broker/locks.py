"""Lock files of an embedded server's directory, and what a fork does to their descriptors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import keeper

_opening = threading.Lock()  # no fork between opening a lock file and knowing of it
_descriptors: dict[int, os.stat_result] = {}  # every open lock file, so that a fork can close it


def open_lock(path: Path) -> int:
    """The descriptor of a lock file, which nobody has locked through it yet."""
    with _opening:
        descriptor = keeper.open_lock(path)
        _descriptors[descriptor] = os.fstat(descriptor)
        return descriptor


def close_lock(descriptor: int) -> None:
    """Close it, unless somebody who closes all files did and the number means another file."""
    with suppress(OSError):
        if os.path.samestat(_descriptors.pop(descriptor), os.fstat(descriptor)):
            os.close(descriptor)


@contextmanager
def exclusive(path: Path) -> Iterator[int | None]:
    """The descriptor that holds the lock on ``path``, or None when somebody else does."""
    descriptor = open_lock(path)
    try:
        yield descriptor if keeper.take(descriptor) else None
    finally:
        close_lock(descriptor)


def before_fork() -> None:
    """Waits until no file is half open."""
    _opening.acquire()


def after_fork() -> list[int]:
    """Goes on; the descriptors that were open, which a child has inherited."""
    _opening.release()
    return list(_descriptors)
