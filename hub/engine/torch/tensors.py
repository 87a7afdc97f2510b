# ruff: noqa: TID253 - imported by the engines only
"""Copies batches and small arrays of whole numbers to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hub.engine.batch import Batch

__all__ = ["BatchTensors", "on_device", "to_device"]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to the device; to a GPU asynchronously, from pinned memory.

    A copy from pageable memory would wait for all that the GPU has yet to do.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def on_device(values: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return whole numbers as an int64 tensor on the device; see `to_device`."""
    return to_device(torch.tensor(values, dtype=torch.int64), device)


class BatchTensors(NamedTuple):
    """A batch on the device."""

    input_ids: Tensor  # [B, T]
    mask: Tensor  # [B, T]; 1 on a row's own tokens
    token_types: Tensor  # [B, T]
    slots: Tensor  # [B]

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> BatchTensors:
        """Copy a batch to the device; see `to_device`."""
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.slots)
        return cls(*(to_device(torch.from_numpy(array), device) for array in arrays))

    def rows(self, index: Tensor) -> BatchTensors:
        """Return the rows at `index` [n]."""
        return BatchTensors(*(tensor.index_select(0, index) for tensor in self))
