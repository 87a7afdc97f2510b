# ruff: noqa: TID253 - imported by the engines only
"""Copies batches and small arrays of whole numbers to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hub.engine.batch import Batch
from hub.engine.packing import Packed

__all__ = ["BatchTensors", "on_device", "stream_after_loading", "to_device", "unpacked"]


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


def stream_after_loading(device: torch.device) -> torch.cuda.Stream:
    """Return a new stream, whose work begins after that of the current one: the loading of the base."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream


def unpacked(states: Tensor, where: Tensor) -> Tensor:
    """Return the states [B, T, H] of rows from those of their bins [N, T, H]; see `Packed.where`."""
    return states.flatten(0, 1).index_select(0, where.flatten()).view(*where.shape, -1)


class BatchTensors(NamedTuple):
    """A batch on the device: one row to a sequence, or several (see `hub.engine.packing`)."""

    input_ids: Tensor  # [B, T]
    mask: Tensor  # [B, T]; 1 on tokens of rows
    token_types: Tensor  # [B, T]
    slots: Tensor  # [B], or [B, K] of a packed batch
    positions: Tensor | None = None  # [B, T]; these are None of a batch that is not packed
    segments: Tensor | None = None  # [B, T]
    places: Tensor | None = None  # [B, T]
    pixel_values: Tensor | None = None  # [B, 3, H, W]; of a base that reads images, which are never packed

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> BatchTensors:
        """Copy a batch to the device; see `to_device`."""
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.slots)
        made = cls(*(to_device(torch.from_numpy(array), device) for array in arrays))
        if batch.pixel_values is None:
            return made
        return made._replace(pixel_values=to_device(torch.from_numpy(batch.pixel_values), device))

    @classmethod
    def packed(cls, bins: Packed, device: torch.device) -> BatchTensors:
        """Copy a packed batch to the device; see `to_device`."""
        arrays = (bins.input_ids, bins.token_type_ids, bins.slots, bins.positions, bins.segments, bins.places)
        ids, types, slots, positions, segments, places = (
            to_device(torch.from_numpy(array), device) for array in arrays
        )
        return cls(ids, (segments > 0).long(), types, slots, positions, segments, places)

    @property
    def is_packed(self) -> bool:
        return self.positions is not None

    def as_packed(self) -> BatchTensors:
        """Return the batch in the form of a packed one; one that is not has one row to a sequence."""
        if self.is_packed:
            return self
        positions = torch.arange(self.mask.shape[1], device=self.mask.device).expand_as(self.mask)
        places = torch.zeros_like(self.mask)
        return self._replace(
            slots=self.slots[:, None], positions=positions, segments=self.mask, places=places
        )

    def present(self) -> tuple[Tensor, ...]:
        """Return the fields that are not None, which are all of a packed batch."""
        return tuple(tensor for tensor in self if tensor is not None)

    def rows(self, index: Tensor) -> BatchTensors:
        """Return the rows at `index` [n] of a batch that is not packed."""
        assert not self.is_packed, "a row of a packed batch is no sequence of its own"
        return BatchTensors(
            *(None if tensor is None else tensor.index_select(0, index) for tensor in self)  # type: ignore[arg-type]
        )
