"""QueuePlaces of a queue of limited size, of which no caller can take all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from hub.engine.shares import Flow

__all__ = ["QueuePlaces"]

Member = TypeVar("Member")


class QueuePlaces:
    """Counts the places that each caller and each flow has taken. Not thread-safe.

    Anybody can take places while there are free ones. When there are none, a caller with less than an equal
    share of the limit still gets in, and so does such a flow: the queue then exceeds the limit, by a factor
    that grows with the logarithm of their number.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._callers: Counter[str] = Counter()
        self._flows: Counter[Flow] = Counter()
        self._taken = 0

    def __len__(self) -> int:
        return self._taken

    def largest_share(self) -> float:
        """Return the part of the taken places that one flow has, the largest."""
        return max(self._flows.values(), default=0) / max(self._taken, 1)

    def fit(self, flow: Flow, count: int) -> bool:
        """Return whether `count` more places may be taken."""
        if not self._taken or self._taken + count <= self.limit:
            return True
        return self._within_share(self._callers, flow.caller, count) or self._within_share(
            self._flows, flow, count
        )

    def take(self, flow: Flow, count: int) -> None:
        """Take places."""
        self._taken += count
        self._callers[flow.caller] += count
        self._flows[flow] += count

    def give_back(self, flow: Flow, count: int) -> None:
        """Give places back."""
        self._taken -= count
        self._callers[flow.caller] -= count
        self._flows[flow] -= count
        if not self._callers[flow.caller]:
            del self._callers[flow.caller]
        if not self._flows[flow]:
            del self._flows[flow]

    @contextmanager
    def held(self, flow: Flow, count: int) -> Iterator[None]:
        """Take places during the block."""
        self.take(flow, count)
        try:
            yield
        finally:
            self.give_back(flow, count)

    def _within_share(self, taken: Counter[Member], member: Member, count: int) -> bool:
        members = len(taken) + (member not in taken)
        return taken[member] + count <= self.limit // members
