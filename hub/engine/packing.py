"""Packs rows of different lengths into bins, so that a forward computes little padding; free of torch.

A bin is one sequence that holds several rows one after the other. All layers but the attention treat each
token alone, and the attention of a token is limited to those of its own row; so every row gets the result
that it gets alone. Bins are as long as the longest row: longer ones would hold less padding, but attention
takes time in proportion to the square of their length.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hub.engine.batch import Batch

if TYPE_CHECKING:
    from hub.engine.batch import Ints

__all__ = ["MAX_SLOTS", "Packed", "pack"]

MAX_SLOTS = 4  # different slots in a bin; a layer computes the updates of all for each of its tokens
MAX_FILL = 0.9  # of a padded batch with tokens; a fuller one is not packed


@dataclass(frozen=True, slots=True)
class Packed:
    """The rows of a batch in bins: N bins of T tokens, with up to K slots each."""

    input_ids: Ints  # [N, T]
    segments: Ints  # [N, T]; the number of a token's row in its bin from 1 on, 0 on padding
    positions: Ints  # [N, T]; of a token in its row
    token_type_ids: Ints  # [N, T]
    slots: Ints  # [N, K]
    places: Ints  # [N, T]; the index of a token's slot among those of its bin
    where: Ints  # [B, T]; the index of each row's tokens among the N * T of the bins, 0 on padding


@dataclass(slots=True)
class _Bin:
    """A bin that is being filled; `slots` by their places."""

    room: int
    rows: int = 0
    slots: list[int] = field(default_factory=list)


def pack(batch: Batch, pad: int) -> Packed | None:
    """Pack a batch that is padded on the right with `pad`; None where that would save little."""
    rows, width = batch.input_ids.shape
    if batch.lengths.sum() > MAX_FILL * rows * width:
        return None
    bins, places, starts, segments = _fill(batch, width)
    if len(bins) > MAX_FILL * rows:
        return None
    mask = batch.attention_mask.astype(bool)
    lengths = batch.lengths
    positions = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = np.repeat(starts, lengths) + positions

    def spread(values: Ints, default: int = 0) -> Ints:
        found = np.full(len(bins) * width, default, np.int64)
        found[at] = values
        return found.reshape(len(bins), width)

    slots = np.zeros((len(bins), max(len(one.slots) for one in bins)), np.int64)
    for number, one in enumerate(bins):
        slots[number, : len(one.slots)] = one.slots
    where = np.zeros((rows, width), np.int64)
    where[mask] = at
    return Packed(
        input_ids=spread(batch.input_ids[mask], pad),
        segments=spread(np.repeat(segments, lengths)),
        positions=spread(positions),
        token_type_ids=spread(batch.token_type_ids[mask]),
        slots=slots,
        places=spread(np.repeat(places, lengths)),
        where=where,
    )


def _fill(batch: Batch, width: int) -> tuple[list[_Bin], Ints, Ints, Ints]:
    """Put each row, the longest first, into a bin with its slot, else into the first with room.

    Return the bins and, by row, the place of its slot, its start among all tokens and its segment.
    """
    bins: list[_Bin] = []
    open_bins: list[tuple[int, _Bin]] = []  # with their numbers
    shortest = int(batch.lengths.min())
    places, starts, segments = (np.zeros(len(batch.lengths), np.int64) for _ in range(3))
    lengths, slots = batch.lengths.tolist(), batch.slots.tolist()
    for row in np.argsort(-batch.lengths, kind="stable").tolist():
        length, slot = lengths[row], slots[row]
        found = _choose(open_bins, length, slot)
        if found is None:
            found = (len(bins), _Bin(width))
            bins.append(found[1])
            open_bins.append(found)
        number, one = found
        if slot not in one.slots:
            one.slots.append(slot)
        one.rows += 1
        places[row], segments[row] = one.slots.index(slot), one.rows
        starts[row] = number * width + width - one.room
        one.room -= length
        if one.room < shortest:
            open_bins.remove(found)
    return bins, places, starts, segments


def _choose(open_bins: list[tuple[int, _Bin]], length: int, slot: int) -> tuple[int, _Bin] | None:
    first: tuple[int, _Bin] | None = None
    for found in open_bins:
        one = found[1]
        if one.room < length:
            continue
        if slot in one.slots:
            return found
        if first is None and len(one.slots) < MAX_SLOTS:
            first = found
    return first
