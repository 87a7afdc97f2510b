# ruff: noqa: TID253 - imported by the engines only
"""The stacks of all slots: for each layer that an adapter changes, one stack per part of an update.

Stacks are written in place, a slot at a time. When a layer, a part, a rank or a label count is new, a
larger stack is made aside and published by one assignment, so that a forward may run meanwhile. In the same
way a smaller stack replaces one that is much larger than its slots need. The size of a layer's stack depends
on the adapters in that layer alone. The caller must write from one thread at a time, to slots that no
running forward reads. On a GPU, writes may use a stream of their own; forwards use the default one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from hub.engine.torch.stack_sizes import StackSizes, sizes_of

__all__ = ["RANK_AXIS", "Parts", "Stacks", "Values"]

Values = Mapping[str, Mapping[str, Tensor]]
"""One adapter's arrays by layer and part; shaped like a slot of `Parts`, perhaps of a smaller rank or C."""


class Parts(NamedTuple):
    """The stacks of one layer; None while no adapter has the part.

    y = output_scale * (W (input_scale * x) + bias) + shift + b (a x), where `weight` and `bias` stand for
    the layer's own. A slot whose adapter lacks a part holds neutral values.
    """

    a: Tensor | None = None  # [S+1, in, r]; transposed, which makes its product three times faster on a CPU
    b: Tensor | None = None  # [S+1, r, out]; so those of several slots are one matrix as they lie in memory
    input_scale: Tensor | None = None  # [S+1, in]
    output_scale: Tensor | None = None  # [S+1, out]
    shift: Tensor | None = None  # [S+1, out]
    weight: Tensor | None = None  # [S+1, out, in], or [S+1, H] of a normalisation
    bias: Tensor | None = None  # [S+1, out]

    @property
    def present(self) -> dict[str, Tensor]:
        """The parts that are not None, in the order of the fields."""
        return {name: value for name, value in zip(self._fields, self, strict=True) if value is not None}


_ONES = frozenset({"input_scale", "output_scale"})
_OWN = frozenset({"weight", "bias"})
RANK_AXIS = {"a": 2, "b": 1}  # of a stack


