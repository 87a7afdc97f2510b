"""Converts token scores to entities, with the aggregations of Hugging Face's token classification.

`none` and `simple` use the most probable tag of each token. `first`, `average` and `max` give each word one
tag, by the scores of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from grafthub_extraction.models import Aggregation, Entity
from grafthub_extraction.tags import best_path, chosen, read_spans
from grafthub_extraction.windows import joined_scores
from grafthub_extraction.words import Units, group_tokens, word_bounds
from hub.api import Output
from hub.task_tools import softmax

__all__ = ["find_entities"]

Scores = npt.NDArray[np.float32]


def find_entities(
    text: str,
    outputs: Sequence[Output],
    labels: tuple[str, ...],
    aggregation: Aggregation,
    constrained: bool,
) -> list[Entity]:
    """Return the entities of a text in order; `labels` are the columns of the outputs."""
    probabilities = softmax(joined_scores(outputs))  # [N, C]
    starts, ends = outputs[0].row.meta["starts"], outputs[0].row.meta["ends"]
    if aggregation in ("none", "simple"):
        visible = np.flatnonzero(starts < ends)
        probabilities, starts, ends = probabilities[visible], starts[visible], ends[visible]
        path = probabilities.argmax(axis=1)
    else:
        units = group_tokens(word_bounds(text), starts, ends)
        probabilities, starts, ends = _by_word(probabilities, units, aggregation), units.starts, units.ends
        path = best_path(probabilities, labels) if constrained else probabilities.argmax(axis=1)
    tags = [labels[index] for index in path]
    scores = chosen(probabilities, path)
    if aggregation == "none":
        spans = [(index, index + 1, tag) for index, tag in enumerate(tags) if tag != "O"]
    else:
        spans = read_spans(tags)
    return [
        Entity(
            entity_group=kind,
            word=text[starts[first] : ends[stop - 1]],
            start=int(starts[first]),
            end=int(ends[stop - 1]),
            score=min(1.0, float(scores[first:stop].mean())),
        )
        for first, stop, kind in spans
    ]


def _by_word(probabilities: Scores, units: Units, aggregation: Aggregation) -> Scores:
    """Return the probabilities [U, C] of words, given those of their tokens [N, C]."""
    if aggregation == "first" or not len(units):
        return probabilities[units.first]
    pieces = [probabilities[first:stop] for first, stop in zip(units.first, units.stop, strict=True)]
    if aggregation == "average":
        return np.stack([piece.mean(axis=0) for piece in pieces])
    return np.stack([piece[piece.max(axis=1).argmax()] for piece in pieces])
