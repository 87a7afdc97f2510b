"""Reads training examples, a text with entities or tokens with tags, as text and spans."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from grafthub_extraction.tags import Span, read_spans
from hub.api import BadData, Example

__all__ = ["read_example"]


def read_example(example: Example) -> tuple[str, list[Span]]:
    """Return the text and its entities, as ordered spans of characters.

    Raises:
        BadData: the columns do not make an annotated text, or entities overlap.
    """
    text, entities = example.get("text"), example.get("entities")
    tokens, tags = example.get("tokens"), example.get("tags")
    if text is not None and entities is not None:
        return text, _spans(text, entities)
    if tokens is None or tags is None:
        raise BadData(
            "An example needs `text` and `entities` (an empty list if there are none), or `tokens` and "
            "`tags`."
        )
    if len(tokens) != len(tags):
        raise BadData(f"There are {len(tokens)} tokens and {len(tags)} tags.")
    return _joined(tokens, tags)


def _spans(text: str, entities: Sequence[dict[str, Any]]) -> list[Span]:
    spans = sorted(_trimmed(text, entity) for entity in entities)
    for (_, end, _), (start, _, _) in pairwise(spans):
        if start < end:
            raise BadData(f"Two entities overlap at character {start}; a token has one tag.")
    return spans


def _trimmed(text: str, entity: dict[str, Any]) -> Span:
    start, end = entity["start"], entity["end"]
    if end > len(text):
        raise BadData(f"An entity ends at {end}, and the text has {len(text)} characters.")
    piece = text[start:end]
    start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
    if start >= end:
        raise BadData(f"The entity at character {entity['start']} is white space.")
    return start, end, entity["label"]


def _joined(tokens: Sequence[str], tags: Sequence[str]) -> tuple[str, list[Span]]:
    """Put a space between tokens; spans of tokens become spans of characters."""
    words = [token.strip() for token in tokens]
    starts, at = [], 0
    for word in words:
        starts.append(at)
        at += len(word) + 1
    spans = [
        (starts[first], starts[stop - 1] + len(words[stop - 1]), kind)
        for first, stop, kind in read_spans(tags)
    ]
    return " ".join(words), spans
