"""A task's metrics on any subset of rows, computed in numpy where they match a common formula.

A bootstrap computes a metric a thousand times, which takes minutes if the task counts word by word (and
scikit-learn's functions take milliseconds per call). A task can name the formula of a metric, which is used
if it reproduces the task's value on all rows. For other metrics, a formula must reproduce it on random
samples too; the metric's name does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import MetricKind
from hub.evaluation.intervals import Figure, Figures, Interval, bootstrap, resamples_for
from hub.task_tools import mean_absolute_error, pearson, root_mean_squared_error, spearman

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["Decisions", "Numbers", "Score"]

PROBES = (1000, 100, 25, 7, 3)  # rows of the random samples on which a formula must agree
TOLERANCE = 1e-9
MAX_PROBE_ROWS = 25  # of the samples on which a metric must be a mean over rows before all rows are scored


@dataclass(frozen=True, slots=True)
class Decisions:
    """True and predicted labels of each row: indices [N], or 0 and 1 for each label [N, C]."""

    true: npt.NDArray[Any]
    predicted: npt.NDArray[Any]
    labels: int

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Which rows [N] are correct in all of their labels."""
        same = self.true == self.predicted
        return np.asarray(same if same.ndim == 1 else same.all(axis=1))


@dataclass(frozen=True, slots=True)
class Numbers:
    """True and predicted numbers [N] of each example."""

    true: Floats
    predicted: Floats


class Score:
    """Computes metrics of rows by their indices.

    `by_row` has the values per row [N] of metrics that are means over rows. `accuracy_metric` names the
    metric that is the share of correct rows, "" if there is none. `kinds` has the formulas that the task
    names, and `misnamed` those of them that do not give its values.
    """

    def __init__(
        self,
        figures: Figures,
        rows: int,
        decisions: Decisions | None = None,
        numbers: Numbers | None = None,
        kinds: Mapping[str, MetricKind] = MappingProxyType({}),
    ) -> None:
        self.rows = rows
        self.by_row: dict[str, Floats] = {}
        self.accuracy_metric = ""
        self._figures = figures
        self.whole = figures(np.arange(rows))
        self._quick: dict[str, Figure] = {}
        self._alone = cache(lambda row: self._figures(np.array([row])))
        self._kinds = {name: kind for name, kind in kinds.items() if name in self.whole}
        formulas = (_of_decisions(decisions) if decisions else {}) | (_of_numbers(numbers) if numbers else {})
        self.misnamed = [
            name for name, kind in self._kinds.items() if not self._follows(name, kind, formulas)
        ]
        if self._kinds.keys() < self.whole.keys():
            self._probe(formulas)
        elif formulas:
            accuracy = (name for name, kind in self._kinds.items() if kind is MetricKind.ACCURACY)
            self.accuracy_metric = next((name for name in accuracy if name in self._quick), "")

    def _follows(self, name: str, kind: MetricKind, formulas: Mapping[MetricKind, Figure]) -> bool:
        """Use the formula of a metric; return False if it does not give the task's value on all rows."""
        if kind is MetricKind.CORPUS:
            return True
        every = np.arange(self.rows)
        if kind is MetricKind.MEAN:
            values = np.array([self._alone(row).get(name, math.nan) for row in every.tolist()])
            formula = _mean(values)
        elif kind in formulas:
            formula = formulas[kind]
        else:
            return False
        if not abs(formula(every) - self.whole[name]) <= TOLERANCE * max(1.0, abs(self.whole[name])):
            return False
        self._quick[name] = formula
        if kind is MetricKind.MEAN:
            self.by_row[name] = values
        return True

    def _probe(self, formulas: Mapping[MetricKind, Figure]) -> None:
        """Find formulas of the metrics for which the task names none."""
        probes = [(chosen, self._figures(chosen)) for chosen in _draws(self.rows)]
        self._match(list(formulas.values()), probes)
        if MetricKind.ACCURACY in formulas:
            self.accuracy_metric = self._named(formulas[MetricKind.ACCURACY], probes)
        if len(self._quick) < len(self.whole) and (values := self._each(probes)):
            self._match([_mean(each) for each in values.values()], probes, list(values))
            self.by_row |= {name: values[name] for name in values if name in self._quick}

    def __call__(self, indices: Indices) -> Mapping[str, float]:
        """Return every metric."""
        if len(self._quick) < len(self.whole):
            return self._figures(indices)
        return {name: figure(indices) for name, figure in self._quick.items()}

    def of(self, name: str) -> Figure:
        """Return the function that computes one metric."""
        return self._quick.get(name) or (lambda indices: self._figures(indices).get(name, math.nan))

    def is_fast(self, name: str) -> bool:
        """Whether a metric is a formula over arrays, not a call of the task."""
        return name in self._quick

    def intervals(self, seed: int) -> dict[str, Interval]:
        """Return the 95 % intervals of all metrics, with more resamples for those with a formula."""

        def formulas(indices: Indices) -> Mapping[str, float]:
            return {name: figure(indices) for name, figure in self._quick.items()}

        found: dict[str, Interval] = {}
        if self._quick:
            found = bootstrap(formulas, self.rows, seed, resamples_for(self.rows, fast=True))
        if len(self._quick) < len(self.whole):
            found = bootstrap(self, self.rows, seed, resamples_for(self.rows, fast=False)) | found
        return {name: found[name] for name in self.whole if name in found}

    def _match(self, formulas: list[Figure], probes: Any, names: list[str] | None = None) -> None:
        for position, formula in enumerate(formulas):
            for name in [names[position]] if names else list(self.whole):
                if (
                    name not in self._quick
                    and name not in self._kinds
                    and self._agrees(formula, name, probes)
                ):
                    self._quick[name] = formula

    def _named(self, formula: Figure, probes: Any) -> str:
        return next((name for name in self.whole if self._agrees(formula, name, probes)), "")

    def _agrees(self, formula: Figure, name: str, probes: Any) -> bool:
        every = [(np.arange(self.rows), self.whole), *probes]
        return all(name in found and abs(formula(rows) - found[name]) < TOLERANCE for rows, found in every)

    def _each(self, probes: Sequence[tuple[Indices, Mapping[str, float]]]) -> dict[str, Floats]:
        """Return the values per row [N] of metrics that may be means over rows.

        Each row costs a call of the task, so small samples first show whether there is such a metric.
        """

        def is_mean(name: str, rows: Indices, value: float) -> bool:
            values = [self._alone(row).get(name, math.nan) for row in rows.tolist()]
            return abs(sum(values) / len(values) - value) < TOLERANCE

        names = [
            name
            for name in self.whole
            if name not in self._quick
            and name not in self._kinds
            and all(
                name in found and is_mean(name, rows, found[name])
                for rows, found in probes
                if len(rows) <= MAX_PROBE_ROWS
            )
        ]
        values = [self._alone(row) for row in range(self.rows)] if names else []
        return {
            name: np.array([each[name] for each in values])
            for name in names
            if all(name in each for each in values)
        }


