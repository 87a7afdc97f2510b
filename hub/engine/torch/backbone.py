# ruff: noqa: TID253 - imported by the engines only
"""A torch model whose layers are replaced by slotted layers when the first adapter needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hub.engine.torch.heads import Hidden
from hub.engine.torch.loading import reads_images, takes_token_types, takes_whole_mask
from hub.engine.torch.packed import packed_inputs, takes_packed_rows
from hub.engine.torch.slotted import SlotContext, SlotLinear, SlotNorm, slot_layer
from hub.engine.torch.stacks import Parts, Stacks, Values
from hub.engine.torch.tensors import BatchTensors

__all__ = ["TorchBackbone"]


class TorchBackbone:
    """Runs rows on `model` with stacks of its dtype; a layer is slotted when an adapter first needs it.

    `model` is the bare backbone of a base that scores, or a whole decoder or encoder-decoder.
    """

    parallel = True

    def __init__(self, model: PreTrainedModel, slots: int) -> None:
        self.model = model
        parameter = next(model.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        self._two_stacks = bool(model.config.is_encoder_decoder)
        self._stack = model.get_encoder() if self._two_stacks else model.base_model
        self._takes_types = takes_token_types(self._stack)
        self._causal = not self._two_stacks and model.base_model is not model
        self._context = SlotContext()
        self.packs = (
            not self._causal and not self._two_stacks and takes_packed_rows(self._stack, self._takes_types)
        )
        """Whether it takes packed batches."""
        whole = not self._causal and takes_whole_mask(self._stack)
        self._whole_mask = whole and self.device.type == "cuda"
        self._slotted: dict[str, SlotLinear | SlotNorm] = {}
        self.stacks = Stacks(slots, self.device, self.dtype, publish=self._publish, own=_none)

    @property
    def name(self) -> str:
        return f"torch {str(self.dtype).removeprefix('torch.')}"

    @property
    def nbytes(self) -> int:
        """Bytes of the base's weights."""
        return sum(parameter.nbytes for parameter in self.model.parameters())

    def covers(self, slots: frozenset[int]) -> bool:
        """Return True: any adapter runs here."""
        return True

    def select(self, slots: Tensor) -> None:
        """Set the slots of the rows of the next forward, [B]."""
        self._context.select(slots)

    def write(self, slot: int, values: Values) -> None:
        """Overwrite one slot; no running forward may read it."""
        self.stacks.write(slot, values)

    def run(self, batch: BatchTensors, *, decode: bool = False) -> Hidden:
        """Run the stack on the whole batch; with `decode` also the decoder, fed the input shifted by one."""
        self._context.select(batch.slots, batch.places, self.dtype)
        output = self._stack(**self._inputs(batch), **self._extra(batch))
        states: Tensor = output.last_hidden_state
        return Hidden(states, self._decode(batch, states) if decode and self._two_stacks else None)

    @torch.inference_mode()
    def per_row_layers(self) -> frozenset[str]:
        """Return the linear and normalisation layers that can differ from row to row, found by a forward.

        A layer whose input all rows share (DeBERTa's table of relative positions) is included only if it is
        linear and takes that input as [1, n, in]: see `SlotLinear`.
        """
        rows = 3
        found: set[str] = set()

        def watch(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                shape = inputs[0].shape
                if shape[0] == rows or (isinstance(module, nn.Linear) and len(shape) == 3 and shape[0] == 1):
                    found.add(path)

            return hook

        hooks = [
            module.register_forward_pre_hook(watch(path))
            for path, module in self.model.named_modules()
            if isinstance(module, nn.Linear | nn.LayerNorm)
        ]
        try:
            self.run(self._probe(rows), decode=True)
        finally:
            for hook in hooks:
                hook.remove()
        if (head := self.model.get_output_embeddings()) is not None:
            found |= {path for path, module in self.model.named_modules() if module is head}
        return frozenset(found)

    def _probe(self, rows: int, tokens: int = 5) -> BatchTensors:
        ids = torch.ones(rows, tokens, dtype=torch.int64, device=self.device)
        batch = BatchTensors(ids, ids, torch.zeros_like(ids), ids[:, 0] * 0)
        if not reads_images(self._stack):
            return batch
        config = self.model.config
        size = config.image_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        shape = (rows, config.num_channels, height, width)
        return batch._replace(pixel_values=torch.zeros(shape, device=self.device))

    def with_weights(self, changed: Mapping[str, Tensor], fresh: PreTrainedModel) -> TorchBackbone:
        """Return a backbone without slots that shares all weights with this one but those in `changed`.

        `fresh` is a second load of the base; its copies of the shared weights are freed.
        """
        shared = dict(self.model.named_parameters(remove_duplicate=False))
        if getattr(self.model, "pooler", None) is None and hasattr(fresh, "pooler"):
            fresh.pooler = None
        for path, module in list(fresh.named_modules()):
            for leaf, _ in list(module.named_parameters(recurse=False)):
                name = f"{path}.{leaf}" if path else leaf
                value = changed.get(name)
                tensor = shared[name] if value is None else value.to(self.device, self.dtype)
                setattr(module, leaf, nn.Parameter(tensor.detach(), requires_grad=False))
        return TorchBackbone(fresh, slots=0)

    def free(self) -> None:
        """Free the weights that no other backbone shares; the backbone cannot run afterwards.

        Modules form reference cycles, which the garbage collector may free late, or never if they are frozen;
        so each tensor is released here.
        """
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)

    def _inputs(self, batch: BatchTensors) -> dict[str, Tensor]:
        """Return the images, or the ids and the mask for the stack; on a GPU [B, 1, 1, T] if it takes that.

        transformers 5.23 asks a [B, T] mask whether it masks anything, which waits for the GPU.
        """
        if batch.is_packed:
            return packed_inputs(self._stack, batch)
        if batch.pixel_values is not None:
            return {"pixel_values": batch.pixel_values}
        mask = batch.mask[:, None, None, :].bool() if self._whole_mask else batch.mask
        return {"input_ids": batch.input_ids, "attention_mask": mask}

    def _extra(self, batch: BatchTensors) -> dict[str, Any]:
        if self._causal:
            return {"use_cache": False}
        return {"token_type_ids": batch.token_types} if self._takes_types else {}

    def _decode(self, batch: BatchTensors, states: Tensor) -> Tensor:
        start = batch.input_ids.new_full((len(batch.slots), 1), self.model.config.decoder_start_token_id)
        output = self.model.get_decoder()(
            input_ids=torch.cat((start, batch.input_ids[:, :-1]), dim=1),
            encoder_hidden_states=states,
            encoder_attention_mask=batch.mask,
            use_cache=False,
        )
        decoded: Tensor = output.last_hidden_state
        return decoded

    def _publish(self, path: str, parts: Parts) -> None:
        layer = self._slotted.get(path)
        if layer is None:
            layer = self._slotted[path] = slot_layer(self.model, path, self._context)
        layer.parts = parts


def _none(layer: str, part: str) -> None:
    return None
