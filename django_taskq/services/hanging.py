"""Says where the code of a child is that does not answer itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from ..broker.roster import Roster
from ..child_process import ChildProcess
from ..clock import monotonic
from ..service import FOREVER, Service
from ..stacks import shortened

ANSWER = 1.0  # seconds that a child has to answer an order, which its event loop does
WRITE = 0.2  # seconds in which its threads' frames are written
SILENT = "Process {pid} does not answer: code that runs in it lets nothing else run.\n"


class Hanging(Service):
    """At work only after somebody asked.

    Code in C that keeps the interpreter's lock stops a child's event loop too. The frames of its
    threads are then written by a signal handler of faulthandler, which needs no lock.
    """

    def __init__(self, roster: Roster, children: Callable[[], Iterable[ChildProcess]]) -> None:
        super().__init__()
        self.due = FOREVER
        self._roster = roster
        self._children = children
        self._asked = 0.0
        self._aloud = self._wanted = False  # on stderr, in Redis
        self._probed: list[ChildProcess] = []

    def ask(self, *, aloud: bool = False) -> None:
        """All children were just ordered to say it. ``aloud``: on stderr instead of into Redis."""
        self._aloud, self._wanted = self._aloud or aloud, self._wanted or not aloud
        self._asked, self._probed = monotonic(), []
        self.due = self._asked + ANSWER

    def tick(self) -> float:
        if self._probed:
            self._say()
            self._aloud = self._wanted = False
            return FOREVER
        self._probed = [c for c in self._children() if 0 < c.table.alive_at < self._asked]
        for child in self._probed:
            child.probe()
        return WRITE if self._probed else FOREVER

    def _say(self) -> None:
        said = {child.holder: report(child) for child in self._probed}
        self._probed = []
        if self._aloud:
            sys.stderr.write("\n".join(said.values()) + "\n")
        if self._wanted:
            for holder, text in said.items():
                self._roster.tell(holder, text)


def report(child: ChildProcess) -> str:
    """What is known of a child without asking it: its jobs, and where its threads are."""
    pid = child.process.pid
    jobs = "".join(f"Job {row.id} runs in it.\n" for row in child.table.rows())
    return f"{SILENT.format(pid=pid)}{jobs}\n{shortened(child.frames())}"
