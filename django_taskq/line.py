"""Names in the order of their times, each once, of which any may be given another time."""

from __future__ import annotations

import heapq
from itertools import count

SLACK = 100  # void places that are let be


class Line:
    """A heap. A name that gets another time leaves a void place behind, until they are many."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._places: dict[str, int] = {}  # name -> its place that counts
        self._numbers = count(1)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, name: str, when: float) -> None:
        """Puts a name in line, or elsewhere in it."""
        number = self._places[name] = next(self._numbers)
        heapq.heappush(self._heap, (when, number, name))
        if len(self._heap) > 2 * len(self._places) + SLACK:
            self._heap = [item for item in self._heap if self._places.get(item[2]) == item[1]]
            heapq.heapify(self._heap)

    def drop(self, name: str) -> None:
        """Takes a name out of line."""
        self._places.pop(name, None)

    def pop(self, now: float, most: int) -> list[str]:
        """Up to ``most`` names whose time has come, out of line."""
        due: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(due) < most:
            _, number, name = heapq.heappop(self._heap)
            if self._places.get(name) == number:
                del self._places[name]
                due.append(name)
        return due

    def head(self) -> float:
        """When the first is due at the earliest; infinity when there is none."""
        return self._heap[0][0] if self._heap else float("inf")
