"""The contribution of each token of a text, or of each patch of an image, to a score."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hub.explain.token_spans import TokenPlace

__all__ = ["Explanation", "ImageExplanation", "PatchGrid", "Word"]

# Keys of both kinds of explanation as JSON, before and after those of its own.
_FIRST = ("name", "version", "method", "target", "score")
_LAST = ("baseline_score", "convergence_delta", "steps", "row", "rows")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text and the sum of its tokens' scores."""

    text: str
    place: TokenPlace
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Scores of the tokens of one row, for the score of label `target`.

    With the method gradients, they sum to the difference between `score` and the `baseline_score` of a masked
    input, up to `convergence_delta`. With attention, they sum to 1. `position` is the explained token, None
    if the head has one score per row. `words` groups the tokens that have a place in a text.
    """

    name: str
    version: int
    method: str
    target: str
    score: float
    position: int | None
    tokens: tuple[str, ...]
    places: tuple[TokenPlace | None, ...]
    scores: tuple[float, ...]
    words: tuple[tuple[int, ...], ...]
    texts: Mapping[str, str]
    baseline_score: float | None
    convergence_delta: float | None
    steps: int | None
    row: int
    rows: int

    def merged(self) -> list[Word]:
        """Return the words with their scores, in the order of the row."""
        found = []
        for tokens in self.words:
            first, last = self.places[tokens[0]], self.places[tokens[-1]]
            assert first is not None and last is not None
            place = TokenPlace(first.field, first.start, last.end, first.word)
            text = self.texts[place.field][place.start : place.end]
            found.append(Word(text, place, sum(self.scores[token] for token in tokens)))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; tokens outside the texts have null as field and offsets."""
        return {
            **_fields(self, _FIRST),
            "position": self.position,
            "tokens": list(self.tokens),
            "fields": [place.field if place else None for place in self.places],
            "offsets": [[place.start, place.end] if place else None for place in self.places],
            "scores": list(self.scores),
            "words": [
                {
                    "text": word.text,
                    "field": word.place.field,
                    "offsets": [word.place.start, word.place.end],
                    "score": word.score,
                }
                for word in self.merged()
            ],
            **_fields(self, _LAST),
        }


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """The patches of an image as a base takes it, `width` x `height` pixels; a rest on the right or at the
    bottom that fills no patch is not read."""

    rows: int
    columns: int
    patch_height: int
    patch_width: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class ImageExplanation:
    """Scores of the patches of one image, for the score of label `target`.

    `patches` has a list for each row of `grid`. The sums are those of `Explanation`, with a grey image as the
    baseline. `picture` is the image as the base takes it, a PNG file.
    """

    name: str
    version: int
    method: str
    target: str
    score: float
    grid: PatchGrid
    patches: tuple[tuple[float, ...], ...]
    picture: bytes
    baseline_score: float | None
    convergence_delta: float | None
    steps: int | None
    row: int
    rows: int

    @property
    def data_url(self) -> str:
        """The picture as a data URL."""
        return f"data:image/png;base64,{base64.b64encode(self.picture).decode('ascii')}"

    @property
    def largest(self) -> float:
        """The largest absolute score of a patch."""
        return max((abs(score) for row in self.patches for score in row), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the picture."""
        return {
            **_fields(self, _FIRST),
            "grid": asdict(self.grid),
            "patches": [list(row) for row in self.patches],
            **_fields(self, _LAST),
        }


def _fields(explanation: Explanation | ImageExplanation, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(explanation, name) for name in names}
