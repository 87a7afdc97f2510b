# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""The loss of a batch, and its share of an optimizer step that accumulates batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hub.api import Features, HeadKind
from hub.evaluation.logits import IGNORED

__all__ = ["MAX_WEIGHT", "WHOLE", "Loss", "Share", "class_weights", "row_weights"]


@dataclass(frozen=True, slots=True)
class Share:
    """Factors of a batch's mean loss and penalty, so that the sum over batches is one mean loss."""

    loss: float = 1.0
    penalty: float = 1.0


WHOLE = Share()


@dataclass(frozen=True, slots=True)
class Loss:
    """Computes the loss of a batch.

    `smoothing` spreads that share of each target over all labels (arXiv:1512.00567). `weights` [C] multiply
    the loss of each label; for multi-label, only where it is true. `l1` multiplies the sum of the absolute
    values of all trained weights. A decoder's position predicts the next label, and an encoder-decoder's,
    with `aligned` labels, its own.
    """

    head: HeadKind
    smoothing: float = 0.0
    weights: Tensor | None = None
    l1: float = 0.0
    aligned: bool = False

    def __call__(self, model: Any, inputs: dict[str, Any], share: Share = WHOLE) -> tuple[Tensor, Any]:
        """Return the mean loss times the batch's share, and the outputs of the model."""
        loss, outputs = self._mean(model, inputs, share)
        if share.loss != 1.0:
            loss = loss * share.loss
        if self.l1:
            trained = (p for p in model.parameters() if p.requires_grad)
            loss = loss + share.penalty * self.l1 * torch.stack([p.abs().sum() for p in trained]).sum()
        return loss, outputs

    def shares(self, batches: Sequence[Mapping[str, Tensor]]) -> list[Share]:
        """Return the shares with which batches have the loss and gradient of one batch of all their rows."""
        counts = torch.stack([self._count(batch) for batch in batches]).tolist()
        total = sum(counts) or 1.0
        return [Share(count / total, 1 / len(batches)) for count in counts]

    def _mean(self, model: Any, inputs: dict[str, Any], share: Share) -> tuple[Tensor, Any]:
        """Return the mean loss of a batch, and the outputs of the model."""
        outputs = model(**inputs)
        if not share.loss:  # if all labels are ignored, the mean loss is 0 / 0
            scores = outputs.get("logits")
            return (outputs.loss if scores is None else scores.float().sum()) * 0.0, outputs
        own = self.smoothing or self.weights is not None
        return self._of_labels(outputs.logits, inputs["labels"]) if own else outputs.loss, outputs

    def _count(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the divisor of a batch's mean loss: rows or labelled tokens, or the sum of their weights."""
        labels = inputs.get("labels")
        if labels is None or labels.is_floating_point():  # spans, vectors, multi-label
            rows = inputs["input_ids"] if "input_ids" in inputs else inputs["pixel_values"]
            return torch.tensor(float(len(rows)), device=rows.device)
        if self._is_shifted:
            labels = labels[:, 1:]
        known = labels != IGNORED
        if self.weights is None:
            return known.sum().float()
        return (self.weights.to(labels.device)[labels.clamp(min=0)] * known).sum()

    @property
    def _is_shifted(self) -> bool:
        return self.head is HeadKind.GENERATE and not self.aligned

    def _of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        if labels.is_floating_point():  # multi-label: [B, C]
            targets = labels * (1 - self.smoothing) + self.smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
        if self._is_shifted:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1),
            weight=weights,
            ignore_index=IGNORED,
            label_smoothing=self.smoothing,
        )


MAX_WEIGHT = 20.0  # otherwise a label of one row in thousands would dominate its batch


def class_weights(features: Sequence[Features], num_labels: int) -> Tensor:
    """Return the weight of each label [C] from the `labels` of training features.

    Single-label: n / (C n_c), scikit-learn's "balanced", after King and Zeng (2001). Multi-label: rows
    without the label over rows with it, the `pos_weight` of BCEWithLogitsLoss. At most MAX_WEIGHT, and 1 for
    a label that does not occur.
    """
    counts: Counter[int] = Counter()
    for row in features:
        counts.update(_labels(row))
    multi_label = bool(features) and _is_multi_label(features[0])
    total = len(features) if multi_label else sum(counts.values())
    weights = [
        ((total - counts[label]) / counts[label] if multi_label else total / (len(counts) * counts[label]))
        if counts[label]
        else 1.0
        for label in range(num_labels)
    ]
    return torch.tensor(weights).clamp(max=MAX_WEIGHT)


def row_weights(features: Sequence[Features]) -> list[float]:
    """Return the sampling weight of each row: 1 for the most common label, more for rarer labels.

    The rarest label of a row, or of its tokens, determines its weight; a label counts once per row. Rows
    without a label count as one more label. At most MAX_WEIGHT.
    """
    kinds = [frozenset(_labels(row)) for row in features]
    counts = Counter(label for labels in kinds for label in labels)
    counts[IGNORED] = sum(not labels for labels in kinds)
    most = max(counts.values())
    return [min(MAX_WEIGHT, most / min(counts[label] for label in labels or (IGNORED,))) for labels in kinds]


def _labels(row: Features) -> Iterator[int]:
    value = row["labels"]
    if isinstance(value, int):
        yield value
    elif _is_multi_label(row):
        yield from (label for label, true in enumerate(value) if true)
    else:
        yield from (label for label in value if label != IGNORED)


def _is_multi_label(row: Features) -> bool:
    value = row["labels"]
    return isinstance(value, list) and bool(value) and isinstance(value[0], float)
