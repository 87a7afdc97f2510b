"""Metrics beside those of the task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub.api.columns import Example
from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT


@dataclass(frozen=True, slots=True)
class MetricSpec(ExtensionSpec):
    """A metric; its name is a value of the recipe's `evaluate.metrics`, and its key in reports."""


class Metric(Extension[SettingsT], ABC):
    """Judges answers to examples; also called for samples of the rows, which give the interval."""

    @abstractmethod
    def compute(self, predictions: Sequence[Any], references: Sequence[Example]) -> float:
        """Return the value for the task's answers, as `Task.judged` returns them, to these examples.

        Raises:
            BadRecipe: answers of this task cannot be judged by this metric.
        """
