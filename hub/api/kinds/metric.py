"""Metrics beside those of the task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar

from hub.api.columns import Example
from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT


class MetricKind(StrEnum):
    """The formula that a metric follows, by which the hub computes its confidence interval fast.

    Formulas are those of scikit-learn and scipy; a correlation is 0 where one side is constant.
    """

    MEAN = "mean"  # the mean over examples of the metric of each example alone
    CORPUS = "corpus"  # no formula: it is computed from all examples at once
    ACCURACY = "accuracy"  # share of examples whose labels are all correct
    F1_MICRO = "f1_micro"  # of labels
    F1_MACRO = "f1_macro"  # of labels, over those that are true or predicted
    MATTHEWS = "matthews"  # Matthews' correlation coefficient of one label per example
    MAE = "mae"  # mean absolute error of numbers
    RMSE = "rmse"  # root mean squared error of numbers
    PEARSON = "pearson"  # correlation of numbers
    SPEARMAN = "spearman"  # rank correlation of numbers


NUMBER_METRICS: Mapping[str, MetricKind] = MappingProxyType(
    {
        "mae": MetricKind.MAE,
        "rmse": MetricKind.RMSE,
        "pearson": MetricKind.PEARSON,
        "spearman": MetricKind.SPEARMAN,
    }
)
"""The formulas of `hub.task_tools.number_metrics`, for `Task.metric_kinds`."""


@dataclass(frozen=True, slots=True)
class MetricSpec(ExtensionSpec):
    """A metric; its name is a value of the recipe's `evaluate.metrics`, and its key in reports."""


class Metric(Extension[SettingsT], ABC):
    """Judges answers to examples; also called for samples of the rows, which give the interval."""

    kind: ClassVar[MetricKind | None] = None
    """The formula that it follows; None: the hub finds out whether it is a mean over examples."""

    @abstractmethod
    def compute(self, predictions: Sequence[Any], references: Sequence[Example]) -> float:
        """Return the value for the task's answers, as `Task.judged` returns them, to these examples.

        Raises:
            BadRecipe: answers of this task cannot be judged by this metric.
        """
