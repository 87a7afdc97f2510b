"""The words, or patches of an image, of an explained request: how strongly each speaks for the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["STRENGTHS", "coloured_patches", "coloured_words"]

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


def coloured_patches(grid: Mapping[str, int], patches: Sequence[Sequence[float]]) -> list[Json]:
    """Return the place in pixels, the strength and the score of each patch that has a strength.

    `grid` and `patches` are those of an explained image.
    """
    largest = max((abs(score) for row in patches for score in row), default=0.0) or 1.0
    width, height = grid["patch_width"], grid["patch_height"]
    return [
        {"x": column * width, "y": row * height, "strength": strength, "score": score}
        for row, scores in enumerate(patches)
        for column, score in enumerate(scores)
        if (strength := round(STRENGTHS * score / largest))
    ]


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
