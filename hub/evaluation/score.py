"""A task's metrics on any of the rows, worked out in numpy where they are known to be common ones.

A bootstrap asks for a metric a thousand times, which takes minutes of what counts word by word. Which
formula a metric follows is not told by its name: a formula is used only if it gives just what the task gave,
on all rows and on several draws of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.evaluation.intervals import Figure, Figures, Interval, bootstrap, resamples_for

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["Decisions", "Score"]

PROBES = (1000, 100, 25, 7, 3)  # rows of the draws on which a formula has to agree
SAME = 1e-9
FEW = 25  # rows of the draws on which a metric has to be a mean over rows before all rows are scored


@dataclass(frozen=True, slots=True)
class Decisions:
    """Right and given labels of each row: indices [N], or a truth value for each label [N, C]."""

    truth: npt.NDArray[Any]
    given: npt.NDArray[Any]
    labels: int

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which rows [N] are right, with all of their labels."""
        same = self.truth == self.given
        return np.asarray(same if same.ndim == 1 else same.all(axis=1))


class Score:
    """Metrics by indices of rows; `by_row` are those that are the mean over rows of their values there [N].

    `right_share` names the one that is the share of rows whose labels are right, "" if there is none.
    """

    def __init__(self, figures: Figures, rows: int, decisions: Decisions | None = None) -> None:
        self.rows = rows
        self.by_row: dict[str, Floats] = {}
        self.right_share = ""
        self._figures = figures
        self.whole = figures(np.arange(rows))
        self._quick: dict[str, Figure] = {}
        probes = [(chosen, figures(chosen)) for chosen in _draws(rows)]
        if decisions is not None:
            self._match(_of_decisions(decisions), probes)
            self.right_share = self._named(_mean(decisions.right), probes)
        if len(self._quick) < len(self.whole) and (values := self._each(probes)):
            self._match([_mean(each) for each in values.values()], probes, list(values))
            self.by_row = {name: values[name] for name in values if name in self._quick}

    def __call__(self, indices: Indices) -> Mapping[str, float]:
        """Return every metric."""
        if len(self._quick) < len(self.whole):
            return self._figures(indices)
        return {name: figure(indices) for name, figure in self._quick.items()}

    def of(self, name: str) -> Figure:
        """Return the function that gives one metric."""
        return self._quick.get(name) or (lambda indices: self._figures(indices).get(name, math.nan))

    def is_fast(self, name: str) -> bool:
        """Whether a metric is a formula over arrays, not a call of the task."""
        return name in self._quick

    def intervals(self, seed: int) -> dict[str, Interval]:
        """Return the 95 % intervals of all metrics, with more resamples for those that are formulas."""

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
                if name not in self._quick and self._agrees(formula, name, probes):
                    self._quick[name] = formula

    def _named(self, formula: Figure, probes: Any) -> str:
        return next((name for name in self.whole if self._agrees(formula, name, probes)), "")

    def _agrees(self, formula: Figure, name: str, probes: Any) -> bool:
        every = [(np.arange(self.rows), self.whole), *probes]
        return all(name in found and abs(formula(rows) - found[name]) < SAME for rows, found in every)

    def _each(self, probes: Sequence[tuple[Indices, Mapping[str, float]]]) -> dict[str, Floats]:
        """Return the values at each row alone [N] of metrics that may be means over rows.

        Every row is a call of the task, so small draws decide first whether there is any such metric.
        """
        alone = cache(lambda row: self._figures(np.array([row])))

        def is_mean(name: str, rows: Indices, value: float) -> bool:
            values = [alone(row).get(name, math.nan) for row in rows.tolist()]
            return abs(sum(values) / len(values) - value) < SAME

        names = [
            name
            for name in self.whole
            if name not in self._quick
            and all(
                name in found and is_mean(name, rows, found[name])
                for rows, found in probes
                if len(rows) <= FEW
            )
        ]
        values = [alone(row) for row in range(self.rows)] if names else []
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


def _of_decisions(decisions: Decisions) -> list[Figure]:
    counts = _single(decisions) if decisions.truth.ndim == 1 else _several(decisions)
    formulas: list[Figure] = [
        _mean(decisions.right),
        lambda rows: _f1(*(each.sum(keepdims=True) for each in counts(rows))),
        lambda rows: _f1(*counts(rows)),
    ]
    if decisions.truth.ndim == 1:
        formulas.append(lambda rows: _mcc(*counts(rows), len(rows)))
    return formulas


Counts = Callable[["Indices"], tuple["Floats", "Floats", "Floats"]]
"""Gives three counts for each label [C]: how often it was given and right, was right, was given."""


def _single(decisions: Decisions) -> Counts:
    labels = decisions.labels
    cells = decisions.truth * labels + decisions.given

    def counts(rows: Indices) -> tuple[Floats, Floats, Floats]:
        table = np.bincount(cells[rows], minlength=labels * labels).reshape(labels, labels).astype(float)
        return table.diagonal(), table.sum(axis=1), table.sum(axis=0)

    return counts


def _several(decisions: Decisions) -> Counts:
    truth, given = decisions.truth.astype(float), decisions.given.astype(float)
    both = truth * given
    return lambda rows: (both[rows].sum(axis=0), truth[rows].sum(axis=0), given[rows].sum(axis=0))


def _f1(hits: Floats, truth: Floats, given: Floats) -> float:
    """Return the mean F1 of the labels that occur; 1 if none does."""
    seen = truth + given > 0
    return float((2 * hits[seen] / (truth + given)[seen]).mean()) if seen.any() else 1.0


def _mcc(hits: Floats, truth: Floats, given: Floats, rows: int) -> float:
    """Return Matthews' coefficient for any number of labels (Gorodkin, 2004)."""
    spread = (rows**2 - (truth**2).sum()) * (rows**2 - (given**2).sum())
    return float((hits.sum() * rows - truth @ given) / np.sqrt(spread)) if spread else 0.0
