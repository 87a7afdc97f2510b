"""Ranks of the good texts among all texts of an evaluation, and the figures of retrieval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from grafthub_similarity.models import SimilarityResponse
from hub.api import Example, Model

__all__ = ["Retrieval", "figures", "retrievals"]

CUT = 10  # of recall and nDCG
QUERIES_AT_ONCE = 256

Vectors = npt.NDArray[np.float32]


class Retrieval(Model):
    """Where the good text of an example stands among all texts of the evaluation."""

    rank: int = Field(ge=1, description="Place of the good text; of equal scores the last place.")
    texts: int = Field(ge=1, description="Different texts to choose from.")
    score: float = Field(description="Of the good text.")
    best: str = Field(description="The text with the highest score.")
    best_score: float


def retrievals(answers: Sequence[SimilarityResponse], examples: Sequence[Example]) -> list[Retrieval]:
    """Rank the good text of each example among the good and bad texts of all examples.

    Other good texts of the same query are not ranked: they are correct too.
    """
    texts, corpus = _corpus(answers, examples)
    good = np.array([texts[example["good"]] for example in examples])  # [N]
    also_good: dict[str, list[int]] = defaultdict(list)
    for example in examples:
        also_good[example["query"]].append(texts[example["good"]])
    queries = np.array([answer.query_vector for answer in answers], dtype=np.float32)  # [N, H]
    names, found = list(texts), []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        scores = queries[start : start + QUERIES_AT_ONCE] @ corpus.T  # [n, M]
        for row, own in enumerate(good[start : start + QUERIES_AT_ONCE]):
            score = scores[row, own]
            scores[row, also_good[examples[start + row]["query"]]] = -np.inf
            rank = 1 + int((scores[row] >= score).sum())
            scores[row, own] = score
            best = int(scores[row].argmax())
            found.append(
                Retrieval(
                    rank=rank,
                    texts=len(names),
                    score=float(score),
                    best=names[best],
                    best_score=float(scores[row, best]),
                )
            )
    return found


def figures(ranks: Sequence[int]) -> dict[str, float]:
    """Return recall, mean reciprocal rank and nDCG of queries with one good text each.

    nDCG: Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418.
    """
    count = max(1, len(ranks))
    return {
        "recall_at_1": sum(rank == 1 for rank in ranks) / count,
        f"recall_at_{CUT}": sum(rank <= CUT for rank in ranks) / count,
        "mrr": sum(1 / rank for rank in ranks) / count,
        f"ndcg_at_{CUT}": sum(1 / math.log2(1 + rank) for rank in ranks if rank <= CUT) / count,
    }


def _corpus(
    answers: Sequence[SimilarityResponse], examples: Sequence[Example]
) -> tuple[Mapping[str, int], Vectors]:
    """Return the different texts with their rows, and their vectors [M, H]."""
    texts: dict[str, int] = {}
    vectors: list[list[float]] = []
    for answer, example in zip(answers, examples, strict=True):
        for text, vector in zip((example["good"], example.get("bad")), answer.vectors or (), strict=False):
            if text is not None and text not in texts:
                texts[text] = len(vectors)
                vectors.append(vector)
    return texts, np.array(vectors, dtype=np.float32)
