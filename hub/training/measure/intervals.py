"""How far a figure may be off because the rows are the ones they happen to be: bootstrap and paired tests."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]

__all__ = ["Figure", "Figures", "Interval", "Paired", "bootstrap", "mcnemar", "paired_bootstrap"]

RESAMPLES = (1000, 400, 200, 100, 50, 25)  # the first that the time allows is taken, or else the last
PERCENTILES = 200  # fewer resamples tell a deviation, but no tails: Efron and Tibshirani, 1993, chapter 6
BUDGET_S = 1.0
LEVEL = 0.95
SIGMAS = 1.96

Figure = Callable[["Indices"], float]
"""Gives a figure of the rows at some indices, NaN where such rows have none."""
Figures = Callable[["Indices"], Mapping[str, float]]
"""Gives several of them, by name; those that such rows have."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval by the bootstrap (Efron and Tibshirani, 1993).

    Of 200 resamples or more it is between percentiles, of fewer 1.96 standard deviations to either side.
    """

    low: float
    high: float
    resamples: int


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two models on the same rows: the first's figure less the second's.

    `worse` is the share of resamples in which the first is below the second, half of the ties added; of fewer
    than 200 resamples it is taken from the normal distribution that has their deviation. A one-sided p-value
    of the first being better is `worse`, of its being worse 1 - `worse` (Koehn, 2004, "Statistical
    Significance Tests for Machine Translation Evaluation").
    """

    difference: float
    low: float
    high: float
    worse: float
    resamples: int


def bootstrap(score: Figures, rows: int, seed: int, budget_s: float = BUDGET_S) -> dict[str, Interval]:
    """Return the 95 % intervals of what `score` gives, in about `budget_s`, or what 25 resamples take.

    A figure that most resamples lack has none.
    """
    every = score(np.arange(rows))
    drawn: dict[str, list[float]] = defaultdict(list)
    count = _affordable(lambda: score(np.arange(rows)), budget_s)
    for chosen in _resamples(rows, seed, count):
        for name, value in score(chosen).items():
            drawn[name].append(value)
    return {
        name: Interval(*_bounds(value, drawn[name]), len(drawn[name]))
        for name, value in every.items()
        if len(drawn[name]) > count / 2
    }


def paired_bootstrap(
    first: Figure, second: Figure, rows: int, seed: int, budget_s: float = BUDGET_S
) -> Paired:
    """Compare two models on the same resamples of the same rows; those without a figure are left out."""

    def difference(chosen: Indices) -> float:
        return first(chosen) - second(chosen)

    whole = difference(np.arange(rows))
    count = _affordable(lambda: difference(np.arange(rows)), budget_s)
    drawn = [difference(chosen) for chosen in _resamples(rows, seed, count)]
    below = np.asarray([value for value in drawn if not math.isnan(value)])
    low, high = _bounds(whole, below)
    if len(below) >= PERCENTILES:
        worse = float((below < 0).mean() + (below == 0).mean() / 2)
    else:
        sigma = float(np.std(below, ddof=1))
        worse = NormalDist(whole, sigma).cdf(0.0) if sigma else float(1 - np.sign(whole)) / 2
    return Paired(whole, low, high, worse, len(below))


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value that two models are right equally often (McNemar, 1947).

    Both say of the same rows [N] whether that model was right there.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _affordable(once: Callable[[], object], budget_s: float) -> int:
    started = time.perf_counter()
    once()
    cost = time.perf_counter() - started
    return next((count for count in RESAMPLES if count * cost <= budget_s), RESAMPLES[-1])


def _resamples(rows: int, seed: int, count: int) -> Iterator[Indices]:
    random = np.random.default_rng(seed)
    return (random.integers(0, rows, rows) for _ in range(count))


def _bounds(whole: float, values: list[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    if len(values) < PERCENTILES:
        reach = SIGMAS * float(np.std(values, ddof=1))
        return whole - reach, whole + reach
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)
