"""Checks rows and pads them into arrays, one pass each, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from hub.engine.protocol import EngineRow
from hub.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

__all__ = ["Batch", "BatchLimits", "collate"]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a base: tokens in a row, size of the vocabulary, number of token types."""

    max_length: int
    vocabulary: int
    token_types: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded to the longest row."""

    input_ids: Ints  # [B, T]
    attention_mask: Ints  # [B, T]; 1 on a row's own tokens
    token_type_ids: Ints  # [B, T]
    slots: Ints  # [B]
    lengths: Ints  # [B]


def collate(rows: Sequence[EngineRow], limits: BatchLimits, pad: int, *, left: bool = False) -> Batch:
    """Pad rows with `pad`, on the right or on the left.

    Raises:
        TooLarge: a row has more tokens than the base accepts.
        BadRequest: a row has no tokens, or ids outside the vocabulary.
    """
    lengths = _lengths(row.row.input_ids for row in rows)
    longest = int(lengths.max())
    if longest > limits.max_length:
        raise TooLarge(f"A row has {longest} tokens; this base takes at most {limits.max_length}.")
    if not lengths.all():
        raise BadRequest("A row has no tokens.")
    columns = np.arange(longest)
    mask = columns >= longest - lengths[:, None] if left else columns < lengths[:, None]
    input_ids = _fill(mask, (row.row.input_ids for row in rows), pad)
    _check_range("token ids", input_ids, limits.vocabulary)
    token_types = np.zeros_like(input_ids)
    if any(row.row.token_type_ids is not None for row in rows):
        types = [_types(row) for row in rows]
        if not np.array_equal(_lengths(types), lengths):
            raise BadRequest("A row has more or fewer token types than tokens.")
        token_types = _fill(mask, types, 0)
        _check_range("token types", token_types, limits.token_types)
    slots = np.fromiter((row.slot for row in rows), np.int64, len(rows))
    return Batch(input_ids, mask.astype(np.int64), token_types, slots, lengths)


def _lengths(values: Iterable[Sequence[int]]) -> Ints:
    return np.fromiter(map(len, values), np.int64)


def _types(row: EngineRow) -> Sequence[int]:
    types = row.row.token_type_ids
    return tuple(repeat(0, len(row.row.input_ids))) if types is None else types


def _fill(mask: npt.NDArray[np.bool_], values: Iterable[Iterable[int]], default: int) -> Ints:
    """Return an array of `mask`'s shape with all values, in order, where the mask is true."""
    filled = np.full(mask.shape, default, np.int64)
    filled[mask] = np.fromiter(chain.from_iterable(values), np.int64)
    return filled


def _check_range(what: str, ids: Ints, count: int) -> None:
    if ids.min() < 0 or ids.max() >= count:
        raise BadRequest(f"A row has {what} outside the range of this base, 0 to {count - 1}.")
