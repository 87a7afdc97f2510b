# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""The loss where the model's own is not enough: smoothed labels, weighted ones, an L1 penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hub.api import HeadKind

__all__ = ["Loss"]

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Loss:
    """Computes the loss of a batch.

    `smoothing` spreads that share of each target over all labels (arXiv:1512.00567). `weights` [C] multiply
    the loss of each label; with several labels an example, that of the rows that have it. `l1` multiplies
    the sum of all trained weights' absolute values.
    """

    head: HeadKind
    smoothing: float = 0.0
    weights: Tensor | None = None
    l1: float = 0.0

    @property
    def is_plain(self) -> bool:
        """True if it is the model's own."""
        return not self.smoothing and self.weights is None and not self.l1

    def __call__(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Any]:
        """Return the mean loss, and what the model returned."""
        outputs = model(**inputs)
        own = self.smoothing or self.weights is not None
        loss = self._of_labels(outputs.logits, inputs["labels"]) if own else outputs.loss
        if self.l1:
            trained = (p for p in model.parameters() if p.requires_grad)
            loss = loss + self.l1 * torch.stack([p.abs().sum() for p in trained]).sum()
        return loss, outputs

    def _of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        if labels.is_floating_point():  # several labels: [B, C]
            targets = labels * (1 - self.smoothing) + self.smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
        if self.head is HeadKind.GENERATE:  # each position says the next token
            logits, labels = logits[:, :-1], labels[:, 1:]
        return functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1),
            weight=weights,
            ignore_index=IGNORED,
            label_smoothing=self.smoothing,
        )
