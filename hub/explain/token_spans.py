"""Maps the tokens of a row to character spans in the request's texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import Tokenizer

if TYPE_CHECKING:
    import numpy.typing as npt

    Tokens = npt.NDArray[np.int32]

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
    rows: Sequence[Sequence[int]], texts: Mapping[str, str], tokenizer: Tokenizer
) -> list[tuple[TokenPlace | None, ...]]:
    """Return the places of the tokens of each row, None for tokens outside the texts.

    A task may truncate a text or combine several in a row, so for each text the longest run of tokens that it
    shares with the row is used.
    """
    encoded = {
        field: (np.asarray(encoding["input_ids"], np.int32), _places_in(field, text, encoding))
        for field, text in texts.items()
        for encoding in [tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)]
    }
    return [_places_of(row, encoded.values()) for row in rows]


def _places_in(field: str, text: str, encoding: Any) -> list[TokenPlace]:
    """Return the place of each token of a text."""
    places = []
    for token, ((start, end), word) in enumerate(
        zip(encoding["offset_mapping"], encoding.word_ids(0), strict=True)
    ):
        begin = start + len(text[start:end]) - len(text[start:end].lstrip())
        places.append(TokenPlace(field, begin, end, token if word is None else word))
    return places


def _places_of(
    ids: Sequence[int], texts: Iterable[tuple[Tokens, list[TokenPlace]]]
) -> tuple[TokenPlace | None, ...]:
    rest = list(ids)
    places: list[TokenPlace | None] = [None] * len(rest)
    for tokens, known in texts:
        here, there, size = _longest_run(rest, tokens)
        places[here : here + size] = known[there : there + size]
        rest[here : here + size] = [_USED] * size
    return tuple(places)


def _longest_run(ids: Sequence[int], text: Tokens) -> tuple[int, int, int]:
    """Return where the longest run of tokens that both have begins in `ids` and `text`, and its length.

    It is that of difflib, which takes a step for each pair of equal tokens: minutes for one repeated word.
    """
    best = (0, 0, 0)
    runs = np.zeros(len(text) + 1, np.int32)  # length of the run that ends before each token of the text
    for place, token in enumerate(ids, start=1):
        np.multiply(runs[:-1] + 1, text == token, out=runs[1:])
        end = int(runs.argmax())
        if (size := int(runs[end])) > best[2]:
            best = (place - size, end - size, size)
    return best


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
