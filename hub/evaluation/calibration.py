"""How well probabilities say how often an answer is right, and the temperature that mends them.

Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599.
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
COLDEST, HOTTEST = 0.05, 20.0
CHANCE = 3.84  # of chi-squared with one degree of freedom


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Answers of like confidence: how many, how confident on average, how many of them right (a share)."""

    rows: int
    confidence: float
    accuracy: float


def probabilities(logits: Floats, *, several: bool) -> npt.NDArray[np.float64]:
    """Turn logits [N, C] into probabilities: each label's own with `several`, else a distribution."""
    values = np.asarray(logits, dtype=np.float64)
    if several:
        return np.asarray(np.exp(-np.logaddexp(0.0, -values)))
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def reliability(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> list[CalibrationBin]:
    """Put answers into `bins` ranges of equal width by their confidence [N]; empty ranges are left out."""
    edges = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    found = []
    for edge in range(bins):
        inside = edges == edge
        if rows := int(inside.sum()):
            found.append(CalibrationBin(rows, float(confidence[inside].mean()), float(right[inside].mean())))
    return found


def calibration_error(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the expected calibration error: the gap of each bin's confidence to its accuracy, by size."""
    total = len(confidence)
    return sum(
        abs(one.confidence - one.accuracy) * one.rows / total for one in reliability(confidence, right, bins)
    )


def fit_temperature(logits: Floats, targets: Floats, *, several: bool) -> float:
    """Return the T for which logits / T make the targets likeliest; 1.0 if chance explains any other.

    `targets` are label indices [N], or 0 and 1 for each label [N, C] with `several`. Chance is told by the
    likelihood-ratio test: twice the gain in log-likelihood is to exceed the 95th percentile of chi-squared.
    """
    from scipy.optimize import minimize_scalar

    if not len(logits):
        return 1.0
    values = np.asarray(logits, dtype=np.float64)
    right = (values > 0) == targets if several else values.argmax(axis=1) == targets
    if right.all() or not right.any():
        return 1.0  # such rows say nothing of how sure to be

    def loss(log_t: float) -> float:
        return _log_loss(values / math.exp(log_t), targets, several=several)

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    best = minimize_scalar(loss, bounds=bounds, method="bounded")
    gain = 2 * targets.size * (loss(0.0) - best.fun)
    return float(math.exp(best.x)) if gain > CHANCE else 1.0


def _log_loss(logits: npt.NDArray[np.float64], targets: Floats, *, several: bool) -> float:
    if several:
        return float(np.mean(np.logaddexp(0.0, logits) - targets * logits))
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    chosen = logits[np.arange(len(logits)), np.asarray(targets, dtype=int)]
    return float(np.mean(total - chosen))
