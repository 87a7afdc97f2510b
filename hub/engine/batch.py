"""Checks rows and pads them into arrays, one pass each, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from hub.api import ImageInput, Row
from hub.engine.protocol import EngineRow
from hub.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float32]

__all__ = ["Batch", "BatchLimits", "by_ends", "collate", "distinct", "pad_rows"]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a base: tokens in a row, size of the vocabulary, number of token types.

    `image` is how a base that reads images takes them; its vocabulary is one placeholder.
    """

    max_length: int
    vocabulary: int
    token_types: int
    image: ImageInput | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded to the longest row."""

    input_ids: Ints  # [B, T]
    attention_mask: Ints  # [B, T]; 1 on a row's own tokens
    token_type_ids: Ints  # [B, T]
    slots: Ints  # [B]
    lengths: Ints  # [B]
    pixel_values: Floats | None = None  # [B, 3, H, W]; of a base that reads images


def by_ends(rows: Sequence[Sequence[int]], end: int) -> list[list[int]]:
    """Group rows of token ids by how often the end token occurs; returns the places of each group's rows.

    Heads of encoder-decoders in transformers refuse other batches.
    """
    groups: dict[int, list[int]] = {}
    for place, ids in enumerate(rows):
        groups.setdefault(ids.count(end), []).append(place)
    return list(groups.values())


def distinct(rows: Sequence[EngineRow]) -> tuple[list[EngineRow], list[int]]:
    """Return the rows that a backbone has to run, and the place of each row among them.

    Rows that ask for different heads of the same slot, and are the same object otherwise, are run once.
    """
    places: dict[tuple[int, int], int] = {}
    found = [places.setdefault((id(row.row), row.slot), len(places)) for row in rows]
    first = dict(zip(reversed(found), reversed(rows), strict=True))
    return [first[place] for place in range(len(places))], found


def collate(rows: Sequence[EngineRow], limits: BatchLimits, pad: int, *, left: bool = False) -> Batch:
    """Pad rows with `pad`, on the right or on the left.

    Raises:
        TooLarge: a row has more tokens than the base accepts.
        BadRequest: a row has no tokens, ids outside the vocabulary, or not the image that the base takes.
    """
    pixels = _images(rows, limits.image) if limits.image else None
    lengths = _lengths(row.row.input_ids for row in rows)
    longest = int(lengths.max())
    if longest > limits.max_length:
        raise TooLarge(f"A row has {longest} tokens; this base takes at most {limits.max_length}.")
    if not lengths.all():
        raise BadRequest("A row has no tokens.")
    mask = _mask(lengths, left=left)
    input_ids = _fill(mask, (row.row.input_ids for row in rows), pad)
    _check_range("token ids", input_ids, limits.vocabulary)
    token_types = np.zeros_like(input_ids)
    if any(row.row.token_type_ids is not None for row in rows):
        types = [_types(row.row) for row in rows]
        if not np.array_equal(_lengths(types), lengths):
            raise BadRequest("A row has more or fewer token types than tokens.")
        token_types = _fill(mask, types, 0)
        _check_range("token types", token_types, limits.token_types)
    slots = np.fromiter((row.slot for row in rows), np.int64, len(rows))
    return Batch(input_ids, mask.astype(np.int64), token_types, slots, lengths, pixels)


def pad_rows(rows: Sequence[Row], pad: int, *, left: bool = False) -> dict[str, Ints]:
    """Return `input_ids`, `attention_mask` and, if a row has them, `token_type_ids`, each [B, T]."""
    mask = _mask(_lengths(row.input_ids for row in rows), left=left)
    arrays = {
        "input_ids": _fill(mask, (row.input_ids for row in rows), pad),
        "attention_mask": mask.astype(np.int64),
    }
    if any(row.token_type_ids is not None for row in rows):
        arrays["token_type_ids"] = _fill(mask, map(_types, rows), 0)
    return arrays


def _images(rows: Sequence[EngineRow], image: ImageInput) -> Floats:
    """Return the images of rows, [B, 3, H, W]."""
    found = []
    for row in rows:
        pixels, tokens = row.row.pixel_values, len(row.row.input_ids)
        if pixels is None or pixels.shape != image.shape or tokens != image.tokens:
            shape = "no image" if pixels is None else f"an image of shape {pixels.shape}"
            raise BadRequest(
                f"A row has {shape} and {tokens} tokens; this base takes images of shape {image.shape}, in "
                f"rows of {image.tokens} tokens."
            )
        found.append(pixels)
    return np.stack(found).astype(np.float32, copy=False)


def _mask(lengths: Ints, *, left: bool) -> npt.NDArray[np.bool_]:
    """Return which positions [B, T] are tokens of rows."""
    columns, longest = np.arange(lengths.max()), lengths.max()
    return columns >= longest - lengths[:, None] if left else columns < lengths[:, None]


def _lengths(values: Iterable[Sequence[int]]) -> Ints:
    return np.fromiter(map(len, values), np.int64)


def _types(row: Row) -> Sequence[int]:
    types = row.token_type_ids
    return tuple(repeat(0, len(row.input_ids))) if types is None else types


def _fill(mask: npt.NDArray[np.bool_], values: Iterable[Iterable[int]], default: int) -> Ints:
    """Return an array of `mask`'s shape with all values, in order, where the mask is true."""
    filled = np.full(mask.shape, default, np.int64)
    filled[mask] = np.fromiter(chain.from_iterable(values), np.int64)
    return filled


def _check_range(what: str, ids: Ints, count: int) -> None:
    if ids.min() < 0 or ids.max() >= count:
        raise BadRequest(f"A row has {what} outside the range of this base, 0 to {count - 1}.")
