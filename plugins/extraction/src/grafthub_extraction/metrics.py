"""Precision, recall and F1 of whole entities, from 0 to 1.

An entity is correct if its span and type are (Tjong Kim Sang and De Meulder 2003,
https://aclanthology.org/W03-0419).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from grafthub_extraction.tags import Span, write_tags
from grafthub_extraction.words import word_bounds

__all__ = ["entity_scores", "token_accuracy"]

MAX_CACHED_TEXTS = 16_384  # intervals of the figures take hundreds of samples of the same texts
Scores = tuple[float, float, float]  # precision, recall, F1


def entity_scores(predicted: Sequence[Sequence[Span]], true: Sequence[Sequence[Span]]) -> dict[str, float]:
    """Return the scores of predicted entities: over all texts, as mean of the types, and by type.

    Without true and predicted entities, every score is 1.
    """
    hits: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    gold: Counter[str] = Counter()
    for ours, theirs in zip(predicted, true, strict=True):
        guessed.update(kind for _, _, kind in set(ours))
        gold.update(kind for _, _, kind in set(theirs))
        hits.update(kind for _, _, kind in set(ours) & set(theirs))
    by_type = {kind: _scores(hits[kind], guessed[kind], gold[kind]) for kind in sorted({*guessed, *gold})}
    micro = _scores(hits.total(), guessed.total(), gold.total())
    macro = np.mean(list(by_type.values()) or [micro], axis=0).tolist()
    names = ("precision", "recall", "f1")
    return {
        **dict(zip(names, micro, strict=True)),
        **{f"{name}_macro": value for name, value in zip(names, macro, strict=True)},
        **{f"f1:{kind}": scores[2] for kind, scores in by_type.items()},
    }


def token_accuracy(
    texts: Sequence[str], predicted: Sequence[Sequence[Span]], true: Sequence[Sequence[Span]]
) -> float:
    """Return the share of words with the correct BIO tag, including words outside of entities."""
    same = total = 0
    for text, ours, theirs in zip(texts, predicted, true, strict=True):
        correct, words = _correct_words(text, tuple(ours), tuple(theirs))
        same += correct
        total += words
    return same / total if total else 1.0


@lru_cache(MAX_CACHED_TEXTS)
def _correct_words(text: str, ours: tuple[Span, ...], theirs: tuple[Span, ...]) -> tuple[int, int]:
    """Return how many words have the correct tag, and how many there are."""
    words = word_bounds(text)
    tags = [write_tags(_in_words(words, spans), len(words), bilou=False) for spans in (ours, theirs)]
    return sum(one == other for one, other in zip(*tags, strict=True)), len(words)


def _in_words(words: np.ndarray, spans: Sequence[Span]) -> list[Span]:
    first = np.searchsorted(words[:, 1], [start for start, _, _ in spans], side="right")
    stop = np.searchsorted(words[:, 0], [end for _, end, _ in spans], side="left")
    return [
        (int(begin), int(end), kind)
        for begin, end, (_, _, kind) in zip(first, stop, spans, strict=True)
        if begin < end
    ]


def _scores(hits: int, guessed: int, gold: int) -> Scores:
    if not guessed and not gold:
        return 1.0, 1.0, 1.0
    return hits / guessed if guessed else 0.0, hits / gold if gold else 0.0, 2 * hits / (guessed + gold)
