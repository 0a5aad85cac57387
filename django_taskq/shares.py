"""Which queue gets how much of a child's room."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Shares:
    """Splits room over queues by weight, smoothly, or strictly in order.

    Smooth weighted round robin as nginx does it: each turn every queue gains its weight, the
    richest is served and pays the sum of all.
    """

    def __init__(self, weights: Mapping[str, int], *, strict: bool = False) -> None:
        ordered = sorted(weights, key=lambda name: -weights[name]) if strict else list(weights)
        self.queues = ordered
        self.strict = strict
        self._weights = dict(weights)
        self._credit = dict.fromkeys(ordered, 0)

    def split(self, room: int, dry: Collection[str]) -> dict[str, int]:
        """How many jobs to ask each queue for. ``dry``: queues whose last answer left nothing.

        A dry queue is asked for one beyond the room, so that new work in it is noticed; it rarely
        brings one. Where all are dry they are asked as if none were. Strictly, only the queues
        above the one that is served are asked for one.
        """
        if room <= 0:
            return {}
        rich = [name for name in self.queues if name not in dry]
        if self.strict:
            return self._strictly(rich[0] if rich else self.queues[-1], room)
        rich = rich or self.queues
        asks = {} if len(rich) == len(self.queues) else dict.fromkeys(dry, 1)
        total = sum(self._weights[name] for name in rich)
        for name in rich:
            asks[name] = room // total * self._weights[name]
        for _ in range(room % total):
            asks[self._next(rich)] += 1
        return {name: ask for name, ask in asks.items() if ask}

    def _strictly(self, first: str, room: int) -> dict[str, int]:
        """All of the room for the first queue with work, and a look at those above it."""
        above = self.queues[: self.queues.index(first)]
        return {**dict.fromkeys(above, 1), first: room}

    def _next(self, names: list[str]) -> str:
        for name in names:
            self._credit[name] += self._weights[name]
        richest = max(names, key=self._credit.__getitem__)
        self._credit[richest] -= sum(self._weights[name] for name in names)
        return richest
