"""The evaluation of a version on held-out rows, convertible to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from hub.evaluation.calibration import CalibrationBin
from hub.evaluation.goal import Goal
from hub.evaluation.intervals import Interval
from hub.evaluation.slices import Slice

__all__ = ["Calibrated", "Evaluation", "Mistake"]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Calibration on the held-out rows before and after temperature scaling.

    The `temperature` was fitted on `rows` validation rows; it is 1 if none was fitted, with the `reason`.
    `ece` is the expected calibration error.
    """

    temperature: float
    rows: int
    ece_before: float
    ece_after: float
    before: tuple[CalibrationBin, ...]
    after: tuple[CalibrationBin, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer and the source and line of its row.

    `score` is the probability of the predicted label (the most confident mistake comes first), or without
    labels the metric of this row or, of a number, its absolute error (the worst comes first). `expected` and
    `answered` are labels, "" without labels. `texts` has the request, the expected and the actual
    answer; only reports keep it.
    """

    source: str
    line: int
    score: float
    expected: str = ""
    answered: str = ""
    texts: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one version on held-out rows.

    `metrics` are the task's own; `metric` names the main one, and `goal` is the direction in which it is
    better. `baseline` has the metrics of always predicting the most common training answer, for `numbers`
    their mean, or for vectors of the bare base; {} if there is none. `intervals` are at 95 %. `labels` is the
    result of `hub.evaluation.labels`. Slices are compared by `slice_metric`: accuracy if it is one of the
    metrics, as averages over labels mean little in a slice of one label. `signatures` tell how a metric was
    computed, such as sacrebleu's.
    """

    task: str
    metric: str
    rows: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    baseline: Mapping[str, float]
    labels: Mapping[str, Any]
    calibration: Calibrated | None
    slice_metric: str
    slices: tuple[Slice, ...]
    mistakes: tuple[Mistake, ...]
    goal: Goal = "max"
    signatures: Mapping[str, str] = field(default_factory=dict)
    numbers: bool = False

    @property
    def baseline_name(self) -> str:
        """What `baseline` is of."""
        return "mean" if self.numbers else "majority" if self.labels else "bare base"

    @property
    def underperforming_slices(self) -> tuple[Slice, ...]:
        """The slices on which the metric is significantly worse than on the other rows."""
        return tuple(one for one in self.slices if one.underperforms)

    def to_json(self, *, texts: bool = False) -> dict[str, Any]:
        """Return plain JSON values; with the texts of mistakes if `texts`."""
        shown = (
            self if texts else replace(self, mistakes=tuple(replace(m, texts=None) for m in self.mistakes))
        )
        value: dict[str, Any] = _adapter().dump_python(shown, mode="json")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation from the value of `to_json`."""
        return _adapter().validate_python(value)


@cache
def _adapter() -> TypeAdapter[Evaluation]:
    return TypeAdapter(Evaluation)
