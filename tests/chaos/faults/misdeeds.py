"""Tasks that do what no task should. Each is a job of its own among well-behaved ones."""

from __future__ import annotations

import re

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import Fault


class Misdeed(Fault):
    """One bad job a round: it ends as it must, and nobody else's job is lost by it."""

    rounds = 1
    long = (3_000, 10)
    ends = "dead"
    says = ""  # in its error
    how = ""
    args: tuple[str, ...] = ()  # of the worker
    timeout = 30.0  # seconds

    def arrange(self, arena: Arena) -> None:
        self.worker = arena.worker(*self.args)

    def strike(self, arena: Arena) -> None:
        from tests.chaos.app import tasks

        self.how = self.how or self.name
        task = tasks.misbehave.using(priority=9, timeout=self.timeout)
        result = task.enqueue(self.how)
        arena.expected[result.id] = (self.ends, self.says)
        patience = self.timeout + self.patience
        arena.wait(lambda: _ended(result), f"{self.name} has come to its end", patience)

    def verify(self, arena: Arena, census: Census) -> list[str]:
        from tests.chaos.app import tasks

        complaints = [] if self.worker.process.returncode in (None, 0) else ["the worker ended"]
        for id, (_, says) in arena.expected.items():
            errors = [str(e.traceback) for e in tasks.misbehave.get_result(id).errors]
            if not any(re.search(says, error) for error in errors):
                complaints.append(f"none of its errors says {says!r}: {str(errors)[-300:]}")
        return complaints


def _ended(result: object) -> bool:
    result.refresh()  # type: ignore[attr-defined]
    return bool(result.is_ended)  # type: ignore[attr-defined]


class Exit(Misdeed):
    name = "exit"
    title = "`os._exit` in a task"
    says = "exit code 7"


class Segfault(Misdeed):
    name = "segfault"
    title = "segfault in a task"
    quick = True
    says = "SIGSEGV"


class OutOfMemoryKiller(Misdeed):
    name = "oom-killer"
    title = "SIGKILL as from the kernel's memory killer"
    says = "probably out of memory"


class Endless(Misdeed):
    """Ends with its timeout."""

    timeout = 1.0
    says = "TaskTimeout"


class EndlessC(Endless):
    """A call into C that lets the other threads run."""

    name = "endless-c"
    title = "endless call into C"


class EndlessCWithLock(Endless):
    """A call into C that holds the interpreter: the supervisor alone can end it."""

    name = "endless-c-gil"
    title = "endless call into C that holds the interpreter"
    long = (3_000, 2)
    says = "TaskTimeout|SIGKILL"


class EndlessPython(Endless):
    name = "endless-python"
    title = "endless loop in Python"


class MemoryBomb(Misdeed):
    """Stopped by a limit of its own; the process, grown beyond --max-memory, is replaced.

    It stays below twice of that, where it would be killed.
    """

    name = "memory-bomb"
    title = "memory bomb, `--max-memory`"
    says = "MemoryError"
    args = ("--max-memory", "200")


class Recursion(Misdeed):
    name = "recursion"
    title = "endless recursion"
    says = "RecursionError"
    most_again = 0


class SystemExitRaised(Misdeed):
    name = "system-exit"
    title = "`SystemExit`"
    says = "SystemExit"
    most_again = 0


class KeyboardInterruptRaised(Misdeed):
    name = "keyboard-interrupt"
    title = "`KeyboardInterrupt`"
    says = "KeyboardInterrupt"
    most_again = 0
