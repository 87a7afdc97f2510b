"""Slices of the held-out rows: the metric on each, and the underperforming ones."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hub.evaluation.goal import Goal
from hub.evaluation.intervals import Figure, Figures, Interval, bootstrap, resamples_for

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]

__all__ = ["Slice", "by_length", "by_value", "measure_slices"]

MIN_SLICE_ROWS = 20  # fewer give too noisy a metric
MAX_VALUES = 30  # of one column
QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows with one value in a column: the metric on them, and on all `others`.

    `underperforms` is true if the metric is significantly worse than on the other rows: the metric of the
    others is outside the interval, on the better side.
    """

    column: str
    value: str
    rows: int
    metric: float
    interval: Interval
    others: float
    underperforms: bool


def by_value(values: Sequence[object]) -> Mapping[str, Indices]:
    """Group rows by value, and rare values in one group; {} if all values are equal."""
    named = ["none" if value is None else str(value) for value in values]
    common = {value for value, _ in Counter(named).most_common(MAX_VALUES)}
    groups: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(named):
        groups[value if value in common else "(others)"].append(index)
    return {value: np.asarray(groups[value]) for value in sorted(groups)} if len(groups) > 1 else {}


def by_length(lengths: Sequence[int], unit: str) -> Mapping[str, Indices]:
    """Split rows into quarters by length; rows of equal length stay together."""
    cuts = sorted({int(cut) for cut in np.quantile(lengths, QUARTERS)})
    quarter = np.searchsorted(cuts, lengths, side="left")
    groups: dict[str, Indices] = {}
    for number in np.unique(quarter):
        indices = np.flatnonzero(quarter == number)
        inside = np.asarray(lengths)[indices]
        groups[f"{inside.min()} to {inside.max()} {unit}"] = indices
    return groups if len(groups) > 1 else {}


def measure_slices(
    columns: Mapping[str, Mapping[str, Indices]],
    score: Figure,
    rows: int,
    seed: int,
    *,
    goal: Goal = "max",
    fast: bool = True,
) -> list[Slice]:
    """Measure the groups of at least 20 rows that have the metric; `fast` is as for `resamples_for`."""
    groups = [
        (column, value, indices, np.setdiff1d(np.arange(rows), indices))
        for column, found in columns.items()
        for value, indices in found.items()
        if MIN_SLICE_ROWS <= len(indices) < rows
    ]
    slices = []
    for column, value, indices, others in groups:
        inside, rest = score(indices), score(others)
        resamples = resamples_for(len(indices), fast=fast, groups=len(groups))
        interval = bootstrap(_within(score, indices), len(indices), seed, resamples).get("")
        if interval and not math.isnan(inside + rest):
            underperforms = interval.high < rest if goal == "max" else interval.low > rest
            slices.append(
                Slice(column, value, len(indices), inside, interval, rest, underperforms=underperforms)
            )
    return slices


def _within(score: Figure, indices: Indices) -> Figures:
    """Return the metric as a function of indices into `indices`."""

    def figures(chosen: Indices) -> Mapping[str, float]:
        value = score(indices[chosen])
        return {} if math.isnan(value) else {"": value}

    return figures
