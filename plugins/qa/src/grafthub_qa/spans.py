"""Finds the best answers in the outputs for the windows of one context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hub.api import Output
from hub.task_tools import is_continuation

__all__ = ["SpanScores", "whole_characters"]

CANDIDATES = 20  # spans over which probabilities are normalised, as in SQuAD's evaluation

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpanScores:
    """Scores of all spans of up to L tokens in a context of N tokens."""

    table: Scores  # [N, L] start + end logit of the span of 1 + column tokens; -inf: in no window
    null: float  # score of "no answer"
    starts: npt.NDArray[np.int64]  # [N]
    ends: npt.NDArray[np.int64]  # [N]

    @classmethod
    def of(cls, outputs: Sequence[Output], max_tokens: int) -> SpanScores:
        """Merge the windows: a span in several gets its best score, "no answer" its worst.

        "No answer" is the first token of a row, as in Devlin et al. 2019, https://aclanthology.org/N19-1423.
        """
        starts, ends = outputs[0].row.meta["starts"], outputs[0].row.meta["ends"]
        length = max(1, min(max_tokens, len(starts)))
        table = np.full((len(starts), length), -np.inf, dtype=np.float32)
        null = np.inf
        for output in outputs:
            logits = np.asarray(output.values, dtype=np.float32)  # [T, 2]
            null = min(null, float(logits[0].sum()))
            first, stop = output.row.meta["window"]
            at = output.row.meta["position"]
            begin, finish = logits[at : at + stop - first].T
            finish = np.concatenate([finish, np.full(length - 1, -np.inf, dtype=np.float32)])
            if stop > first:
                spans = begin[:, None] + np.lib.stride_tricks.sliding_window_view(finish, length)
                np.maximum(table[first:stop], spans, out=table[first:stop])
        return cls(table, null, starts, ends)

    def log_total(self, with_null: bool) -> float:
        """Return the logarithm that turns a score into a probability among the best candidates."""
        flat = self.table.ravel()
        top = np.partition(flat, -CANDIDATES)[-CANDIDATES:] if flat.size > CANDIDATES else flat
        scores = np.append(top.astype(np.float64), self.null) if with_null else top.astype(np.float64)
        return float(np.logaddexp.reduce(scores))

    def answers(self, context: str) -> Iterator[tuple[float, int, int]]:
        """Yield score, start and end of the best spans, none of which overlaps an earlier one."""
        table = self.table.copy()
        while table.size and (score := float(table.max())) > -np.inf:
            first, extra = divmod(int(table.argmax()), table.shape[1])
            start, end = whole_characters(context, int(self.starts[first]), int(self.ends[first + extra]))
            touched = np.flatnonzero((self.starts < end) & (self.ends > start))
            _remove(table, min([first, *touched]), max([first + extra, *touched]))
            if start < end:
                yield score, start, end


def whole_characters(text: str, start: int, end: int) -> tuple[int, int]:
    """Trim white space, then extend to whole grapheme clusters.

    A token may end before a combining mark, a variation selector or the rest of an emoji sequence.
    """
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while 0 < start < end and is_continuation(text, start):
        start -= 1
    while start < end < len(text) and is_continuation(text, end):
        end += 1
    return start, end


def _remove(table: Scores, first: int, last: int) -> None:
    """Remove every span that contains one of the tokens `first` to `last`."""
    for start in range(max(0, first - table.shape[1] + 1), last + 1):
        table[start, max(0, first - start) :] = -np.inf
