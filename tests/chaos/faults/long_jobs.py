"""Nothing but work that takes longer than a lease."""

from __future__ import annotations

from tests.chaos.arena import Arena
from tests.chaos.holding import Holding


class LongJobs(Holding):
    """Every slot is held for two leases: no claim renews them, only the renewal does."""

    name = "long-jobs"
    title = "no fault: jobs that run for two leases"
    rounds = 1
    long = (2_000, 10)
    most_again = 0
    lease = (
        8.0  # short enough to wait for two, and long enough that no machine is too slow to renew it
    )

    def strike(self, arena: Arena) -> None:
        gate = arena.home / f"gate-{arena.struck}"
        held = self.hold(arena, gate)
        arena.pass_time(2 * self.lease)
        gate.touch()
        arena.wait(lambda: all(n in arena.ledger.done for n in held), "the held jobs end")
