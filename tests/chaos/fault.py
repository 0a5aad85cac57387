"""What a fault is: how it is set up, done, and judged."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from tests.chaos.arena import Arena
    from tests.chaos.checker import Census

FLAKY = 20  # one job of so many fails once
SHORT_LEASE = 5.0  # seconds, where one has to end: the shortest there may be
FAULTS: dict[str, type[Fault]] = {}


class Fault:
    """One way in which things go wrong. Its subclasses are the rows of the table.

    The runner starts what ``arrange`` says, keeps jobs coming, calls ``strike`` once a round
    (it returns when the fault is over; the arena waits for the recovery), lets everything come
    to its end, and asks ``verify`` what only this fault knows.
    """

    name = ""
    title = ""  # in the published table
    level = ""  # of durability, where that is what counts
    jobs = 300  # at least, in a short run
    rounds = 2
    long = (5_000, 10)  # jobs and rounds of a long run
    quick = False  # part of make test-servers
    slow = False  # tried only when it is named, or in the long run
    aof = "no"
    lease = 15.0  # seconds, so that no machine is too slow to renew it
    window = 150  # jobs in Redis at once; 0: all
    pause = 0.01  # seconds between two calls of enqueue
    bulk = 25  # jobs of one call in two; the others are of one job
    task_ms = 10.0
    most_again = -1  # jobs that may be done twice; -1: those in flight at a fault
    forgets = False  # the server may lose what it had
    lapses = False  # leases of the living may end
    spends = False  # it may cost jobs an attempt
    patience = 60.0  # seconds for everything to end
    recovers = float("inf")  # seconds in which it has to have recovered, without Arena.starting
    server_options: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        if cls.name:
            FAULTS[cls.name] = cls

    def serve(self, arena: Arena) -> None:
        """Starts the server, before Django is set up."""
        arena.start_server(self.aof, **self.server_options)

    def arrange(self, arena: Arena) -> None:
        """Starts the workers."""
        arena.worker()

    def make(self, number: int) -> tuple[Any, tuple[Any, ...]]:
        """The task and the arguments of a job of the load."""
        from tests.chaos.app import tasks

        task = tasks.awork if number % 7 == 6 else tasks.work
        if number % FLAKY == FLAKY - 1:
            task = tasks.flaky
        return task, (number, self.task_ms)

    def attempts(self, number: int) -> int:
        """What a job of the load that succeeded was charged."""
        return 2 if number % FLAKY == FLAKY - 1 else 1

    def attack(self, arena: Arena, rounds: int) -> None:
        """All rounds."""
        for _ in range(rounds):
            arena.round()

    def fill(self, arena: Arena, jobs: int) -> None:
        """Before the first round, while jobs are coming."""

    def strike(self, arena: Arena) -> None:
        """The fault, once."""
        raise NotImplementedError

    def settle(self, arena: Arena) -> None:
        """After the last round, before everything comes to its end."""

    def verify(self, arena: Arena, census: Census) -> list[str]:
        """What is wrong beyond what is wrong after any fault."""
        return []


def load_faults() -> dict[str, type[Fault]]:
    """Every fault there is, by its name, in the order of their files."""
    folder = Path(__file__).with_name("faults")
    for path in sorted(folder.glob("[a-z]*.py")):
        import_module(f"tests.chaos.faults.{path.stem}")
    return FAULTS
