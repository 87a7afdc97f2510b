"""Precision, recall and F1 of whole entities, from 0 to 1.

An entity is right if its place and its type are (Tjong Kim Sang and De Meulder 2003,
https://aclanthology.org/W03-0419).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from grafthub_extraction.tags import Span, write_tags
from grafthub_extraction.words import word_bounds

__all__ = ["entity_scores", "token_accuracy"]

Scores = tuple[float, float, float]  # precision, recall, F1


def entity_scores(found: Sequence[Sequence[Span]], right: Sequence[Sequence[Span]]) -> dict[str, float]:
    """Score the entities found in some texts: over all of them, as mean of the types, and by type.

    Where there was nothing to find and nothing was found, every score is 1.
    """
    hits: Counter[str] = Counter()
    said: Counter[str] = Counter()
    gold: Counter[str] = Counter()
    for ours, theirs in zip(found, right, strict=True):
        said.update(kind for _, _, kind in set(ours))
        gold.update(kind for _, _, kind in set(theirs))
        hits.update(kind for _, _, kind in set(ours) & set(theirs))
    by_type = {kind: _scores(hits[kind], said[kind], gold[kind]) for kind in sorted({*said, *gold})}
    micro = _scores(hits.total(), said.total(), gold.total())
    macro = np.mean(list(by_type.values()) or [micro], axis=0).tolist()
    names = ("precision", "recall", "f1")
    return {
        **dict(zip(names, micro, strict=True)),
        **{f"{name}_macro": value for name, value in zip(names, macro, strict=True)},
        **{f"f1:{kind}": scores[2] for kind, scores in by_type.items()},
    }


def token_accuracy(
    texts: Sequence[str], found: Sequence[Sequence[Span]], right: Sequence[Sequence[Span]]
) -> float:
    """Return the share of words whose tag (BIO) is right, those outside of entities among them."""
    same = total = 0
    for text, ours, theirs in zip(texts, found, right, strict=True):
        words = word_bounds(text)
        tags = [write_tags(_in_words(words, spans), len(words), bilou=False) for spans in (ours, theirs)]
        same += sum(one == other for one, other in zip(*tags, strict=True))
        total += len(words)
    return same / total if total else 1.0


def _in_words(words: np.ndarray, spans: Sequence[Span]) -> list[Span]:
    first = np.searchsorted(words[:, 1], [start for start, _, _ in spans], side="right")
    stop = np.searchsorted(words[:, 0], [end for _, end, _ in spans], side="left")
    return [
        (int(begin), int(end), kind)
        for begin, end, (_, _, kind) in zip(first, stop, spans, strict=True)
        if begin < end
    ]


def _scores(hits: int, said: int, gold: int) -> Scores:
    if not said and not gold:
        return 1.0, 1.0, 1.0
    return hits / said if said else 0.0, hits / gold if gold else 0.0, 2 * hits / (said + gold)
