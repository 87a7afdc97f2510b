# ruff: noqa: TID253 - imported by the engines only
"""Tracks the sizes that slots need, and decides when a stack shrinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Size, Tensor

__all__ = ["StackSizes"]

Key = tuple[str, str]  # layer, part

SHRINK_AT = 4  # a stack shrinks when it is at least this many times larger than its slots need
PATIENCE = 8  # consecutive writes that do not need a stack's size, before it shrinks


class StackSizes:
    """Sizes of the arrays in each slot, by layer and part.

    A slot that is cleared lets a stack shrink at once, because its adapter is gone for good. A slot that is
    overwritten does not: the adapter was evicted and may be loaded again soon, so a stack waits for
    `PATIENCE` writes that do not need its size.
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[Key, Size]] = {}
        self._held: dict[Key, Counter[Size]] = {}
        self._unneeded: Counter[Key] = Counter()  # consecutive writes

    def set(self, slot: int, values: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Record the sizes of a slot's values; without values it is empty."""
        for key, size in self._slots.pop(slot, {}).items():
            held = self._held[key]
            held[size] -= 1
            if not held[size]:
                del held[size]
        if not values:
            return
        sizes = {(layer, part): v.shape for layer, parts in values.items() for part, v in parts.items()}
        self._slots[slot] = sizes
        for key, size in sizes.items():
            self._held.setdefault(key, Counter())[size] += 1

    def needed(self, layer: str, part: str) -> tuple[int, ...]:
        """Return the smallest size that has room for every slot; () if no slot holds this part."""
        held = self._held.get((layer, part))
        return tuple(map(max, *held)) if held and len(held) > 1 else tuple(*held) if held else ()

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
