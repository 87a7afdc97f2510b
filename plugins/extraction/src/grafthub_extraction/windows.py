"""Splits a text of any length into overlapping rows of tokens, and merges the scores of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grafthub_extraction.words import Offsets
from hub.api import Output, Row, Tokenizer, TooLarge
from hub.task_tools import window_bounds

__all__ = ["Document", "Window", "cut_windows", "joined_scores", "tokenize"]


@dataclass(frozen=True, slots=True)
class Window:
    """A row of the tokens `start` to `stop`, which provides the scores of `own_start` to `own_stop`."""

    start: int
    stop: int
    own_start: int
    own_stop: int


@dataclass(frozen=True, slots=True)
class Document:
    """A whole text as one sequence of tokens."""

    ids: list[int]
    types: list[int] | None
    first: int  # position of the text's first token, after special tokens
    stop: int  # position after its last token
    starts: Offsets  # [N] first character of each of the text's tokens, without white space
    ends: Offsets  # [N] character after each

    def windows(self, limit: int, overlap: int, max_windows: int) -> list[Window]:
        """Return the windows, of at most `limit` tokens including special ones.

        Raises:
            TooLarge: the text needs more than `max_windows`.
        """
        room = max(1, limit - (len(self.ids) - len(self.starts)))
        windows = cut_windows(len(self.starts), room, min(overlap, room // 2), max_windows)
        if windows is None:
            raise TooLarge(
                f"The text has {len(self.starts)} tokens, more than {max_windows} windows of {room} can "
                "cover. Send it in parts."
            )
        return windows

    def row(self, window: Window) -> Row:
        """Return a window with all that `decode` needs."""
        keep = [*range(self.first), *range(self.first + window.start, self.first + window.stop)]
        keep += range(self.stop, len(self.ids))
        return Row(
            input_ids=[self.ids[index] for index in keep],
            token_type_ids=[self.types[index] for index in keep] if self.types else None,
            meta={"position": self.first, "window": window, "starts": self.starts, "ends": self.ends},
        )


def tokenize(text: str, tokenizer: Tokenizer) -> Document:
    """Tokenize the whole text: a tokenizer's own truncation is state that all threads share."""
    encoding = tokenizer(text, return_offsets_mapping=True, verbose=False)
    ids = list(encoding["input_ids"])
    inside = [index for index, part in enumerate(encoding.sequence_ids(0)) if part == 0]
    first, stop = (inside[0], inside[-1] + 1) if inside else (len(ids), len(ids))
    trimmed = [_trimmed(text, start, end) for start, end in encoding["offset_mapping"][first:stop]]
    offsets = np.array(trimmed, dtype=np.int64).reshape(-1, 2)
    return Document(
        ids=ids,
        types=list(encoding["token_type_ids"]) if "token_type_ids" in encoding else None,
        first=first,
        stop=stop,
        starts=offsets[:, 0],
        ends=offsets[:, 1],
    )


def cut_windows(size: int, room: int, overlap: int, max_windows: int) -> list[Window] | None:
    """Cover `size` tokens with windows of `room` tokens that share at least `overlap`.

    Of the tokens that two windows share, each owns the half for which it has more context. The last window is
    moved left to be as long as the others. Returns None if there would be more than `max_windows`.
    """
    bounds = window_bounds(size, room, overlap, max_windows)
    if bounds is None:
        return None
    stops = [stop for _, stop in bounds]
    starts = [max(0, stop - room) for stop in stops]
    cuts = [(start + stop) // 2 for start, stop in zip(starts[1:], stops, strict=False)]
    return [Window(*bounds) for bounds in zip(starts, stops, [0, *cuts], [*cuts, size], strict=True)]


def joined_scores(outputs: Sequence[Output]) -> npt.NDArray[np.float32]:
    """Return the scores of all tokens of the text, [N, C], each from the window that owns it."""
    parts = []
    for output in outputs:
        window, position = output.row.meta["window"], output.row.meta["position"]
        scores = np.asarray(output.values, dtype=np.float32)  # [T, C]
        begin = position - window.start
        parts.append(scores[begin + window.own_start : begin + window.own_stop])
    return np.concatenate(parts)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
