"""How far a figure may be off because the rows are the ones they happen to be: bootstrap and paired tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]

__all__ = ["Interval", "Paired", "bootstrap", "mcnemar", "paired_bootstrap"]

RESAMPLES = 1000
FEWEST = 100  # however slow the metric is
BUDGET_S = 10.0
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval by the percentile bootstrap (Efron and Tibshirani, 1993)."""

    low: float
    high: float
    resamples: int


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two models on the same rows: the first's figure less the second's.

    `worse` is the share of resamples in which the first is below the second, half of the ties added: a
    one-sided p-value of its being better is `worse`, of its being worse 1 - `worse` (Koehn, 2004,
    "Statistical Significance Tests for Machine Translation Evaluation").
    """

    difference: float
    low: float
    high: float
    worse: float
    resamples: int


def bootstrap(score: Callable[[Indices], float], rows: int, seed: int) -> Interval:
    """Return the 95 % interval of `score`, which is asked for the figure of the rows at some indices."""
    values = [score(chosen) for chosen in _resamples(rows, seed)]
    low, high = _percentiles(values)
    return Interval(low, high, len(values))


def paired_bootstrap(
    first: Callable[[Indices], float], second: Callable[[Indices], float], rows: int, seed: int
) -> Paired:
    """Compare two models on the same resamples of the same rows."""
    every = np.arange(rows)
    differences = [first(chosen) - second(chosen) for chosen in _resamples(rows, seed)]
    low, high = _percentiles(differences)
    below = np.asarray(differences)
    worse = float((below < 0).mean() + (below == 0).mean() / 2)
    return Paired(first(every) - second(every), low, high, worse, len(differences))


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value that two models are right equally often (McNemar, 1947).

    Both say of the same rows [N] whether that model was right there.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _resamples(rows: int, seed: int) -> Iterator[Indices]:
    """Draw resamples, as many as the time allows."""
    random, until = np.random.default_rng(seed), time.monotonic() + BUDGET_S
    for drawn in range(RESAMPLES):
        if drawn >= FEWEST and time.monotonic() > until:
            return
        yield random.integers(0, rows, rows)


def _percentiles(values: list[float]) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)