class Stacks:
    """All layers' parts on one device, in one dtype.

    `publish(layer, parts)` is called when a layer's parts were replaced; `own(layer, part)` gives the
    layer's own weight or bias, which fills slots that do not replace it (None: zeros). `rank_axis` is that of
    the parts which have a rank, where values and stacks have another layout than that of `Parts`.
    """

    def __init__(
        self,
        slots: int,
        device: torch.device,
        dtype: torch.dtype,
        *,
        publish: Callable[[str, Parts], None],
        own: Callable[[str, str], Tensor | None],
        rank_axis: Mapping[str, int] = MappingProxyType(RANK_AXIS),
    ) -> None:
        self._rank_axis = rank_axis
        self._rows = slots + 1
        self._device = device
        self._dtype = dtype
        self._publish = publish
        self._own = own
        self.layers: Mapping[str, Parts] = MappingProxyType({})
        """By layer; never mutated: a new stack comes in a new mapping."""
        self._flat: list[tuple[str, str, Tensor]] = []  # layer, part, stack
        self._sizes = StackSizes()

    @property
    def slot_bytes(self) -> int:
        """Bytes per slot."""
        return sum(t.nbytes for parts in self.layers.values() for t in parts.present.values()) // self._rows

    def write(self, slot: int, values: Values) -> None:
        """Overwrite one slot with `values`, and with neutral values where none are given.

        If memory runs out, nothing is published and no stack is kept.
        """
        sizes = sizes_of(values)
        replaced = {} if self._sizes.are_held(sizes) else self._grown(values)
        may_shrink = self._sizes.set(slot, sizes)
        try:
            self._replace(slot, values, replaced, may_shrink=may_shrink)
        except BaseException:  # else the next values of these sizes would be taken to fit
            self._sizes.set(slot, sizes_of({}))
            raise

    def _replace(self, slot: int, values: Values, grown: dict[str, Parts], *, may_shrink: bool) -> None:
        """Write one slot to the present stacks and those that have grown, and publish the new ones."""
        replaced = {**grown, **self._shrunk(grown, cleared=not values)} if may_shrink else grown
        layers = {**self.layers, **replaced} if replaced else self.layers
        flat = self._flat
        if replaced:
            flat = [(name, *one) for name, parts in layers.items() for one in parts.present.items()]
        self._fill(slot, values, flat)
        if replaced and self._device.type == "cuda":
            # Forwards on another stream read a new stack from now on: its contents must be there.
            torch.cuda.current_stream(self._device).synchronize()
        for layer, parts in replaced.items():
            self._publish(layer, parts)
        if replaced:
            self._flat = flat
            self.layers = MappingProxyType(layers)

    def _fill(self, slot: int, values: Values, flat: Iterable[tuple[str, str, Tensor]]) -> None:
        """Write one slot of all stacks, given as layer, part and stack."""
        into: list[Tensor] = []
        new: list[Tensor] = []
        zeros: list[Tensor] = []
        for layer, part, stack in flat:
            target, given = stack[slot], values.get(layer)
            value = given.get(part) if given else None
            if value is None:
                self._neutral(layer, part, target, zeros)
                continue
            if value.shape != target.shape:
                self._neutral(layer, part, target, zeros)
                target = _corner(target, value.shape)
            into.append(target)
            new.append(value)
        # Private in torch 2.13, where its optimizers use them: one call for the arrays of all layers.
        if zeros:
            torch._foreach_zero_(zeros)
        if into:
            torch._foreach_copy_(into, new, non_blocking=True)

    def _grown(self, values: Values) -> dict[str, Parts]:
        """Return new parts for the layers where a value has no stack or does not fit in it."""
        grown = {}
        for layer, given in values.items():
            old = self.layers.get(layer, Parts())
            short = {
                part: self._stack(layer, part, value, getattr(old, part))
                for part, value in given.items()
                if not _fits(value, getattr(old, part))
            }
            if short:
                grown[layer] = old._replace(**short)
        return grown

    def _shrunk(self, grown: Mapping[str, Parts], *, cleared: bool) -> dict[str, Parts]:
        """Return smaller parts for the layers whose stacks are much larger than needed."""
        shrunk = {}
        for layer, parts in self.layers.items():
            if layer not in grown and (small := self._cut(layer, parts, cleared=cleared)):
                shrunk[layer] = parts._replace(**small)
        return shrunk

    def _cut(self, layer: str, parts: Parts, *, cleared: bool) -> dict[str, Tensor]:
        """Return smaller copies of the stacks of one layer that are much larger than needed."""
        small = {}
        for part, stack in parts.present.items():
            size = self._smallest(layer, part, stack)
            have, need = stack.numel() // self._rows, math.prod(size)
            if self._sizes.may_shrink(layer, part, have, need, cleared=cleared):
                small[part] = self._kept_for_forwards(_corner(stack, (self._rows, *size)).clone())
        return small

    def _smallest(self, layer: str, part: str, stack: Tensor) -> tuple[int, ...]:
        """Return the smallest slot size that fits the values of every slot."""
        if size := self._sizes.needed(layer, part):
            return size
        room = tuple(stack.shape[1:])
        if axis := self._rank_axis.get(part):  # an exported graph reads the stack even if no slot uses it
            return (*room[: axis - 1], 1, *room[axis:])
        if part in _OWN and self._own(layer, part) is None:
            return (1, *room[1:])
        return room

    def _stack(self, layer: str, part: str, value: Tensor, old: Tensor | None) -> Tensor:
        """Return a stack that fits `value`, with the contents of the old one."""
        shape = value.shape if old is None else map(max, value.shape, old.shape[1:])
        stack = torch.zeros((self._rows, *shape), device=self._device, dtype=self._dtype)
        if old is not None:
            _corner(stack, old.shape).copy_(old)
        elif part in _ONES:
            stack.fill_(1)
        elif part in _OWN and (own := self._own(layer, part)) is not None:
            stack.copy_(own)
        return self._kept_for_forwards(stack)

    def _kept_for_forwards(self, stack: Tensor) -> Tensor:
        """On a GPU, keep a stack's memory from being reused while forwards that were started still read it.

        The allocator knows only the stream of the writer, on which the stack was made.
        """
        if self._device.type == "cuda":
            stack.record_stream(torch.cuda.default_stream(self._device))
        return stack

    def _neutral(self, layer: str, part: str, target: Tensor, zeros: list[Tensor]) -> None:
        """Write the neutral value of one part to a slot; the caller zeroes what is added to `zeros`."""
        own = self._own(layer, part) if part in _OWN else None
        if own is not None:
            target.copy_(own)
        elif part in _ONES:
            target.fill_(1)
        else:
            zeros.append(target)


def _fits(value: Tensor, stack: Tensor | None) -> bool:
    if stack is None:
        return False
    room = stack.shape[1:]
    return value.shape == room or all(size <= limit for size, limit in zip(value.shape, room, strict=True))


def _corner(target: Tensor, shape: Iterable[int]) -> Tensor:
    """Return the part of `target` that has a smaller shape."""
    return target[tuple(slice(size) for size in shape)]
