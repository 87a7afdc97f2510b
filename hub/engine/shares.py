"""Fair shares: who is served next, so that each member gets service in proportion to its weight.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): deficit round robin with the members sorted by their
deficit. A member's `spent` is the cost of what it was served, divided by its weight; the member that has
spent least is next. One that was idle joins at the least `spent` of the active ones: it can neither save up
service nor lose its turn.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Flow", "Shares", "merged"]

Member = TypeVar("Member", bound=Hashable)
Item = TypeVar("Item")


class Flow(NamedTuple):
    """The rows of one caller to one deployment; `weight` is the caller's."""

    caller: str = ""
    deployment: str = ""
    weight: float = 1.0


class Shares(Generic[Member]):
    """What each member has spent. Not thread-safe."""

    def __init__(self) -> None:
        self._active: dict[Member, float] = {}
        self._idle: dict[Member, float] = {}  # only those that have spent more than the active ones
        self._now = 0.0  # least spent of the active ones, never decreasing

    def __len__(self) -> int:
        return len(self._active)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._active))

    def join(self, member: Member) -> None:
        """Make a member active; it may be already."""
        if member not in self._active:
            self._active[member] = max(self._idle.pop(member, 0.0), self._now)

    def leave(self, member: Member) -> None:
        """Make a member idle; it may be already."""
        spent = self._active.pop(member, None)
        if not self._active:
            self._idle.clear()
            self._now = 0.0
        elif spent is not None:
            self._idle[member] = spent
            self._advance()

    def charge(self, member: Member, cost: float) -> None:
        """Count service of an active member; `cost` is divided by its weight."""
        self._active[member] += cost
        self._advance()

    def spent(self, member: Member) -> float:
        """Return what an active member has spent."""
        return self._active[member]

    def next(self) -> Member:
        """Return the active member that has spent least; of several, the one that joined first."""
        return min(self._active, key=self._active.__getitem__)

    def _advance(self) -> None:
        self._now = max(self._now, min(self._active.values()))
        if self._idle:
            self._idle = {member: spent for member, spent in self._idle.items() if spent > self._now}


def merged(
    members: Iterable[tuple[float, float, Iterator[tuple[float, Item]]]],
) -> Iterator[tuple[float, Item]]:
    """Yield the items of several members, with their costs, in the order in which they are served.

    A member is what it has spent, its weight, and an iterator of its items with their costs.
    """
    waiting = list(members)
    if len(waiting) == 1:
        yield from waiting[0][2]
        return
    heap = [(spent, number, weight, items) for number, (spent, weight, items) in enumerate(waiting)]
    heapify(heap)
    while heap:
        spent, number, weight, items = heap[0]
        found = next(items, None)
        if found is None:
            heappop(heap)
        else:
            yield found
            heapreplace(heap, (spent + found[0] / weight, number, weight, items))
