# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Rare labels made to count: weights of labels in the loss, weights of rows for drawing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hub.api import Features

__all__ = ["HEAVIEST", "class_weights", "row_weights"]

IGNORED = -100
HEAVIEST = 20.0  # a label of one row in thousands would otherwise be all that a batch is about


def class_weights(features: Sequence[Features], num_labels: int) -> Tensor:
    """Return the weight of each label, [C], from the `labels` of training features.

    One label a row or token: n / (C n_c), scikit-learn's "balanced", after King and Zeng (2001); several a
    row: rows without the label over rows with it, as BCEWithLogitsLoss takes for `pos_weight`. At most
    HEAVIEST, and 1 for a label that does not occur.
    """
    counts: Counter[int] = Counter()
    for row in features:
        counts.update(_labels(row))
    several = bool(features) and _is_several(features[0])
    total = len(features) if several else sum(counts.values())
    weights = [
        ((total - counts[label]) / counts[label] if several else total / (len(counts) * counts[label]))
        if counts[label]
        else 1.0
        for label in range(num_labels)
    ]
    return torch.tensor(weights).clamp(max=HEAVIEST)


def row_weights(features: Sequence[Features]) -> list[float]:
    """Return how often to draw each row: 1 for one with the commonest label, more for one with a rarer.

    Of several labels, in a row or its tokens, the rarest counts; a label is counted once a row. Rows without
    a label are a kind of their own. At most HEAVIEST.
    """
    kinds = [frozenset(_labels(row)) for row in features]
    counts = Counter(label for labels in kinds for label in labels)
    counts[IGNORED] = sum(not labels for labels in kinds)
    most = max(counts.values())
    return [min(HEAVIEST, most / min(counts[label] for label in labels or (IGNORED,))) for labels in kinds]


def _labels(row: Features) -> Iterator[int]:
    value = row["labels"]
    if isinstance(value, int):
        yield value
    elif _is_several(row):
        yield from (label for label, right in enumerate(value) if right)
    else:
        yield from (label for label in value if label != IGNORED)


def _is_several(row: Features) -> bool:
    value = row["labels"]
    return isinstance(value, list) and bool(value) and isinstance(value[0], float)
