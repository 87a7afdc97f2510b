# ruff: noqa: TID253 - imported by the torch engine only
"""The KV cache of the generating rows: per layer two tensors [R, heads, C, D], keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from hub.engine.generate.rows import SPARE, rounded
from hub.engine.torch.tensors import on_device

__all__ = ["Arena", "column_bytes", "decoder_layers"]


@dataclass(slots=True)
class _Window:
    """The rows and columns of the current forward."""

    first: int  # row of the arena
    rows: int
    columns: int  # read from each row
    places: Tensor  # [rows, T], the column of each token


class Arena:
    """A cache for `model(past_key_values=...)` in which every row has its own length.

    Rows are numbered from 0. Columns after a row's length have old finite values, which the mask excludes.
    """

    def __init__(self, layers: int, device: torch.device) -> None:
        self._device = device
        self.rows = self.columns = 0
        self._layers = [_ArenaLayer(self) for _ in range(layers)]
        self.cache = Cache(layers=self._layers)
        self.window = _Window(0, 0, 0, torch.empty(0, 0, dtype=torch.int64, device=device))

    @property
    def nbytes(self) -> int:
        """Allocated bytes."""
        return sum(tensor.nbytes for layer in self._layers for tensor in layer.tensors)

    def reserve(self, rows: int, columns: int, max_rows: int) -> None:
        """Allocate `rows` rows, but at most `max_rows`, of `columns` columns; their contents are kept."""
        if not self.has(rows, columns):
            self.resize(rows, columns, max_rows)

    def has(self, rows: int, columns: int) -> bool:
        """Return whether so many rows and columns are allocated."""
        return rows <= self.rows and rounded(columns + SPARE) <= self.columns

    def resize(self, rows: int, columns: int, max_rows: int) -> None:
        """Allocate as `reserve` does, and free the columns beyond `columns`."""
        self.rows = min(max(rows, 2 * self.rows), max_rows) if rows > self.rows else min(self.rows, max_rows)
        self.columns = rounded(columns + SPARE)
        for layer in self._layers:
            layer.resize()

    def copy(self, sources: Sequence[int], targets: Sequence[int], columns: int | None = None) -> None:
        """Copy rows over others, all at once: a row may be both. Only the first `columns` if given."""
        source, target = (on_device(list(rows), self._device) for rows in (sources, targets))
        for layer in self._layers:
            for tensor in layer.tensors:
                part = tensor[:, :, :columns]
                part.index_copy_(0, target, part.index_select(0, source))

    def read(self, row: int, start: int, stop: int) -> Tensor:
        """Return a copy of the keys and values of a row's columns, [2 L, heads, stop - start, D]."""
        return torch.stack([tensor[row, :, start:stop] for layer in self._layers for tensor in layer.tensors])

    def write(self, row: int, states: Tensor) -> None:
        """Write keys and values [2 L, heads, T, D] to the first columns of a row."""
        for index, layer in enumerate(self._layers):
            own = states[2 * index : 2 * index + 2]
            if not layer.tensors:
                layer.lazy_initialization(own[:1], own[1:])
            for tensor, new in zip(layer.tensors, own, strict=True):
                tensor[row, :, : new.shape[1]] = new

    def clear(self) -> None:
        """Free all memory."""
        self.rows = self.columns = 0
        for layer in self._layers:
            layer.tensors = []

    def set_window(self, first: int, starts: Sequence[int], lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Set the window of the next forward and return `positions` [n, T] and `mask` [n, 1, T, columns].

        Row `first` + i stores `lengths[i]` tokens from column `starts[i]` on. T is the maximum length. Other
        rows are padded on the left; padding writes to the spare column.
        """
        width = max(lengths)
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        columns = min(rounded(max(ends)), self.columns)
        offset = torch.arange(width, device=self._device) - width
        places = on_device(ends, self._device).unsqueeze(1) + offset  # [n, T]
        padding = offset < -on_device(lengths, self._device).unsqueeze(1)
        mask = torch.arange(columns, device=self._device) <= places.unsqueeze(2)
        # A query without any key gives NaN, so padding attends to the first column; its output is not used.
        mask[..., 0] |= padding
        positions = places.masked_fill(padding, 0)
        self.window = _Window(first, len(starts), columns, places.masked_fill(padding, self.columns - SPARE))
        return positions, mask.unsqueeze(1)

    def set_whole_window(self, first: int, lengths: Sequence[int]) -> Tensor:
        """Set a window on whole rows, for keys that do not grow, and return its mask [n, 1, 1, columns].

        A forward that stores them has row i in the first `lengths[i]` of its columns, padded on the right.
        """
        columns = min(rounded(max(lengths)), self.columns)
        places = torch.arange(max(lengths), device=self._device)
        ends = on_device(lengths, self._device).unsqueeze(1)
        stored = torch.where(places < ends, places, self.columns - SPARE)  # [n, T]
        self.window = _Window(first, len(lengths), columns, stored)
        mask = torch.arange(columns, device=self._device) < ends
        return mask[:, None, None, :]


class _ArenaLayer(CacheLayerMixin):  # type: ignore[misc] # transformers has no types
    """One layer of the arena; transformers calls `update` in the layer's attention."""

    def __init__(self, arena: Arena) -> None:
        super().__init__()
        self._arena = arena
        self.tensors: list[Tensor] = []  # keys and values, [R, heads, C, D]; none before the first forward

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, columns = self._arena.rows, self._arena.columns
        self.tensors = [
            states.new_zeros(rows, states.shape[1], columns, states.shape[3])
            for states in (key_states, value_states)
        ]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store [n, heads, T, D] at the places of the window, and return its rows [n, heads, columns, D]."""
        if not self.tensors:
            self.lazy_initialization(key_states, value_states)
        window = self._arena.window
        places = window.places[:, None, :, None]
        rows = slice(window.first, window.first + window.rows)
        for stored, states in zip(self.tensors, (key_states, value_states), strict=True):
            stored[rows].scatter_(2, places.expand_as(states), states)
        return self.keys, self.values

    @property
    def keys(self) -> Tensor:
        """The keys in the window; transformers reads them where a cross attention has nothing to store."""
        return self._in_window(0)

    @keys.setter
    def keys(self, value: None) -> None:
        """Ignore what the base class sets."""

    @property
    def values(self) -> Tensor:
        return self._in_window(1)

    @values.setter
    def values(self, value: None) -> None:
        """Ignore what the base class sets."""

    def _in_window(self, index: int) -> Tensor:
        window = self._arena.window
        return self.tensors[index][window.first : window.first + window.rows, :, : window.columns]

    def resize(self) -> None:
        if not self.tensors:
            return
        old = self.tensors
        self.lazy_initialization(*old)
        for new, stored in zip(self.tensors, old, strict=True):
            rows, columns = min(len(new), len(stored)), min(new.shape[2], stored.shape[2])
            new[:rows, :, :columns] = stored[:rows, :, :columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._arena.window.columns, 0

    def get_seq_length(self) -> int:
        return self._arena.window.columns

    def get_max_length(self) -> int:
        return -1


def column_bytes(config: PreTrainedConfig, layers: int, dtype: torch.dtype) -> int:
    """Return the bytes of one column of one row, over all layers."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    own = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)  # d_kv: T5
    width = own or config.hidden_size // config.num_attention_heads
    return int(2 * layers * heads * width * dtype.itemsize)


def decoder_layers(model: PreTrainedModel) -> int:
    """Return the number of layers of a decoder, or of the decoder of an encoder-decoder."""
    config = model.config
    if not config.is_encoder_decoder:
        return int(config.get_text_config(decoder=True).num_hidden_layers)
    names = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")  # BART, T5, others
    return next(int(layers) for name in names if (layers := getattr(config, name, None)))
