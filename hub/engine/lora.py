# ruff: noqa: TID253 - imported by the torch and onnx engines only
"""LoRA of many adapters in one forward: per-slot stacks, one gather and two products per layer.

For row i of a batch, y[i] = W x[i] + b + B[slot[i]] (A[slot[i]] x[i]), as in S-LoRA and Punica
(arXiv:2311.03285, arXiv:2310.18547), with dense stacks instead of paged ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hub.engine.protocol import LoraPair
from hub.errors import BadAdapter

__all__ = ["LoraLayers", "SlotContext", "SlottedLinear", "Stack", "add_low_rank", "slot_linear"]


class SlotContext:
    """The slot of every row of the forward under way; each engine sets its own before it runs one."""

    __slots__ = ("slots",)

    def __init__(self) -> None:
        self.slots = torch.empty(0, dtype=torch.int64)  # [B]


class Stack(NamedTuple):
    """The low-rank updates of one layer, all slots; unused ranks and slots are zero."""

    a: Tensor  # [S+1, in, r]; transposed, which makes its product three times faster on a CPU
    b: Tensor  # [S+1, out, r]

    @property
    def rank(self) -> int:
        return self.a.shape[2]

    def put(self, slot: int, pair: LoraPair | None) -> None:
        """Overwrite one slot in place; None clears it."""
        self.a[slot].zero_()
        self.b[slot].zero_()
        if pair is not None:
            rank = pair.a.shape[0]
            self.a[slot, :, :rank] = torch.tensor(pair.a).T
            self.b[slot, :, :rank] = torch.tensor(pair.b)


def add_low_rank(y: Tensor, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add each row's b (aᵀ x) to y in place; x is [B, T, in] or [B, in], a [B, in, r], b [B, out, r]."""
    if x.dim() == 2:
        return add_low_rank(y.unsqueeze(1), x.unsqueeze(1), a, b).squeeze(1)
    return y.baddbmm_(torch.bmm(x, a), b.transpose(1, 2))


class SlottedLinear(nn.Linear):
    """A linear layer that adds the update in each row's slot; shares the parameters it replaces."""

    def __init__(self, linear: nn.Linear, context: SlotContext, stack: Stack) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.context = context
        self.stack = stack

    def forward(self, input: Tensor) -> Tensor:
        y = functional.linear(input, self.weight, self.bias)
        slots, (a, b) = self.context.slots, self.stack
        return add_low_rank(y, input, a.index_select(0, slots), b.index_select(0, slots))


def slot_linear(backbone: nn.Module, path: str, context: SlotContext, stack: Stack) -> SlottedLinear:
    """Put a slotted layer in the place of the linear one at `path`."""
    linear = backbone.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    slotted = SlottedLinear(linear, context, stack)
    parent, _, leaf = path.rpartition(".")
    setattr(backbone.get_submodule(parent), leaf, slotted)
    return slotted


class LoraLayers:
    """The slotted layers of one backbone.

    A layer is left alone until the first adapter that touches it is written. Callers see to it that
    one thread writes at a time; a forward may run meanwhile, since slots are written in place and
    anything larger is made aside and swapped in by assignment.
    """

    def __init__(self, backbone: nn.Module, slots: int, context: SlotContext) -> None:
        self._backbone = backbone
        self._slots = slots
        self._context = context
        self._linears = {name: m for name, m in backbone.named_modules() if isinstance(m, nn.Linear)}
        self.stacks: Mapping[str, Stack] = MappingProxyType({})
        """By module path; replaced by a new mapping when a layer or a rank is added, never changed."""

    def check(self, lora: Mapping[str, LoraPair]) -> None:
        """Raise BadAdapter unless every pair fits a linear layer of this backbone."""
        for path, pair in lora.items():
            linear = self._linears.get(path)
            if linear is None:
                raise BadAdapter(
                    f"The base has no linear layer {path!r}: the adapter was trained on another kind of base."
                )
            if (linear.in_features, linear.out_features) != (pair.a.shape[1], pair.b.shape[0]):
                raise BadAdapter(
                    f"Layer {path!r} of the base maps {linear.in_features} to {linear.out_features} values, "
                    f"but the adapter's update maps {pair.a.shape[1]} to {pair.b.shape[0]}."
                )

    def write(self, slot: int, lora: Mapping[str, LoraPair]) -> None:
        """Put checked pairs into a slot that no running forward reads, clearing what it held."""
        grown = {path: self._grown(path, pair) for path, pair in lora.items() if self._is_short(path, pair)}
        stacks = {**self.stacks, **grown}
        for path, stack in stacks.items():
            stack.put(slot, lora.get(path))
        for path, stack in grown.items():
            self._publish(path, stack)
        if grown:
            self.stacks = MappingProxyType(stacks)

    def clear(self, slot: int) -> None:
        """Zero one slot."""
        self.write(slot, {})

    @property
    def slot_bytes(self) -> int:
        """Bytes that one slot takes now."""
        return _nbytes(tensor for stack in self.stacks.values() for tensor in stack) // (self._slots + 1)

    def _is_short(self, path: str, pair: LoraPair) -> bool:
        return path not in self.stacks or self.stacks[path].rank < pair.a.shape[0]

    def _grown(self, path: str, pair: LoraPair) -> Stack:
        """Return a new stack for the pair's rank that holds what the old one holds."""
        weight, rank, rows = self._linears[path].weight, pair.a.shape[0], self._slots + 1
        stack = Stack(
            weight.new_zeros(rows, weight.shape[1], rank, requires_grad=False),
            weight.new_zeros(rows, weight.shape[0], rank, requires_grad=False),
        )
        if old := self.stacks.get(path):
            stack.a[:, :, : old.rank] = old.a
            stack.b[:, :, : old.rank] = old.b
        return stack

    def _publish(self, path: str, stack: Stack) -> None:
        linear = self._linears[path]
        if isinstance(linear, SlottedLinear):
            linear.stack = stack
        else:
            self._linears[path] = slot_linear(self._backbone, path, self._context, stack)


def _nbytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
