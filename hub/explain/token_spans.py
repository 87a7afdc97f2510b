"""Maps the tokens of a row to character spans in the request's texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from hub.api import Tokenizer

__all__ = ["TokenPlace", "find_places", "words_of"]

_USED = -1  # not a token id


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Characters `start` to `end` of a field's text, and the index of the word in the text."""

    field: str
    start: int
    end: int
    word: int


def find_places(
    ids: Sequence[int], texts: Mapping[str, str], tokenizer: Tokenizer
) -> tuple[TokenPlace | None, ...]:
    """Return the place of each token of a row, None for tokens outside the texts.

    A task may truncate a text or combine several in a row, so for each text the longest run of tokens that it
    shares with the row is used.
    """
    rest = list(ids)
    places: list[TokenPlace | None] = [None] * len(ids)
    for field, text in texts.items():
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        theirs = encoding["input_ids"]
        words, offsets = encoding.word_ids(0), encoding["offset_mapping"]
        found = SequenceMatcher(None, rest, theirs, autojunk=False).find_longest_match()
        for step in range(found.size):
            token = found.b + step
            start, end = offsets[token]
            start += len(text[start:end]) - len(text[start:end].lstrip())
            word = words[token] if words[token] is not None else token
            places[found.a + step] = TokenPlace(field, start, end, word)
            rest[found.a + step] = _USED
    return tuple(places)


def words_of(places: Sequence[TokenPlace | None]) -> list[list[int]]:
    """Group the tokens of a row that have a place by word, in order."""
    groups: list[list[int]] = []
    last: tuple[str, int] | None = None
    for token, place in enumerate(places):
        key = (place.field, place.word) if place else None
        if key is not None and key == last:
            groups[-1].append(token)
        elif key is not None:
            groups.append([token])
        last = key
    return groups
