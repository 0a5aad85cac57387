"""``python -m tests.processes.produce HOW NAME ...``: a transaction per name, each with one job.

HOW: ``lives``; ``dies-before`` the push of the last job, after its commit; ``dies-after`` that
push, before its row is deleted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_deletion(execute: Any, sql: str, *rest: Any) -> Any:
    """A wrapper of the connection's execute()."""
    if sql.startswith("DELETE"):
        die()
    return execute(sql, *rest)


def main(how: str, names: Sequence[str]) -> None:
    """See the module."""
    import django
    from django.db import connection, transaction

    django.setup()
    from tests.processes.app.tasks import note

    for name in names:
        is_last = name == names[-1]
        with ExitStack() as stack:
            if is_last and how == "dies-after":
                stack.enter_context(connection.execute_wrapper(die_at_deletion))
            stack.enter_context(transaction.atomic())
            if is_last and how == "dies-before":
                transaction.on_commit(die)
            note.enqueue(name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
