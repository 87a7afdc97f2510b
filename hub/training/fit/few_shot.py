# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Few-shot training: contrastive tuning on pairs of rows, then a logistic head, as SetFit does.

Rows of one label are drawn together and rows of different labels apart (Tunstall et al. 2022,
https://arxiv.org/abs/2209.11055), with the loss of Khosla et al. 2020, https://arxiv.org/abs/2004.11362. The
vectors are the input of the head's output layer, so that a version is served like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from hub.api import Features, HeadKind, Row, Tokenizer
from hub.evaluation.predict import BeforeBatch, forward_rows
from hub.evaluation.temperature import output_layer
from hub.progress import Progress, silent
from hub.training.fit.loss import Loss, Share

__all__ = ["LogisticHead", "PairLoss"]

STRENGTH = 1.0  # scikit-learn's C for vectors of mean length 1; docs/training.md says why it is fixed
NEVER = -30.0  # the bias of a label without rows


@dataclass(frozen=True, slots=True)
class PairLoss(Loss):
    """Supervised contrastive loss over all pairs of a batch; the head's output layer gets no gradient.

    `scale` multiplies the cosines (1 / temperature).
    """

    num_labels: int = 0
    scale: float = 10.0

    def _mean(self, model: Any, inputs: dict[str, Any], share: Share) -> tuple[Tensor, Any]:
        labels = inputs.pop("labels")  # [B]
        with _vectors(model, self.num_labels):
            outputs = model(**inputs)
        vectors = functional.normalize(outputs.logits.float(), dim=1)  # [B, H]
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        scores = (vectors @ vectors.T * self.scale).masked_fill(own, torch.finfo(torch.float32).min)
        alike = (labels[:, None] == labels) & ~own
        chances = scores.log_softmax(1).masked_fill(~alike, 0.0)
        each = -chances.sum(1) / alike.sum(1).clamp(min=1)  # [B]
        return each.mean(), outputs


@dataclass(frozen=True, slots=True)
class LogisticHead:
    """Fits the head's output layer to training rows by logistic regression on their vectors.

    `labels` are those of the rows, each below `num_labels`. `balanced` weighs rows of rare labels more.
    """

    tokenizer: Tokenizer
    rows: Sequence[Row]
    labels: Sequence[int]
    num_labels: int
    balanced: bool = False

    @classmethod
    def of(
        cls, features: Sequence[Features], tokenizer: Tokenizer, num_labels: int, *, balanced: bool
    ) -> LogisticHead:
        """Return the head for training features of a single-label task."""
        rows = [
            Row(row["input_ids"], row.get("token_type_ids"), pixel_values=row.get("pixel_values"))
            for row in features
        ]
        return cls(tokenizer, rows, [row["labels"] for row in features], num_labels, balanced)

    def fit(
        self, model: PeftModel, before_batch: BeforeBatch | None = None, progress: Progress = silent
    ) -> None:
        """Set weight and bias of the output layer, in place."""

        def shown(stage: str, done: int, total: int, note: str = "") -> None:
            progress("fit head", done, total, note)

        with _vectors(model, self.num_labels) as layer:
            outputs = forward_rows(model, self.tokenizer, HeadKind.SEQUENCE, self.rows, shown, before_batch)
        vectors = np.stack([output.values for output in outputs if output.values is not None])  # [N, H]
        weight, bias = self._solve(vectors.astype(np.float64))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))

    def _solve(
        self, vectors: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return weight [C, H] and bias [C] for vectors [N, H]."""
        from sklearn.linear_model import LogisticRegression

        size = float(np.linalg.norm(vectors, axis=1).mean()) or 1.0  # so that C has one meaning on all bases
        found = LogisticRegression(
            C=STRENGTH, max_iter=1000, class_weight="balanced" if self.balanced else None
        ).fit(vectors / size, self.labels)
        coefficients, intercepts = found.coef_ / size, found.intercept_
        if len(found.classes_) == 2:  # one score for two labels
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        weight = np.zeros((self.num_labels, vectors.shape[1]))
        bias = np.full(self.num_labels, NEVER)
        weight[found.classes_], bias[found.classes_] = coefficients, intercepts
        return weight, bias


@contextmanager
def _vectors(model: Any, num_labels: int) -> Iterator[nn.Linear]:
    """Let the model return the input [B, H] of its output layer as logits, within the block."""
    layer = output_layer(model, num_labels)
    assert layer is not None, "the plan refuses heads without one"
    hook = layer.register_forward_hook(lambda module, inputs, output: inputs[0])
    try:
        yield layer
    finally:
        hook.remove()
