"""A text whose parts are replaced, and where its characters went."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = ["Aligned", "Span"]

Span = tuple[int, int, str]
"""Start, end and what stands there instead; never empty, none overlapping the next."""


class Aligned:
    """A text that remembers its replacements, so that offsets into the original can follow them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps: list[tuple[Sequence[Span], list[int]]] = []

    def replace(self, spans: Iterable[Span]) -> bool:
        """Replace spans of the present text, given in order; returns whether that changed it."""
        real = [span for span in spans if self.text[span[0] : span[1]] != span[2]]
        if not real:
            return False
        parts, at = [], 0
        for start, end, new in real:
            parts += [self.text[at:start], new]
            at = end
        self.text = "".join([*parts, self.text[at:]])
        # How far characters behind each span have moved.
        self._steps.append((real, list(accumulate(len(new) - (end - start) for start, end, new in real))))
        return True

    def moved(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of the original stands now; one that cuts into a replacement has all of it.

        Of a part that is gone, start and end are the same.
        """
        for spans, shifts in self._steps:
            if start >= end:
                return start, start
            start = _moved(start, spans, shifts, is_end=False)
            end = _moved(end, spans, shifts, is_end=True)
        return start, end


def _moved(offset: int, spans: Sequence[Span], shifts: Sequence[int], *, is_end: bool) -> int:
    index = bisect_right(spans, offset, key=lambda span: span[0]) - 1
    if index < 0:
        return offset
    start, end, new = spans[index]
    before = shifts[index - 1] if index else 0
    if offset >= end:
        return offset + shifts[index]
    if offset == start or not is_end:
        return start + before
    return start + before + len(new)
