"""Splits a question and a context of any length into overlapping rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hub.api import Row, Tokenizer, TooLarge
from hub.task_tools import window_bounds

__all__ = ["Pair", "tokenize_pair"]

MIN_CONTEXT_TOKENS = 8  # beside the question
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and the whole of its context as one sequence of tokens."""

    ids: list[int]
    types: list[int] | None
    first: int  # position of the first context token, after the question and special tokens
    stop: int  # position after the last context token
    starts: Offsets  # [N] first character of each context token
    ends: Offsets  # [N] character after each context token

    def windows(self, limit: int, overlap: int, max_windows: int) -> list[tuple[int, int]]:
        """Return the context tokens of each window: from, to (excluded).

        Raises:
            TooLarge: the question leaves no room, or the context needs more than `max_windows`.
        """
        around = len(self.ids) - len(self.starts)
        room = limit - around
        if room < min(MIN_CONTEXT_TOKENS, len(self.starts)):
            raise TooLarge(
                f"The question takes {around} of the {limit} tokens of a row, which leaves too little for "
                "the context. Ask a shorter question."
            )
        bounds = window_bounds(len(self.starts), room, min(overlap, room // 2), max_windows)
        if bounds is None:
            raise TooLarge(
                f"The context has {len(self.starts)} tokens, more than {max_windows} windows of {room} can "
                "cover. Send it in parts."
            )
        return bounds

    def tokens_of(self, start: int, end: int) -> npt.NDArray[np.int64]:
        """Return the context tokens with a character from `start` to `end` (excluded)."""
        return np.flatnonzero((self.starts < end) & (self.ends > start))

    def row(self, start: int, stop: int) -> Row:
        """Return the window of context tokens `start` to `stop` with all that `decode` needs."""
        keep = [*range(self.first), *range(self.first + start, self.first + stop)]
        keep += range(self.stop, len(self.ids))
        return Row(
            input_ids=[self.ids[index] for index in keep],
            token_type_ids=[self.types[index] for index in keep] if self.types else None,
            meta={
                "position": self.first,
                "window": (start, stop),
                "starts": self.starts,
                "ends": self.ends,
            },
        )


def tokenize_pair(question: str, context: str, tokenizer: Tokenizer) -> Pair:
    """Tokenize the whole pair: a tokenizer's own truncation is state that all threads share."""
    encoding = tokenizer(question, context, return_offsets_mapping=True, verbose=False)
    ids = list(encoding["input_ids"])
    inside = [index for index, text in enumerate(encoding.sequence_ids(0)) if text == 1]
    first, stop = (inside[0], inside[-1] + 1) if inside else (len(ids), len(ids))
    offsets = np.array(encoding["offset_mapping"][first:stop], dtype=np.int64).reshape(-1, 2)
    return Pair(
        ids=ids,
        types=list(encoding["token_type_ids"]) if "token_type_ids" in encoding else None,
        first=first,
        stop=stop,
        starts=offsets[:, 0],
        ends=offsets[:, 1],
    )