def _draws(rows: int) -> Iterator[Indices]:
    random = np.random.default_rng(0)
    return (random.integers(0, rows, min(rows, size)) for size in PROBES)


def _mean(values: npt.NDArray[Any]) -> Figure:
    return lambda rows: float(values[rows].mean())


def _of_decisions(decisions: Decisions) -> dict[MetricKind, Figure]:
    counts = _single_label(decisions) if decisions.true.ndim == 1 else _multi_label(decisions)
    formulas: dict[MetricKind, Figure] = {
        MetricKind.ACCURACY: _mean(decisions.correct),
        MetricKind.F1_MICRO: lambda rows: _f1(*(each.sum(keepdims=True) for each in counts(rows))),
        MetricKind.F1_MACRO: lambda rows: _f1(*counts(rows)),
    }
    if decisions.true.ndim == 1:
        formulas[MetricKind.MATTHEWS] = lambda rows: _mcc(*counts(rows), len(rows))
    return formulas


def _of_numbers(numbers: Numbers) -> dict[MetricKind, Figure]:
    def on_rows(formula: Callable[[Floats, Floats], float]) -> Figure:
        return lambda rows: formula(numbers.predicted[rows], numbers.true[rows])

    return {
        MetricKind.MAE: on_rows(mean_absolute_error),
        MetricKind.RMSE: on_rows(root_mean_squared_error),
        MetricKind.PEARSON: on_rows(pearson),
        MetricKind.SPEARMAN: on_rows(spearman),
    }


Counts = Callable[["Indices"], tuple["Floats", "Floats", "Floats"]]
"""Returns three counts per label, each [C]: true positives, true labels, predicted labels."""


def _single_label(decisions: Decisions) -> Counts:
    labels = decisions.labels
    cells = decisions.true * labels + decisions.predicted

    def counts(rows: Indices) -> tuple[Floats, Floats, Floats]:
        table = np.bincount(cells[rows], minlength=labels * labels).reshape(labels, labels).astype(float)
        return table.diagonal(), table.sum(axis=1), table.sum(axis=0)

    return counts


def _multi_label(decisions: Decisions) -> Counts:
    true, predicted = decisions.true.astype(float), decisions.predicted.astype(float)
    both = true * predicted
    return lambda rows: (both[rows].sum(axis=0), true[rows].sum(axis=0), predicted[rows].sum(axis=0))


def _f1(hits: Floats, true: Floats, predicted: Floats) -> float:
    """Return the mean F1 of the labels that occur; 1 if none does."""
    seen = true + predicted > 0
    return float((2 * hits[seen] / (true + predicted)[seen]).mean()) if seen.any() else 1.0


def _mcc(hits: Floats, true: Floats, predicted: Floats, rows: int) -> float:
    """Return Matthews' coefficient for any number of labels (Gorodkin, 2004)."""
    spread = (rows**2 - (true**2).sum()) * (rows**2 - (predicted**2).sum())
    return float((hits.sum() * rows - true @ predicted) / np.sqrt(spread)) if spread else 0.0
