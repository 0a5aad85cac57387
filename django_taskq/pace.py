"""How far ahead a child claims: as much as it will run in a few milliseconds.

Prefetch hides the round trip; jobs that wait in one child while another idles are its price, so
nothing is buffered that is slow, or of a task whose speed nobody has seen.
"""

from __future__ import annotations

AHEAD = 0.010  # seconds of work to hold at the most
LEAST, MOST = 64, 500  # jobs; fewer than 64 a round trip cost more than they gain
TRIPS = 4  # round trips that a batch should outlast
WEIGHT = 0.2  # of the latest observation
SHORT = 0.001  # seconds: a job for which waking another thread costs more than it brings
SAMPLE = 16  # one job in so many is asked for its CPU time


class Pace:
    """Moving averages of run time and round trip, in seconds."""

    def __init__(self) -> None:
        self.run: float | None = None
        self.trip = 0.001
        self.blocked = 0.0  # share of the run time in which a job leaves the interpreter alone
        self.unknown = 0  # running jobs of tasks that nobody saw end
        self._tasks: dict[str, float] = {}

    def begins(self, task: str) -> bool:
        """A job of ``task`` starts; whether the task's speed is unknown. Pass that to ``ran``."""
        if task in self._tasks:
            return False
        self.unknown += 1
        return True

    def ran(self, task: str, seconds: float, was_unknown: bool) -> None:
        """A job of ``task`` took so long."""
        self.unknown -= was_unknown
        known = self._tasks.get(task)
        if known is None:
            self._tasks[task] = seconds
        else:
            self._tasks[task] = known + WEIGHT * (seconds - known)
        self.run = seconds if self.run is None else self.run + WEIGHT * (seconds - self.run)

    def waited(self, share: float) -> None:
        """A job that ran alone spent this share of its time waiting."""
        self.blocked += WEIGHT * (share - self.blocked)

    @property
    def one_thread_is_best(self) -> bool:
        """Whether jobs are short and busy: more threads would only wait for the interpreter."""
        return self.run is not None and self.run < SHORT and self.blocked < 0.5

    def travelled(self, seconds: float) -> None:
        """A round trip took so long."""
        self.trip += WEIGHT * (seconds - self.trip)

    def ahead(self) -> int:
        """Jobs worth holding beyond those that run."""
        if self.run is None or self.unknown:
            return 0
        run = max(self.run, 1e-6)
        wanted = min(max(LEAST, TRIPS * self.trip / run), MOST)
        return int(min(wanted, AHEAD / run))
