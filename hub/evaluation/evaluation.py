"""What was measured of a version on rows that it was not trained on, as one JSON value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    """How sure the answers are and how often right, before and after the temperature, on the rows measured.

    `rows` validation rows chose the `temperature`, by which the logits were divided; where nothing was
    fitted it is 1, and `reason` says why. `ece` is the expected calibration error.
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
    """An answer that was wrong, and where its row stands.

    `score` is the probability of the label that was given where there are labels (the surest mistakes come
    first), else the metric of this row alone (the worst comes first). `expected` and `answered` are labels,
    "" where there are none. `texts` has the request, the answer and the right one; it is for reports alone.
    """

    source: str
    line: int
    score: float
    expected: str = ""
    answered: str = ""
    texts: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one version on some rows.

    `metrics` are the task's own, `metric` names the one that it is judged by, and `goal` says whether a
    higher or a lower one is better. `baseline` has those of always giving the answer most common in training
    ({} where there is none). `intervals` are of 95 %.
    `labels` is what `hub.evaluation.labels` returns: of one label an example, it has `confusion`.
    `slice_metric` is what slices and their gaps are measured by: the share of right rows where that is one
    of the metrics, as averages over labels mean little where a label is all there is.
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

    @property
    def gaps(self) -> tuple[Slice, ...]:
        """The slices on which the metric is worse than on the other rows by more than chance explains."""
        return tuple(one for one in self.slices if one.gap)

    def to_json(self, *, texts: bool = False) -> dict[str, Any]:
        """Return plain JSON values; the texts of mistakes only if asked for."""
        shown = (
            self if texts else replace(self, mistakes=tuple(replace(m, texts=None) for m in self.mistakes))
        )
        value: dict[str, Any] = _adapter().dump_python(shown, mode="json")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that `to_json` made this of."""
        return _adapter().validate_python(value)


@cache
def _adapter() -> TypeAdapter[Evaluation]:
    return TypeAdapter(Evaluation)
