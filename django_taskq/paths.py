"""sys.path, handed to a process that multiprocessing starts without it."""

from __future__ import annotations

import json
import os
import sys

VARIABLE = "DJANGO_TASKQ_PATH"


def leave() -> None:
    """Leaves it for the processes that this one starts. Only while it has no other thread.

    The environment is shared with code in C that reads it without a lock.
    """
    os.environ[VARIABLE] = json.dumps(sys.path)


def take() -> None:
    """Takes over what was left, unless a job has cleared the environment."""
    left = os.environ.pop(VARIABLE, None)
    if left is not None:
        sys.path[:] = json.loads(left)
