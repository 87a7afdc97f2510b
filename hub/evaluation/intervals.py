"""Confidence intervals and paired tests: bootstrap, paired bootstrap, McNemar.

scipy.stats.bootstrap cannot resample rows once for many figures, skip resamples in which a figure is
undefined, or compare two models on the same resamples.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]

__all__ = [
    "Figure",
    "Figures",
    "Interval",
    "Paired",
    "bootstrap",
    "mcnemar",
    "paired_bootstrap",
    "resamples_for",
]

RESAMPLES = (1000, 400, 200, 100, 50, 25)  # the first whose rows fit the limit is used, else the last
MIN_PERCENTILE_RESAMPLES = 200  # fewer do not estimate tails: Efron and Tibshirani, 1993, chapter 6
MAX_FAST_ROWS = 50_000_000  # rows of all resamples, for a formula over arrays: takes seconds
MAX_SLOW_ROWS = 50_000  # rows of all resamples, for a task's own metric: takes seconds, 30 for chrF
MIN_SLOW_ROWS = 125  # a call of a task's metric costs at least as much as this number of rows
LEVEL = 0.95
SIGMAS = 1.96

Figure = Callable[["Indices"], float]
"""Returns a figure of the rows at indices [N], NaN if it is undefined for them."""
Figures = Callable[["Indices"], Mapping[str, float]]
"""Returns figures by name; undefined ones are missing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % bootstrap confidence interval (Efron and Tibshirani, 1993).

    With 200 resamples or more it is the percentile interval, with fewer ±1.96 standard deviations.
    """

    low: float
    high: float
    resamples: int


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two models on the same rows: the first's figure minus the second's.

    `worse` is the share of resamples in which the first is below the second, plus half of the ties; with
    fewer than 200 resamples it is computed from the normal distribution with their deviation. It is the
    one-sided p-value for the first being better, and 1 - `worse` that for its being worse (Koehn, 2004,
    "Statistical Significance Tests for Machine Translation Evaluation").
    """

    difference: float
    low: float
    high: float
    worse: float
    resamples: int


def resamples_for(rows: int, *, fast: bool, groups: int = 1) -> int:
    """Return the number of resamples of `rows` rows for each of `groups` groups.

    `fast`: the figure is a formula over arrays, not a call of the task. The number depends on counts, not
    on time, so that equal predictions and seeds give equal figures on every machine.
    """
    room = (MAX_FAST_ROWS if fast else MAX_SLOW_ROWS) / groups
    cost = rows if fast else max(rows, MIN_SLOW_ROWS)
    return next((count for count in RESAMPLES if count * cost <= room), RESAMPLES[-1])


def bootstrap(score: Figures, rows: int, seed: int, resamples: int = RESAMPLES[0]) -> dict[str, Interval]:
    """Return the 95 % intervals of the figures that are defined in more than half of the resamples."""
    every = score(np.arange(rows))
    drawn: dict[str, list[float]] = defaultdict(list)
    for chosen in _resamples(rows, seed, resamples):
        for name, value in score(chosen).items():
            drawn[name].append(value)
    return {
        name: Interval(*_bounds(value, drawn[name]), len(drawn[name]))
        for name, value in every.items()
        if len(drawn[name]) > resamples / 2
    }


def paired_bootstrap(
    first: Figure, second: Figure, rows: int, seed: int, resamples: int = RESAMPLES[0]
) -> Paired:
    """Compare two models on the same resamples of rows; undefined figures are skipped.

    All but the difference is NaN if fewer than two resamples are left.
    """

    def difference(chosen: Indices) -> float:
        return first(chosen) - second(chosen)

    whole = difference(np.arange(rows))
    drawn = [difference(chosen) for chosen in _resamples(rows, seed, resamples)]
    below = np.asarray([value for value in drawn if not math.isnan(value)])
    if len(below) < 2:
        return Paired(whole, math.nan, math.nan, math.nan, len(below))
    low, high = _bounds(whole, below)
    if len(below) >= MIN_PERCENTILE_RESAMPLES:
        worse = float((below < 0).mean() + (below == 0).mean() / 2)
    else:
        sigma = float(np.std(below, ddof=1))
        worse = NormalDist(whole, sigma).cdf(0.0) if sigma else float(1 - np.sign(whole)) / 2
    return Paired(whole, low, high, worse, len(below))


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947) for two models on the same rows.

    `first` and `second` [N] are true where that model is correct. statsmodels, one more dependency, computes
    the same binomial test.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _resamples(rows: int, seed: int, count: int) -> Iterator[Indices]:
    random = np.random.default_rng(seed)
    return (random.integers(0, rows, rows) for _ in range(count))


def _bounds(whole: float, values: list[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    if len(values) < MIN_PERCENTILE_RESAMPLES:
        reach = SIGMAS * float(np.std(values, ddof=1))
        return whole - reach, whole + reach
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)
