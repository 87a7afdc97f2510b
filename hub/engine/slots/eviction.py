"""Selects the version to evict: the least recently used, weighted by its reload cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from itertools import count

__all__ = ["GreedyDual"]

_SLACK = 64  # outdated nodes in the heap before it is rebuilt


class GreedyDual:
    """The eviction order of versions (GreedyDual); not thread-safe.

    A version is worth H = L + cost from its load or its last use on. The one worth least is evicted, and
    L, 0 at first, rises to what it was worth. So a version that nobody uses stays until the others cost
    as much to load as it does; where all cost the same, this is least recently used first, which also
    breaks ties. (N. Young, "The k-server dual and loose competitiveness for paging", Algorithmica 11,
    1994; with sizes, which here are all one slot, the GreedyDual-Size of P. Cao and S. Irani,
    "Cost-aware WWW proxy caching algorithms", USITS 1997.)

    What a version is worth only rises, so its node in the heap is renewed when it comes to the top and
    not at every use: `use` takes O(1), `evict` O(log n) for each node that it looks at.
    """

    def __init__(self) -> None:
        self._floor = 0.0  # L
        self._cost: dict[str, float] = {}
        self._worth: dict[str, tuple[float, int]] = {}  # H, and when last used
        self._heap: list[tuple[float, int, str]] = []
        self._clock = count()

    def add(self, key: str, cost: float, *, used: bool = True) -> None:
        """Add a version with its load cost, in any unit that all versions share.

        A version that is not `used` yet is worth L until it is.

        Raises:
            ValueError: the cost is negative, infinite or not a number.
        """
        if not 0 <= cost < math.inf:
            raise ValueError(f"{key!r} cannot cost {cost} to load.")
        self._cost[key] = cost
        self._worth[key] = (self._floor + (cost if used else 0.0), next(self._clock))
        heappush(self._heap, (*self._worth[key], key))
        if len(self._heap) > 2 * len(self._worth) + _SLACK:
            self._heap = [(*worth, key) for key, worth in self._worth.items()]
            heapify(self._heap)

    def use(self, key: str) -> None:
        """Record a use of a version."""
        self._worth[key] = (self._floor + self._cost[key], next(self._clock))

    def remove(self, key: str) -> None:
        """Remove a version, if it is known."""
        self._cost.pop(key, None)
        self._worth.pop(key, None)

    def evict(self, may: Callable[[str], bool]) -> str | None:
        """Remove and return the least valuable version for which `may` is true, or None."""
        passed: set[tuple[float, int, str]] = set()
        try:
            while self._heap:
                node = heappop(self._heap)
                key = node[2]
                worth = self._worth.get(key)
                if worth is None:
                    continue
                if node[:2] != worth:
                    heappush(self._heap, (*worth, key))
                elif may(key):
                    self.remove(key)
                    self._floor = max(self._floor, worth[0])
                    return key
                else:
                    passed.add(node)
            return None
        finally:
            for node in passed:
                heappush(self._heap, node)

    def order(self) -> Iterable[str]:
        """Return all versions, the least valuable first."""
        return sorted(self._worth, key=self._worth.__getitem__)
