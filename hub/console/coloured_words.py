"""The words of an explained request, each with how strongly it speaks for the answer or against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["STRENGTHS", "coloured_words"]

STRENGTHS = 4  # colours for, and as many against
Json = dict[str, Any]


def coloured_words(texts: Mapping[str, Any], words: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Return each text with its pieces; `strength` is from -STRENGTHS to STRENGTHS, None between words.

    `words` have `field`, `offsets` in the text of this field, and `score`.
    """
    words = list(words)
    largest = max((abs(word["score"]) for word in words), default=0.0) or 1.0
    found = []
    for field, text in texts.items():
        if isinstance(text, str) and (own := [word for word in words if word["field"] == field]):
            found.append({"field": field, "pieces": list(_pieces(text, own, largest))})
    return found


def _pieces(text: str, words: Iterable[Mapping[str, Any]], largest: float) -> Iterable[Json]:
    at = 0
    for word in sorted(words, key=lambda one: tuple(one["offsets"])):
        start, end = word["offsets"]
        if start < at or end > len(text):
            continue
        if start > at:
            yield {"text": text[at:start], "strength": None}
        strength = round(STRENGTHS * word["score"] / largest)
        yield {"text": text[start:end], "strength": strength, "score": word["score"]}
        at = end
    if at < len(text):
        yield {"text": text[at:], "strength": None}
