# ruff: noqa: TID253 - imported by the torch and onnx engines only
"""Heads of many adapters: the Hugging Face head modules, with a full weight per slot.

Each head class is built without its backbone; in the backbone's place hangs a module that returns an
output computed before, so that the class does its own pooling and wiring. Its linear layers read the
weights of each row's slot.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hub.api import HeadKind
from hub.engine.lora import SlotContext
from hub.errors import BadAdapter, UnsupportedAdapter

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["BackboneOutput", "HeadSlots", "mean_pool"]

_CLASSES = {
    HeadKind.SEQUENCE: AutoModelForSequenceClassification,
    HeadKind.TOKEN: AutoModelForTokenClassification,
    HeadKind.SPAN: AutoModelForQuestionAnswering,
}


class BackboneOutput(NamedTuple):
    """What heads read; `pooled` is None where the backbone has no pooler."""

    hidden: Tensor  # [B, T, H]
    pooled: Tensor | None  # [B, H]

    def rows(self, index: Tensor) -> BackboneOutput:
        """Return the rows at `index` [n]."""
        pooled = None if self.pooled is None else self.pooled.index_select(0, index)
        return BackboneOutput(self.hidden.index_select(0, index), pooled)


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average hidden [B, T, H] over the tokens that mask [B, T] marks; gives [B, H]."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


class HeadSlots:
    """All slots' heads of one kind."""

    def __init__(self, kind: HeadKind, config: PreTrainedConfig, slots: int, device: torch.device) -> None:
        self._span = kind is HeadKind.SPAN
        self._kind = kind
        config = copy.deepcopy(config)
        # An inner layer is never wider than its input, so this width marks the output layer.
        config.num_labels = 2 if self._span else config.hidden_size + 1
        with torch.device("meta"):
            self._model = _CLASSES[kind].from_config(config).eval()
        self._context = SlotContext()
        self._stored = _StoredOutput()
        setattr(self._model, self._model.base_model_prefix, self._stored)
        self._layers = self._slot_linears(config.num_labels, slots, device)

    def check(self, head: Mapping[str, Array], num_labels: int) -> None:
        """Raise BadAdapter unless the tensors are those of this head, for `num_labels`."""
        expected = {
            f"{path}.{name}": shape
            for path, layer in self._layers.items()
            for name, shape in layer.shapes(num_labels).items()
        }
        given = {name: array.shape for name, array in head.items()}
        if given != expected:
            raise BadAdapter(
                f"A {self._kind} head here has {_listed(expected)}; the adapter's has {_listed(given)}."
            )

    def write(self, slot: int, head: Mapping[str, Array]) -> None:
        """Put a checked head into a slot that no running forward reads; an empty one clears it."""
        for path, layer in self._layers.items():
            layer.put(slot, head.get(f"{path}.weight"), head.get(f"{path}.bias"))

    def run(self, output: BackboneOutput, input_ids: Tensor, mask: Tensor, slots: Tensor) -> Tensor:
        """Return scores: [B, C] for SEQUENCE, [B, T, C] for TOKEN, [B, T, 2] for SPAN, C the largest."""
        self._context.slots = slots
        self._stored.output = BaseModelOutputWithPooling(
            last_hidden_state=output.hidden.float(),
            pooler_output=None if output.pooled is None else output.pooled.float(),
        )
        try:
            result = self._model(input_ids=input_ids, attention_mask=mask)
        finally:
            self._stored.output = None
        if self._span:
            return torch.stack((result.start_logits, result.end_logits), dim=-1)
        logits: Tensor = result.logits
        return logits

    @property
    def slot_bytes(self) -> int:
        """Bytes that one slot takes now."""
        return sum(layer.slot_bytes for layer in self._layers.values())

    def _slot_linears(self, marked: int, slots: int, device: torch.device) -> dict[str, _SlotHead]:
        layers = {}
        for path, linear in list(self._model.named_modules()):
            if isinstance(linear, nn.Linear):
                labelled = linear.out_features == marked
                layers[path] = _SlotHead(linear, labelled, slots, self._context, device)
                parent, _, leaf = path.rpartition(".")
                setattr(self._model.get_submodule(parent), leaf, layers[path])
        if left := [name for name, _ in self._model.named_parameters()]:
            raise UnsupportedAdapter(
                f"The {self._kind} head of {self._model.config.model_type} has more than linear layers: "
                f"{', '.join(left)}."
            )
        return layers


class _StoredOutput(nn.Module):
    """Stands where the backbone was."""

    output: BaseModelOutputWithPooling | None = None

    def forward(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPooling | None:
        return self.output


class _SlotHead(nn.Module):
    """A linear layer with a weight per slot; wider ones are made aside when a head has more labels."""

    def __init__(
        self, linear: nn.Linear, labelled: bool, slots: int, context: SlotContext, device: torch.device
    ) -> None:
        super().__init__()
        self._in, self._out = linear.in_features, linear.out_features
        self._labelled, self._has_bias = labelled, linear.bias is not None
        self._context = context
        width = 1 if labelled else self._out
        self._stack = (
            torch.zeros(slots + 1, width, self._in, device=device),
            torch.zeros(slots + 1, width, device=device),
        )  # [S+1, C, H], [S+1, C]

    def shapes(self, num_labels: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its parameters for a head with `num_labels`."""
        out = num_labels if self._labelled else self._out
        return {"weight": (out, self._in)} | ({"bias": (out,)} if self._has_bias else {})

    def put(self, slot: int, weight: Array | None, bias: Array | None) -> None:
        """Overwrite one slot; None clears it."""
        w, b = self._stack
        width = 0 if weight is None else weight.shape[0]
        if width > w.shape[1]:
            w = torch.cat((w, w.new_zeros(w.shape[0], width - w.shape[1], w.shape[2])), dim=1)
            b = torch.cat((b, b.new_zeros(b.shape[0], width - b.shape[1])), dim=1)
        w[slot].zero_()
        b[slot].zero_()
        if weight is not None:
            w[slot, :width] = torch.tensor(weight)
        if bias is not None:
            b[slot, :width] = torch.tensor(bias)
        self._stack = (w, b)

    @property
    def slot_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._stack) // self._stack[0].shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, T, H] or [B, H] with each row's own weights."""
        if x.dim() == 2:
            return self.forward(x.unsqueeze(1)).squeeze(1)
        slots = self._context.slots
        w, b = self._stack
        return torch.baddbmm(b.index_select(0, slots).unsqueeze(1), x, w.index_select(0, slots).mT)


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "no head"
