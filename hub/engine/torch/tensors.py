# ruff: noqa: TID253 - imported by the engines only
"""Copies a batch to the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hub.engine.batch import Batch

__all__ = ["BatchTensors"]


class BatchTensors(NamedTuple):
    """A batch on the device."""

    input_ids: Tensor  # [B, T]
    mask: Tensor  # [B, T]; 1 on a row's own tokens
    token_types: Tensor  # [B, T]
    slots: Tensor  # [B]

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> BatchTensors:
        """Copy a batch to the device; to a GPU asynchronously from pinned memory."""
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.slots)
        tensors = (torch.from_numpy(array) for array in arrays)
        if device.type == "cuda":
            return cls(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors))
        return cls(*(tensor.to(device) for tensor in tensors))

    def rows(self, index: Tensor) -> BatchTensors:
        """Return the rows at `index` [n]."""
        return BatchTensors(*(tensor.index_select(0, index) for tensor in self))
