# ruff: noqa: TID253 - imported by the backbones of graphs only
"""The inputs of one run of a graph, kept for the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Generic, TypeVar

from torch import Tensor

from hub.engine.torch.stacks import Parts

__all__ = ["StackBinding"]

Values = TypeVar("Values")


class StackBinding(Generic[Values]):
    """What a runtime binds inputs to, with the stacks that are bound to it."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self._bound: Mapping[str, Parts] | None = None

    def reads(self, layers: Mapping[str, Parts]) -> bool:
        """Return whether these stacks are bound."""
        return self._bound is layers

    def bind(
        self, layers: Mapping[str, Parts], stacks: Set[str], put: Callable[[Values, str, Tensor], object]
    ) -> None:
        """Bind the stacks with these names by `put`, if others were bound."""
        if layers is self._bound:
            return
        for name in stacks:
            part, _, layer = name.partition(".")
            put(self.values, name, getattr(layers[layer], part))
        self._bound = layers
