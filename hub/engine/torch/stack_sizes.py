# ruff: noqa: TID253 - imported by the engines only
"""Tracks the sizes that slots need, and decides when a stack shrinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain

from torch import Size, Tensor

__all__ = ["Sizes", "StackSizes", "sizes_of"]

Key = tuple[str, str]  # layer, part
Sizes = frozenset[tuple[Key, Size]]
_EMPTY: Sizes = frozenset()

SHRINK_AT = 4  # a stack shrinks when it is at least this many times larger than its slots need
PATIENCE = 8  # consecutive writes that do not need a stack's size, before it shrinks


def sizes_of(values: Mapping[str, Mapping[str, Tensor]]) -> Sizes:
    """Return the sizes of an adapter's arrays, given by layer and part."""
    return frozenset(((layer, part), v.shape) for layer, parts in values.items() for part, v in parts.items())


class StackSizes:
    """Sizes of the arrays in each slot, by layer and part.

    A slot that is cleared lets a stack shrink at once, because its adapter is gone for good. A slot that is
    overwritten does not: the adapter was evicted and may be loaded again soon, so a stack waits for
    `PATIENCE` writes that do not need its size.

    Most adapters have arrays of the same sizes, so all sizes of a slot are compared at once.
    """

    def __init__(self) -> None:
        self._slots: dict[int, Sizes] = {}
        self._held: Counter[Sizes] = Counter()  # by how many slots
        self._needed: dict[Key, tuple[int, ...]] = {}
        self._unneeded: Counter[Key] = Counter()  # consecutive writes

    def are_held(self, sizes: Sizes) -> bool:
        """Return whether a slot has values of these sizes, so that they fit into every stack."""
        return not sizes or sizes in self._held

    def set(self, slot: int, sizes: Sizes) -> bool:
        """Record the sizes of a slot's values; returns whether a stack may be larger than needed."""
        old = self._slots.get(slot, _EMPTY)
        self._slots[slot] = sizes
        if self._count(sizes, 1) | self._count(old, -1):
            self._needed = {}
            for key, size in chain.from_iterable(self._held):
                self._needed[key] = tuple(map(max, size, self._needed.get(key, size)))
            return True
        return bool(self._unneeded)

    def _count(self, sizes: Sizes, more: int) -> bool:
        """Count slots with these sizes; returns whether the first came or the last left."""
        if not sizes:
            return False
        before = self._held[sizes]
        self._held[sizes] += more
        if not self._held[sizes]:
            del self._held[sizes]
        return before == 0 or before + more == 0

    def needed(self, layer: str, part: str) -> tuple[int, ...]:
        """Return the smallest size that has room for every slot; () if no slot holds this part."""
        return self._needed.get((layer, part), ())

    def may_shrink(self, layer: str, part: str, have: int, need: int, *, cleared: bool) -> bool:
        """Return whether a stack of `have` numbers per slot should shrink to `need`; call once per write."""
        key = layer, part
        if need * SHRINK_AT > have:
            self._unneeded.pop(key, None)
            return False
        self._unneeded[key] += 1
        if not cleared and self._unneeded[key] < PATIENCE:
            return False
        del self._unneeded[key]
        return True
