# ruff: noqa: TID253 - imported by the engines only
"""Layers that apply each row's slot update: one gather and two products, for any mix of adapters.

For row i of a batch, y[i] = W x[i] + bias + b[slot[i]] (a[slot[i]] x[i]), as in S-LoRA and Punica
(arXiv:2311.03285, arXiv:2310.18547), with dense stacks instead of paged ones; the other parts of an
update (see `Parts`) join where an adapter has them.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hub.engine.torch.stacks import Parts

__all__ = ["SlotContext", "SlotLinear", "SlotNorm", "Slotted", "slot_layer"]


MIN_IN_PLACE = 2**16  # elements of a slot's own weight, from which copying it for each row costs most


class SlotContext(threading.local):
    """The slots of the rows of this thread's current forward; each backbone sets its own before it.

    In a packed batch each sequence has several slots, and `members` is 1 where a token has one of them.
    """

    def __init__(self) -> None:
        self.slots = torch.empty(0, dtype=torch.int64)  # [B], or [B, K]
        self.members: Tensor | None = None  # [B, T, K]

    def select(self, slots: Tensor, places: Tensor | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Set the slots of the next forward: of its rows [B], or of its sequences [B, K] with `places`."""
        self.slots = slots
        self.members = None
        if places is not None:
            every = torch.arange(slots.shape[1], device=slots.device)
            self.members = (places.unsqueeze(-1) == every).to(dtype)

    def vectors(self, stack: Tensor) -> Tensor:
        """Return the vector of each row [B, 1, n], or of each token [B, T, n], of a stack [S, n]."""
        if self.members is None:
            return stack.index_select(0, self.slots).unsqueeze(1)
        chosen = stack.index_select(0, self.slots.flatten())
        return torch.bmm(self.members, chosen.view(*self.slots.shape, -1))


class SlotLinear(nn.Linear):
    """A linear layer with an update per slot; shares the parameters it replaces.

    Without parameters of its own (None), it uses the `weight` and `bias` of the slots.
    """

    def __init__(self, linear: nn.Linear, context: SlotContext, *, own: bool = True) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight if own else None  # type: ignore[assignment]
        self.bias = linear.bias if own else None  # type: ignore[assignment]
        self.context = context
        self.parts = Parts()

    def forward(self, input: Tensor) -> Tensor:
        """Map [B, T, in] or [B, in]; an input that all rows share, [1, T, in], gives a `_PerRow`."""
        if input.dim() == 2:
            return self._rows(input.unsqueeze(1)).squeeze(1)
        y = self._rows(input)
        return y if y.shape[0] == input.shape[0] else y.as_subclass(_PerRow)

    def _rows(self, x: Tensor) -> Tensor:
        parts, context = self.parts, self.context
        slots = context.slots
        y = self._own(x if parts.input_scale is None else x * context.vectors(parts.input_scale), slots)
        if parts.output_scale is not None:
            y = y * context.vectors(parts.output_scale)
        if parts.shift is not None:
            y = y + context.vectors(parts.shift)
        if parts.a is not None and parts.b is not None:
            if context.members is not None:
                return self._packed_update(y, x, parts.a, parts.b, context.members)
            a, b = parts.a.index_select(0, slots), parts.b.index_select(0, slots)
            if x.shape[0] != a.shape[0]:  # an input shared by all rows gets an update per row
                x, y = (t.expand(a.shape[0], -1, -1).contiguous() for t in (x, y))
            if x.shape[1] == 1 and x.dtype is torch.bfloat16 and x.device.type == "cpu":
                # As in a step of generation. torch 2.13 takes about twice as long for these products in bf16.
                return y.add_(torch.bmm(torch.bmm(x.float(), a.float()), b.float()))
            y = y.baddbmm_(torch.bmm(x, a), b)
        return y

    def _packed_update(self, y: Tensor, x: Tensor, a: Tensor, b: Tensor, members: Tensor) -> Tensor:
        """Add each token's update to y [B, T, out]: one product with those of all K slots of its sequence.

        Dynamic sizes come from `members`, which every layer has in common: a graph computes them once.
        """
        rows, tokens, many = members.shape
        slots = self.context.slots
        down = a[slots].transpose(1, 2).reshape(rows, self.in_features, -1)  # [B, in, K * r]
        up = b[slots].view(rows, -1, self.out_features)  # [B, K * r, out]
        inner = torch.bmm(x, down).view(rows, tokens, many, -1)
        inner = (inner * members.unsqueeze(-1)).view(rows, tokens, -1)
        return y.baddbmm_(inner, up)

    def _own(self, x: Tensor, slots: Tensor) -> Tensor:
        weight, bias = self.parts.weight, self.parts.bias
        if weight is None:
            return functional.linear(x, self.weight, self.bias)
        if x.device.type == "cpu" and weight[0].numel() >= MIN_IN_PLACE:
            return _slot_by_slot(x, slots, weight, bias)
        w = weight.index_select(0, slots).mT  # [B, in, out]
        if bias is None:
            return torch.bmm(x, w)
        return torch.baddbmm(self.context.vectors(bias), x, w)


class SlotNorm(nn.Module):
    """A layer normalisation with a shift, or a whole weight and bias, per slot."""

    def __init__(self, norm: nn.LayerNorm, context: SlotContext, *, own: bool = True) -> None:
        super().__init__()
        self.weight: Tensor | None = norm.weight if own else None
        self.bias: Tensor | None = norm.bias if own else None
        self.normalized_shape, self.eps = norm.normalized_shape, norm.eps
        self.context = context
        self.parts = Parts()

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, T, H] or [B, H]."""
        if input.dim() == 2:
            return self._rows(input.unsqueeze(1)).squeeze(1)
        return self._rows(input)

    def _rows(self, x: Tensor) -> Tensor:
        parts, vectors = self.parts, self.context.vectors
        if parts.weight is None:
            y = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        else:
            y = functional.layer_norm(x, self.normalized_shape, None, None, self.eps)
            y = y * vectors(parts.weight)
            y = y if parts.bias is None else y + vectors(parts.bias)
        return y if parts.shift is None else y + vectors(parts.shift)


Slotted = SlotLinear | SlotNorm


def slot_layer(model: nn.Module, path: str, context: SlotContext, *, own: bool = True) -> Slotted:
    """Replace the linear or normalisation layer at `path` by a slotted layer."""
    layer = model.get_submodule(path)
    slotted: Slotted
    if isinstance(layer, nn.Linear):
        slotted = SlotLinear(layer, context, own=own)
    else:
        assert isinstance(layer, nn.LayerNorm)
        slotted = SlotNorm(layer, context, own=own)
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, slotted)
    return slotted


def _slot_by_slot(x: Tensor, slots: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map [B, T, in] by each row's slot of `weight` [S, out, in], which is read in place."""
    ordered, order = torch.sort(slots)
    used, counts = torch.unique_consecutive(ordered, return_counts=True)
    parts = torch.split(x.index_select(0, order), counts.tolist())
    mapped = [
        functional.linear(part, weight[slot], None if bias is None else bias[slot])
        for slot, part in zip(used.tolist(), parts, strict=True)
    ]
    return torch.cat(mapped).index_select(0, torch.argsort(order))


class _PerRow(Tensor):
    """The per-row result of a layer for one input that all rows share.

    DeBERTa projects its relative positions once and then repeats them for every row; with adapters that
    touch the projection each row has its own, and there is nothing left to repeat.
    """

    def repeat(self, *sizes: Any) -> Tensor:
        return self.as_subclass(Tensor)
