"""Vectors of texts: how they are made from hidden states, and candidates in the order of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Embedding", "Pooling", "Ranked", "ranked"]


class Pooling(StrEnum):
    """How the hidden states of a row [T, H] become its vector [H]."""

    MEAN = "mean"  # over all tokens
    CLS = "cls"  # the first token
    LAST = "last"  # the last token, which is the one that sees all others in a decoder


@dataclass(frozen=True, slots=True)
class Embedding:
    """How an EMBEDDING adapter makes and compares vectors.

    Two texts score the dot product of their vectors, which is the cosine if they are normalized. A softmax
    over the scores of several texts, times `scale`, gives probabilities; 1 / `scale` is the temperature.
    """

    pooling: Pooling = Pooling.MEAN
    normalize: bool = True
    scale: float = 20.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate by its position among the candidates, and its score."""

    index: int
    score: float


def ranked(scores: Sequence[float], top_k: int | None = None) -> list[Ranked]:
    """Return the candidates from the highest score to the lowest, equal ones in their order."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [Ranked(index, scores[index]) for index in order[:top_k]]
