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

    At its load and at each use, a version gets the value H = L + cost. The version of least value is evicted,
    and L, initially 0, rises to its value. An unused version therefore stays until evictions of cheaper ones
    have raised L by its cost; with equal costs, and in ties, the least recently used one goes first.
    (N. Young, "The k-server dual and loose competitiveness for paging", Algorithmica 11, 1994; with sizes,
    which here are all one slot, the GreedyDual-Size of P. Cao and S. Irani, "Cost-aware WWW proxy caching
    algorithms", USITS 1997.)

    Values only rise, so a version's node in the heap is updated when it reaches the top and not at every
    use: `use` takes O(1), `evict` O(log n) for each node that it pops.
    """

    def __init__(self) -> None:
        self._floor = 0.0  # L
        self._cost: dict[str, float] = {}
        self._value: dict[str, tuple[float, int]] = {}  # H, and when last used
        self._heap: list[tuple[float, int, str]] = []
        self._clock = count()

    def add(self, key: str, cost: float, *, used: bool = True) -> None:
        """Add a version with its load cost, in any unit that all versions share.

        A version that is not `used` yet has the value L.

        Raises:
            ValueError: the cost is negative, infinite or not a number.
        """
        if not 0 <= cost < math.inf:
            raise ValueError(f"{key!r} cannot cost {cost} to load.")
        self._cost[key] = cost
        self._value[key] = (self._floor + (cost if used else 0.0), next(self._clock))
        heappush(self._heap, (*self._value[key], key))
        if len(self._heap) > 2 * len(self._value) + _SLACK:
            self._heap = [(*value, key) for key, value in self._value.items()]
            heapify(self._heap)

    def use(self, key: str) -> None:
        """Record a use of a version."""
        self._value[key] = (self._floor + self._cost[key], next(self._clock))

    def remove(self, key: str) -> None:
        """Remove a version, if it is known."""
        self._cost.pop(key, None)
        self._value.pop(key, None)

    def evict(self, may: Callable[[str], bool]) -> str | None:
        """Remove and return the version of least value for which `may` is true, or None."""
        passed: set[tuple[float, int, str]] = set()
        try:
            while self._heap:
                node = heappop(self._heap)
                key = node[2]
                value = self._value.get(key)
                if value is None:
                    continue
                if node[:2] != value:
                    heappush(self._heap, (*value, key))
                elif may(key):
                    self.remove(key)
                    self._floor = max(self._floor, value[0])
                    return key
                else:
                    passed.add(node)
            return None
        finally:
            for node in passed:
                heappush(self._heap, node)

    def order(self) -> Iterable[str]:
        """Return all versions, by increasing value."""
        return sorted(self._value, key=self._value.__getitem__)
