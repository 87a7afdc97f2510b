"""Fair shares: who is served next, so that each member gets service in proportion to its weight.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): deficit round robin with the members sorted by their
deficit. A member's `spent` is the cost of what it was served, divided by its weight; the member that has
spent least is next. One that was idle joins where the service in progress began: it cannot save up service,
and is next, unless it was served more than the others not long ago.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Costed", "Flow", "FlowShares", "Shares"]

Member = TypeVar("Member", bound=Hashable)
Item = TypeVar("Item")
Costed = tuple[float, Item]
"""An item with the cost of serving it."""


class Flow(NamedTuple):
    """The rows of one caller to one deployment; `weight` is the caller's."""

    caller: str = ""
    deployment: str = ""
    weight: float = 1.0


class Shares(Generic[Member]):
    """What each member has spent. Not thread-safe."""

    def __init__(self) -> None:
        self._active: dict[Member, float] = {}
        self._idle: dict[Member, float] = {}  # only those that have spent more than an active one
        self._now = 0.0  # least spent of the active ones when service last began; never decreases

    def __len__(self) -> int:
        return len(self._active)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._active)

    def join(self, member: Member) -> None:
        """Make a member active; it may be already."""
        if member not in self._active:
            self._active[member] = max(self._idle.pop(member, 0.0), self._now)

    def leave(self, member: Member) -> None:
        """Make an active member idle."""
        self._idle[member] = self._active.pop(member)
        if not self._active:
            self._idle.clear()
            self._now = 0.0

    def charge(self, member: Member, cost: float) -> None:
        """Count service of an active member, with its cost divided by its weight."""
        self._advance()
        self._active[member] += cost

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


class FlowShares:
    """Shares at two levels: callers by their weights, and the deployments of a caller equally.

    So a caller gets no larger share by using many deployments. Not thread-safe.
    """

    def __init__(self) -> None:
        self._callers: Shares[tuple[str, float]] = Shares()
        self._flows: dict[tuple[str, float], Shares[Flow]] = {}

    def join(self, flow: Flow) -> None:
        """Make a flow active; it may be already."""
        self._callers.join(_payer(flow))
        self._flows.setdefault(_payer(flow), Shares()).join(flow)

    def leave(self, flow: Flow) -> None:
        """Make an active flow idle."""
        payer = _payer(flow)
        self._flows[payer].leave(flow)
        if not self._flows[payer]:
            del self._flows[payer]
            self._callers.leave(payer)

    def charge(self, flow: Flow, cost: float) -> None:
        """Count service of an active flow."""
        self._callers.charge(_payer(flow), cost / flow.weight)
        self._flows[_payer(flow)].charge(flow, cost)

    def next(self) -> Flow:
        """Return the flow that is served next."""
        return self._flows[self._callers.next()].next()

    def order(self, items: Callable[[Flow], Iterator[Costed[Item]]]) -> Iterator[Costed[Item]]:
        """Yield the items of all active flows, with their costs, in the order in which they are served."""
        return _merged(
            (
                self._callers.spent(payer),
                payer[1],
                _merged([(flows.spent(flow), 1.0, items(flow)) for flow in flows]),
            )
            for payer, flows in self._flows.items()
        )


def _payer(flow: Flow) -> tuple[str, float]:
    return flow.caller, flow.weight


def _merged(members: Iterable[tuple[float, float, Iterator[Costed[Item]]]]) -> Iterator[Costed[Item]]:
    """Yield the items of several members in the order in which they are served.

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
