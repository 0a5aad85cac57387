"""A proxy between everybody and the server: replies get lost, connections stall or go dead."""

from __future__ import annotations

from tests.chaos.arena import Arena
from tests.chaos.checker import Census
from tests.chaos.fault import SHORT_LEASE, Fault
from tests.engine.proxy import Proxy

LOST = 3  # replies at least, of the producer and of workers, in a round


class Network(Fault):
    """Workers and producer reach the server through the proxy; the checker goes past it."""

    def serve(self, arena: Arena) -> None:
        super().serve(arena)
        self.proxy = Proxy(arena.server.url)
        arena.url = self.proxy.url


class LostReply(Network):
    """Scripts run and their replies are lost: calls made again do nothing twice.

    Every other time they are made again late, when the jobs have moved on.
    """

    name = "lost-reply"
    title = "replies lost after the script ran, three to producer and workers each"
    quick = True
    most_again = 0
    rounds = 8
    long = (20_000, 200)
    window = 30  # a queue so short that a job is done before its enqueue is made again
    news = 0.7  # seconds

    def serve(self, arena: Arena) -> None:
        """Workers and producer have a proxy each, so that both lose replies in every round."""
        super().serve(arena)
        self.proxies = [self.proxy, Proxy(arena.server.url)]  # the producer first: workers are busy

    def arrange(self, arena: Arena) -> None:
        arena.url = self.proxies[1].url
        arena.worker()

    def strike(self, arena: Arena) -> None:
        for proxy in self.proxies:
            target = proxy.lost + LOST
            proxy.news = self.news * (arena.struck % 2)
            proxy.losing = True
            arena.wait(lambda p=proxy, t=target: p.lost >= t, "replies are lost")
            proxy.losing = False

    def verify(self, arena: Arena, census: Census) -> list[str]:
        lost = [proxy.lost for proxy in self.proxies]
        arena.notes.append(f"{lost[0]} of the producer, {lost[1]} of workers")
        return [] if min(lost) >= LOST * arena.struck else ["no reply was lost"]


class Stall(Network):
    """Nothing passes for longer than a reply may take; then everything does, late calls too."""

    name = "stall"
    title = "connections stall, 3 s"
    most_again = 0
    rounds = 1
    long = (5_000, 20)
    seconds = 3.0

    def strike(self, arena: Arena) -> None:
        self.proxy.flowing.clear()
        arena.pass_time(self.seconds)
        self.proxy.flowing.set()


class StallBeyondLease(Stall):
    """The same for longer than a lease: what ran elsewhere meanwhile does not count twice."""

    name = "stall-lease"
    title = "connections stall, 9 s, longer than the lease"
    most_again = -1
    lease = SHORT_LEASE
    lapses = True
    seconds = 9.0


class HalfOpen(Network):
    """The other end of every connection is gone and nobody says so."""

    name = "half-open"
    title = "half-open connections"
    most_again = 0
    rounds = 1
    long = (5_000, 20)

    def strike(self, arena: Arena) -> None:
        self.proxy.fall_silent()
