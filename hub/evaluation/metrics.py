"""Metrics beside those of the task: those that are built in, and how any are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hub.api import BadRecipe, Example, Metric, MetricKind, NoOptions
from hub.registry.active import active
from hub.registry.kinds import METRICS
from hub.registry.loaded import extension_call

__all__ = ["BalancedAccuracy", "MatthewsCorrelation", "more_metrics"]


def more_metrics(
    names: Sequence[str], predictions: Sequence[Any], references: Sequence[Example], own: Mapping[str, float]
) -> dict[str, float]:
    """Compute metrics by name, without those that the task has itself.

    Raises:
        NotFound: there is no such metric.
        BadPlugin: one fails.
        BadRecipe: one cannot judge answers of this task.
    """
    extensions = active().extensions
    found: dict[str, float] = {}
    for name in names:
        if name not in own:
            metric = extensions.get(METRICS, name)
            with extension_call(METRICS.word, name, "compute()"):
                found[name] = float(metric.compute(predictions, references))
    return found


class BalancedAccuracy(Metric[NoOptions]):
    """The mean recall of the labels."""

    kind: ClassVar[MetricKind] = MetricKind.CORPUS

    def compute(self, predictions: Sequence[Any], references: Sequence[Example]) -> float:
        from sklearn.metrics import balanced_accuracy_score

        true, predicted = _labels("balanced_accuracy", predictions, references)
        return float(balanced_accuracy_score(true, predicted))


class MatthewsCorrelation(Metric[NoOptions]):
    """Matthews' correlation coefficient."""

    kind: ClassVar[MetricKind] = MetricKind.MATTHEWS

    def compute(self, predictions: Sequence[Any], references: Sequence[Example]) -> float:
        from sklearn.metrics import matthews_corrcoef

        true, predicted = _labels("matthews", predictions, references)
        return float(matthews_corrcoef(true, predicted))


def _labels(
    name: str, predictions: Sequence[Any], references: Sequence[Example]
) -> tuple[list[str], list[str]]:
    """Return the true and the predicted labels."""
    true = [reference.get("label") for reference in references]
    predicted = [getattr(prediction, "label", None) for prediction in predictions]
    if not all(isinstance(label, str) for label in (*true, *predicted)):
        raise BadRecipe(
            f"evaluate.metrics: {name} compares one label per row, which this task does not have."
        )
    return [str(label) for label in true], [str(label) for label in predicted]
