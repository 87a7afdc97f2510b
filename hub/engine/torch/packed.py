# ruff: noqa: TID253 - imported by the engines only
"""Which encoders take packed rows, and their inputs; found by comparing results, not by names of families."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from hub.engine.batch import Batch
from hub.engine.packing import pack
from hub.engine.torch.heads import Hidden
from hub.engine.torch.loading import reads_whole_rows
from hub.engine.torch.tensors import BatchTensors, to_device, unpacked

__all__ = ["packed_inputs", "run_packed", "takes_packed_rows"]

_LENGTHS = (6, 3, 2, 1)
_TOLERANCE = {torch.float32: 1e-4}  # of hidden states, which layer norms keep near 1
_OTHER_TOLERANCE = 0.1


def packed_inputs(model: PreTrainedModel, batch: BatchTensors) -> dict[str, Any]:
    """Return the ids, the mask [B, 1, T, T] and the positions of a packed batch as an encoder takes them."""
    assert batch.segments is not None and batch.positions is not None, "the batch is packed"
    # Padding reads padding: a token that reads nothing would get no number.
    same = batch.segments[:, None, :, None] == batch.segments[:, None, None, :]
    if model.config._attn_implementation != "sdpa":  # private in transformers 5.23; others add the mask
        same = torch.zeros_like(same, dtype=model.dtype).masked_fill(~same, torch.finfo(model.dtype).min)
    return {
        "input_ids": batch.input_ids,
        "attention_mask": same,
        "position_ids": _positions(model, batch),
    }


def _positions(model: PreTrainedModel, batch: BatchTensors) -> Tensor:
    """Return the numbers of the positions [B, T], as a model gives them to rows alone."""
    assert batch.segments is not None and batch.positions is not None, "the batch is packed"
    first = _first_position(model)
    if not first:
        return batch.positions
    # A padding token in a text, such as "<pad>", takes no position in RoBERTa's family.
    padding = ((batch.input_ids == first - 1) & (batch.segments > 0)).long()
    before = padding.cumsum(1) - padding  # in the bin, of which a row is a part
    begins = torch.ones_like(padding).cumsum(1) - 1 - batch.positions
    inside = before - before.gather(1, begins)
    return torch.where(padding > 0, first - 1, batch.positions - inside + first)


def run_packed(
    batch: Batch, tensors: BatchTensors, pad: int, run: Callable[[BatchTensors], Hidden], *, packs: bool
) -> Hidden:
    """Run a batch, which is also given as `tensors`: packed, if `run` takes that and it saves much."""
    bins = pack(batch, pad) if packs else None
    if bins is None:
        return run(tensors)
    device = tensors.input_ids.device
    states = run(BatchTensors.packed(bins, device)).states
    return Hidden(unpacked(states, to_device(torch.from_numpy(bins.where), device)))


@torch.inference_mode()
def takes_packed_rows(model: PreTrainedModel, types: bool) -> bool:
    """Return whether an encoder gives packed rows what it gives each alone; `types`: it takes token types."""
    if "position_ids" not in inspect.signature(model.forward).parameters or not reads_whole_rows(
        model.config
    ):
        return False  # rows of a few tokens would not show a window
    batch = _rows(model)
    bins = pack(batch, 0)
    assert bins is not None, "these lengths fit into half the sequences"
    plain, packed = BatchTensors.of(batch, model.device), BatchTensors.packed(bins, model.device)
    where = torch.from_numpy(bins.where).to(model.device)
    try:
        expected = model(
            input_ids=plain.input_ids, attention_mask=plain.mask, **_types(plain, types)
        ).last_hidden_state
        got = model(**packed_inputs(model, packed), **_types(packed, types)).last_hidden_state
        off: float = ((expected - unpacked(got, where)).abs().amax(-1) * plain.mask).max().item()
    except (TypeError, ValueError, RuntimeError, IndexError):  # it takes no such mask or positions
        return False
    return bool(off <= _TOLERANCE.get(model.dtype, _OTHER_TOLERANCE))


def _types(batch: BatchTensors, types: bool) -> dict[str, Tensor]:
    return {"token_type_ids": batch.token_types} if types else {}


def _first_position(model: PreTrainedModel) -> int:
    """Return the number of a row's first position, which follows that of padding in RoBERTa's family."""
    embeddings = getattr(model, "embeddings", None)
    if not hasattr(embeddings, "create_position_ids_from_input_ids"):
        return 0
    return int(model.config.pad_token_id) + 1


def _rows(model: PreTrainedModel) -> Batch:
    """Make rows of different lengths, of tokens that are not padding."""
    lengths = np.array(_LENGTHS)
    mask = np.arange(lengths.max()) < lengths[:, None]
    padding = model.config.pad_token_id or 0
    ids = (np.arange(mask.size).reshape(mask.shape) % (model.config.vocab_size - padding - 1)) + padding + 1
    ids = np.where(mask, ids, padding).astype(np.int64)
    slots = np.zeros(len(lengths), np.int64)
    return Batch(ids, mask.astype(np.int64), np.zeros_like(ids), slots, lengths.astype(np.int64))
