"""Divides a document into parts of limited length, at the ends of paragraphs, sentences or words."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from hub.api import Tokenizer

__all__ = ["divide"]

# From the best place to end a part to the worst; each matches the white space or the mark before it.
_ENDS = (re.compile(r"\n\s*\n"), re.compile(r"[.!?][\"')\]]*\s+|[。！？]|\n"), re.compile(r"\s+"))  # noqa: RUF001


def divide(document: str, room: int, tokenizer: Tokenizer) -> list[str]:
    """Return the parts of a document, each of about `room` tokens at most; together they are its whole text.

    A part ends at the last end of a paragraph, else of a sentence, else of a word, in its second half.
    """
    encoded = tokenizer(document, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    starts: Sequence[int] = [begin for begin, _ in encoded["offset_mapping"]]  # [T], in characters
    parts, begin, first = [], 0, 0
    while len(starts) - first > room:
        middle = max(starts[first + room // 2], begin + 1)
        end = _end(document, middle, max(starts[first + room], middle))
        parts.append(document[begin:end])
        begin, first = end, bisect_left(starts, end)
    return [part for part in (*parts, document[begin:]) if part.strip()]


def _end(document: str, middle: int, limit: int) -> int:
    for pattern in _ENDS:
        ends = [match.end() for match in pattern.finditer(document, middle, limit)]
        if ends:
            return ends[-1]
    return limit
