# ruff: noqa: TID253 - imported by the engines only
"""Heads of many adapters: the Hugging Face head modules with slotted layers.

In each head class, a module that returns precomputed hidden states replaces the backbone, so that the class
does its own pooling. A layer whose weights come with the base (a pooler, ModernBERT's dense layer) is shared
and slotted like any other; a new layer has a whole weight per slot. Heads compute in float32.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig

from hub.api import HeadKind, Pooling
from hub.bases.auto_classes import auto_class
from hub.bases.base import BaseKind
from hub.engine.torch.loading import one_load_at_a_time, reads_images
from hub.engine.torch.slotted import SlotContext, SlotLinear, Slotted, slot_layer
from hub.engine.torch.stacks import Parts, Stacks, Values
from hub.engine.torch.tensors import on_device
from hub.errors import UnsupportedAdapter

__all__ = ["HEADED", "NO_TOKEN", "SHIFTING", "HeadSlots", "Hidden", "pool", "pool_rows"]

HEADED = (HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN)
SHIFTING = (HeadKind.SEQUENCE, HeadKind.SPAN)
"""Heads for which transformers' encoder-decoders make the decoder's input from the ids, shifted by one."""
NO_TOKEN = -1  # an id that no row has


class Hidden(NamedTuple):
    """The input of heads: last hidden states, [B, T, H]; for an encoder-decoder also the decoder's."""

    states: Tensor
    decoded: Tensor | None = None

    def rows(self, index: Tensor) -> Hidden:
        """Return the rows at `index` [n]."""
        decoded = None if self.decoded is None else self.decoded.index_select(0, index)
        return Hidden(self.states.index_select(0, index), decoded)


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Return the vectors [B, H] of rows with hidden states [B, T, H], padded on the right by mask [B, T]."""
    if pooling is Pooling.CLS:
        return hidden[:, 0]
    if pooling is Pooling.LAST:
        last = (mask.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
        return hidden.gather(1, last).squeeze(1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def pool_rows(hidden: Tensor, mask: Tensor, poolings: Sequence[Pooling]) -> Tensor:
    """Return the vectors [B, H] of rows, each by its own pooling."""
    kinds = list(dict.fromkeys(poolings))
    found = torch.stack([pool(hidden, mask, kind) for kind in kinds])  # [P, B, H]
    chosen = on_device([kinds.index(pooling) for pooling in poolings], hidden.device)
    return found[chosen, torch.arange(len(poolings), device=hidden.device)]


class HeadSlots:
    """The heads of one kind in all slots.

    `pooler` is the base's own, for classes that read a pooled output; `weights` are the base's tensors by
    name, some of which may belong to the head. `base` is the kind of the base.

    Raises:
        UnsupportedAdapter: the family has no such head, or the head has other layers than linear and
            normalisation ones.
    """

    def __init__(
        self,
        kind: HeadKind,
        config: PreTrainedConfig,
        slots: int,
        device: torch.device,
        pooler: nn.Module | None,
        weights: Mapping[str, Tensor],
        base: BaseKind = BaseKind.ENCODER,
    ) -> None:
        self._kind = kind
        config = copy.deepcopy(config)
        # An inner layer is never wider than its input, so this width marks the output layer.
        self._marked = 2 if kind is HeadKind.SPAN else config.hidden_size + 1
        config.num_labels = self._marked
        # Heads find the last token by the padding id of the config. Some bases have none, and others pad with
        # another id, that of their tokenizer.
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = NO_TOKEN
        self._padding: int = config.pad_token_id
        with one_load_at_a_time, torch.device("meta"):
            self._model = (
                getattr(transformers, auto_class(kind, base)).from_config(config, dtype=torch.float32).eval()
            )
        self._reads_images = reads_images(self._model)
        self.prefix: str = self._model.base_model_prefix
        backbone = getattr(self._model, self.prefix, None)
        if backbone is None:
            raise UnsupportedAdapter(f"{type(self._model).__name__} keeps no backbone apart from its head.")
        self.reads_decoder = bool(config.is_encoder_decoder and hasattr(backbone, "decoder"))
        pools_end = self.reads_decoder and kind is HeadKind.SEQUENCE
        self._end: int | None = config.eos_token_id if pools_end else None
        self._stored = _StoredOutput(backbone, pooler)
        setattr(self._model, self.prefix, self._stored)
        self._context = SlotContext()
        self.layers: dict[str, HeadLayer] = {}
        self._slot(weights, device)
        self._stacks = Stacks(slots, device, torch.float32, publish=self._publish, own=self._own)

    def write(self, slot: int, values: Values) -> None:
        """Overwrite one slot that no running forward reads; no values clear it."""
        self._stacks.write(slot, values)

    @property
    def takes_means(self) -> bool:
        """Whether a TOKEN head also scores the mean over the tokens: it is one linear layer."""
        return [layer.labelled for layer in self.layers.values()] == [True]

    def of_means(self, hidden: Hidden, input_ids: Tensor, mask: Tensor, slots: Tensor) -> Tensor:
        """Return the scores [B, C] that a TOKEN head gives the mean over a row's tokens."""
        means = pool(hidden.states.float(), mask, Pooling.MEAN).unsqueeze(1)  # [B, 1, H]
        return self.run(Hidden(means), input_ids[:, :1], torch.ones_like(mask[:, :1]), slots).squeeze(1)

    def run(self, hidden: Hidden, input_ids: Tensor, mask: Tensor, slots: Tensor) -> Tensor:
        """Return scores: [B, C] for SEQUENCE, [B, T, C] for TOKEN, [B, T, 2] for SPAN, C the largest."""
        self._context.select(slots)
        states = hidden.decoded if self.reads_decoder and hidden.decoded is not None else hidden.states
        self._stored.put(states.float())
        try:
            if self._reads_images:
                result = self._model(pixel_values=hidden.states)  # `_StoredOutput` reads none
            else:
                result = self._model(input_ids=self._marked_ids(input_ids, mask), attention_mask=mask)
        finally:
            self._stored.put(None)
        if self._kind is HeadKind.SPAN:
            return torch.stack((result.start_logits, result.end_logits), dim=-1)
        logits: Tensor = result.logits
        return logits

    @property
    def slot_bytes(self) -> int:
        """Bytes per slot."""
        return self._stacks.slot_bytes

    def _marked_ids(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Return ids [B, T] by which the head finds the token of each row that it reads.

        Heads of two stacks read the last end token, and refuse rows with different numbers of them.
        """
        if self._end is None:
            return input_ids.masked_fill(mask == 0, self._padding)
        ends = (input_ids == self._end) & (mask != 0)
        last = ends & (ends.flip(1).cumsum(1).flip(1) == 1)
        return torch.full_like(input_ids, NO_TOKEN).masked_fill(last, self._end)

    def _slot(self, weights: Mapping[str, Tensor], device: torch.device) -> None:
        for path, layer in list(self._model.named_modules()):
            if isinstance(layer, nn.Linear | nn.LayerNorm):
                labelled = isinstance(layer, nn.Linear) and layer.out_features == self._marked
                own = self._has_own(path, layer, weights, device)
                slotted = slot_layer(self._model, path, self._context, own=own)
                self.layers[path] = HeadLayer(slotted, labelled, own, layer.bias is not None)
        if unset := [name for name, value in self._model.named_parameters() if value.is_meta]:
            raise UnsupportedAdapter(
                f"The {self._kind} head of {self._model.config.model_type} has more than linear and "
                f"normalisation layers: {', '.join(unset)}."
            )

    def _has_own(
        self, path: str, layer: nn.Module, weights: Mapping[str, Tensor], device: torch.device
    ) -> bool:
        """Set a layer's weights to the base's; False if the base lacks one."""
        for name, parameter in list(layer.named_parameters()):
            if not parameter.is_meta:
                continue
            stored = weights.get(f"{path}.{name}")
            if stored is None or stored.shape != parameter.shape:
                return False
            setattr(layer, name, nn.Parameter(stored.to(device, torch.float32), requires_grad=False))
        return True

    def _publish(self, path: str, parts: Parts) -> None:
        self.layers[path].module.parts = parts

    def _own(self, path: str, part: str) -> Tensor | None:
        own: Tensor | None = getattr(self.layers[path].module, part)
        return own


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """A slotted layer of a head; `own`: it has the base's weights; `labelled`: one output per label."""

    module: Slotted
    labelled: bool
    own: bool
    has_bias: bool

    def shapes(self, num_labels: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its parameters for a head with `num_labels`."""
        if isinstance(self.module, SlotLinear):
            out = num_labels if self.labelled else self.module.out_features
            weight: tuple[int, ...] = (out, self.module.in_features)
        else:
            weight = tuple(self.module.normalized_shape)
            out = weight[0]
        return {"weight": weight} | ({"bias": (out,)} if self.has_bias else {})


class _Output:
    """What head classes read of any kind of backbone's output.

    A ModelOutput of transformers 5.23 with these fields takes half a millisecond to make.
    """

    past_key_values = hidden_states = attentions = None
    decoder_hidden_states = decoder_attentions = cross_attentions = None
    encoder_last_hidden_state = encoder_hidden_states = encoder_attentions = None

    def __init__(self, last_hidden_state: Tensor, pooler_output: Tensor | None) -> None:
        self.last_hidden_state = last_hidden_state
        self.pooler_output = pooler_output

    def __getitem__(self, key: Any) -> Any:
        """Return a field by its name, or those that are not None by their place."""
        if isinstance(key, str):
            return getattr(self, key)
        return tuple(one for one in (self.last_hidden_state, self.pooler_output) if one is not None)[key]


class _StoredOutput(nn.Module):
    """Replaces the backbone; has the base's pooler if the class reads a pooled output."""

    def __init__(self, backbone: nn.Module, pooler: nn.Module | None) -> None:
        super().__init__()
        reads = getattr(backbone, "pooler", None) is not None
        if reads and pooler is None:
            raise UnsupportedAdapter("It came without a trained pooler, which this head reads.")
        self.pooler = copy.deepcopy(pooler).float() if reads and pooler is not None else None
        self._of = threading.local()

    def put(self, states: Tensor | None) -> None:
        """Set the output of the next forward in this thread."""
        self._of.states = states

    def forward(self, *args: Any, **kwargs: Any) -> _Output:
        states = self._of.states
        pooled = None if self.pooler is None else self.pooler(states)
        return _Output(states, pooled)
