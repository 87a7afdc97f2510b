"""Calibration: reliability bins, expected calibration error, and temperature scaling.

Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599. scikit-learn has no such error, and
its `calibration_curve` gives no counts of rows per bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]

__all__ = ["CalibrationBin", "calibration_error", "fit_temperature", "probabilities", "reliability"]

BINS = 15
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
CHI_SQUARED_95 = 3.84  # 95th percentile, one degree of freedom


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """A reliability bin: number of predictions, their mean confidence, their accuracy."""

    rows: int
    confidence: float
    accuracy: float


def probabilities(logits: Floats, *, multi_label: bool) -> npt.NDArray[np.float64]:
    """Return probabilities [N, C] of logits [N, C]: a sigmoid of each with `multi_label`, else a softmax."""
    from scipy.special import expit, softmax

    values = np.asarray(logits, dtype=np.float64)
    return np.asarray(expit(values) if multi_label else softmax(values, axis=1))


def reliability(confidence: Floats, correct: npt.NDArray[np.bool_]) -> list[CalibrationBin]:
    """Return the non-empty ones of BINS bins of equal width, by confidence [N]; `correct` is [N]."""
    edges = np.minimum((np.asarray(confidence) * BINS).astype(int), BINS - 1)
    found = []
    for edge in range(BINS):
        inside = edges == edge
        if rows := int(inside.sum()):
            found.append(
                CalibrationBin(rows, float(confidence[inside].mean()), float(correct[inside].mean()))
            )
    return found


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error: the mean over rows of |confidence - accuracy| of their bin."""
    total = len(confidence)
    return sum(
        abs(one.confidence - one.accuracy) * one.rows / total for one in reliability(confidence, correct)
    )


def fit_temperature(logits: Floats, targets: Floats, *, multi_label: bool) -> float:
    """Return the temperature T that maximizes the likelihood of the targets given logits / T.

    `targets` are label indices [N], or 0 and 1 for each label [N, C] with `multi_label`. Returns 1.0 unless
    the likelihood-ratio test is significant: twice the gain in log-likelihood exceeds `CHI_SQUARED_95`.
    """
    from scipy.optimize import minimize_scalar

    if not len(logits):
        return 1.0
    values = np.asarray(logits, dtype=np.float64)
    correct = (values > 0) == targets if multi_label else values.argmax(axis=1) == targets
    if correct.all() or not correct.any():
        return 1.0  # the likelihood then has no maximum

    def loss(log_t: float) -> float:
        return _log_loss(values / math.exp(log_t), targets, multi_label=multi_label)

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    best = minimize_scalar(loss, bounds=bounds, method="bounded")
    gain = 2 * targets.size * (loss(0.0) - best.fun)
    return float(math.exp(best.x)) if gain > CHI_SQUARED_95 else 1.0


def _log_loss(logits: npt.NDArray[np.float64], targets: Floats, *, multi_label: bool) -> float:
    from scipy.special import log_softmax

    if multi_label:
        return float(np.mean(np.logaddexp(0.0, logits) - targets * logits))
    chosen = np.arange(len(logits)), np.asarray(targets, dtype=int)
    return -float(np.mean(log_softmax(logits, axis=1)[chosen]))
