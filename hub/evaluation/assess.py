"""Evaluates predictions on held-out rows: intervals, labels, calibration, slices, mistakes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from hub.api import FieldKind, HeadKind
from hub.evaluation.calibration import calibration_error, probabilities, reliability
from hub.evaluation.evaluation import Calibrated, Evaluation, Mistake
from hub.evaluation.goal import Goal
from hub.evaluation.labels import multi_label_figures, single_label_figures
from hub.evaluation.logits import Labelled
from hub.evaluation.score import Decisions, Score
from hub.evaluation.slices import by_length, by_value, measure_slices
from hub.progress import Progress, silent
from hub.store.manifest import Calibration, UnderperformingSlice

if TYPE_CHECKING:
    import numpy.typing as npt

    from hub.api import Output
    from hub.evaluation.evaluator import Evaluator, Scored
    from hub.evaluation.temperature import Temperature

log = logging.getLogger(__name__)

__all__ = ["MISTAKES", "Measured", "assess", "measured", "recorded"]

MISTAKES = 20
STAGES = 3
UNNAMED = "(none)"  # the label of an example without one


@dataclass(frozen=True, slots=True)
class Measured:
    """Predictions on rows, which can be scored on any subset.

    `known` has the logits of the rows whose labels the version knows. `decisions` has all rows, if each
    example is one row; `labels` are their names: first those of the version, then unknown ones.
    """

    evaluator: Evaluator
    scored: Scored
    score: Score
    known: Labelled | None
    decisions: Decisions | None
    labels: tuple[str, ...] = ()


class Recorded(TypedDict):
    """Sections of a manifest."""

    intervals: dict[str, tuple[float, float]]
    calibration: Calibration | None
    underperforming_slices: tuple[UnderperformingSlice, ...]


def measured(evaluator: Evaluator, scored: Scored) -> Measured:
    """Prepare predictions for `assess` and for comparisons."""
    known = evaluator.labelled(scored.outputs)
    decisions, labels = None, tuple(evaluator.info.labels)
    if (
        known is not None
        and evaluator.head is HeadKind.SEQUENCE
        and len(evaluator.rows) == evaluator.examples
    ):
        decisions, labels = _decided(evaluator, scored.outputs, known)
    numbers = evaluator.numbers(scored.predictions)
    score = Score(
        evaluator.figures(scored.predictions), evaluator.examples, decisions, numbers, evaluator.metric_kinds
    )
    for name in score.misnamed:
        log.warning(
            "Task %r names the formula %s for its metric %r, and it gives another value; the interval of the "
            "metric is computed without it.",
            evaluator.loaded.spec.name,
            evaluator.metric_kinds[name],
            name,
        )
    return Measured(evaluator, scored, score, known, decisions, labels)


def assess(
    found: Measured,
    *,
    baseline: Mapping[str, float],
    temperature: Temperature | None,
    columns: Sequence[str | int] = (),
    seed: int = 0,
    mistakes: int = MISTAKES,
    progress: Progress = silent,
) -> Evaluation:
    """Compute all figures; `columns` names the task fields and extra columns to slice by.

    The evaluation lists at most `mistakes` wrong answers.
    """
    evaluator, score, known = found.evaluator, found.score, found.known
    progress("measure", 0, STAGES)
    intervals = score.intervals(seed)
    progress("measure", 1, STAGES)
    metric = score.accuracy_metric or evaluator.metric
    parts = _parts(evaluator, columns)
    fast = score.is_fast(metric)
    goal: Goal = "max" if score.accuracy_metric else evaluator.goal
    slices = measure_slices(parts, score.of(metric), evaluator.examples, seed, goal=goal, fast=fast)
    progress("measure", 2, STAGES)
    evaluation = Evaluation(
        task=evaluator.loaded.spec.name,
        metric=evaluator.metric,
        rows=evaluator.examples,
        metrics=dict(found.scored.metrics),
        intervals=intervals,
        baseline=dict(baseline),
        labels=_label_figures(known, evaluator.info.labels) if evaluator.head is HeadKind.SEQUENCE else {},
        calibration=_calibrated(known, temperature) if known else None,
        slice_metric=metric,
        slices=tuple(slices),
        mistakes=tuple(_mistakes(found, mistakes)),
        goal=evaluator.goal,
        signatures=evaluator.signatures,
        numbers=evaluator.loaded.numeric,
    )
    progress("measure", STAGES, STAGES)
    return evaluation


def recorded(evaluation: Evaluation) -> Recorded:
    """Return the parts of an evaluation, other than metrics, that the manifest keeps."""
    found, names = evaluation.calibration, ("temperature", "rows", "ece_before", "ece_after", "reason")
    return Recorded(
        intervals={name: (one.low, one.high) for name, one in evaluation.intervals.items()},
        calibration=Calibration(**{name: getattr(found, name) for name in names}) if found else None,
        underperforming_slices=tuple(
            UnderperformingSlice(
                column=one.column, value=one.value, rows=one.rows, metric=one.metric, others=one.others
            )
            for one in evaluation.underperforming_slices
        ),
    )


def _decided(
    evaluator: Evaluator, outputs: Sequence[Output], known: Labelled
) -> tuple[Decisions, tuple[str, ...]]:
    """Return the decisions on all rows, and the names of their labels.

    Labels unknown to the version get indices after its own, so that their rows count as wrong.
    """
    logits = np.stack([output.values for output in outputs if output.values is not None])  # [N, C]
    named = {
        row: _true_labels(evaluator, row, multi_label=known.multi_label)
        for row in np.setdiff1d(np.arange(evaluator.examples), known.rows).tolist()
    }
    own = tuple(evaluator.info.labels)
    labels = (*own, *sorted({label for found in named.values() for label in found}.difference(own)))
    index = {label: number for number, label in enumerate(labels)}
    shape = (len(logits), len(labels)) if known.multi_label else (len(logits),)
    true, predicted = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    if known.multi_label:
        true[known.rows, : len(own)] = known.targets
        predicted[:, : len(own)] = logits > 0
    else:
        true[known.rows] = known.targets
        predicted[:] = logits.argmax(axis=1)
    for row, found in named.items():
        places = [index[label] for label in found]
        true[(row, places) if known.multi_label else row] = 1 if known.multi_label else places[0]
    return Decisions(true, predicted, len(labels)), labels


def _true_labels(evaluator: Evaluator, row: int, *, multi_label: bool) -> tuple[str, ...]:
    """Return the true labels of an example: exactly one unless `multi_label`."""
    example = evaluator.references[row]
    kind = FieldKind.LABELS if multi_label else FieldKind.LABEL
    values = [example.get(field.name) for field in evaluator.loaded.task.fields if field.kind is kind]
    true = [value for value in values if value is not None]
    if multi_label:
        return tuple(dict.fromkeys(str(label) for labels in true for label in labels))
    return (str(true[0]) if true else UNNAMED,)


def _label_figures(known: Labelled | None, labels: Sequence[str]) -> dict[str, Any]:
    if known is None:
        return {}
    scores = probabilities(known.logits, multi_label=known.multi_label)
    if known.multi_label:
        return multi_label_figures(known.targets > 0, known.predicted, labels, scores)
    return single_label_figures(known.targets.tolist(), known.predicted.tolist(), labels, scores)


def _calibrated(known: Labelled, temperature: Temperature | None) -> Calibrated:
    value = temperature.value if temperature else 1.0
    after, before = known.confidence(), known.confidence(1 / value)
    return Calibrated(
        temperature=value,
        rows=temperature.rows if temperature else 0,
        ece_before=calibration_error(before, known.correct),
        ece_after=calibration_error(after, known.correct),
        before=tuple(reliability(before, known.correct)),
        after=tuple(reliability(after, known.correct)),
        reason=temperature.reason if temperature else "",
    )


def _parts(
    evaluator: Evaluator, columns: Sequence[str | int]
) -> dict[str, Mapping[str, npt.NDArray[np.int64]]]:
    """Return the row indices of each slice: by length, label, file, and the named columns."""
    examples, fields = evaluator.references, evaluator.loaded.task.fields
    parts = {"length": by_length(evaluator.lengths, "tokens")}
    for field in fields:
        named = field.name in columns
        if named or (field.kind is FieldKind.LABEL and examples[0].get(field.name) is not None):
            parts[field.name] = by_value([_joined(example.get(field.name)) for example in examples])
    if evaluator.items:
        parts["file"] = by_value([item.source for item in evaluator.items])
        for column in map(str, columns):
            if column not in parts:
                parts[column] = by_value([dict(item.extra).get(column, "") for item in evaluator.items])
    return parts


def _joined(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _mistakes(found: Measured, limit: int) -> list[Mistake]:
    """Return the most confident wrong labels, the largest errors of numbers, or the lowest scored examples.

    Examples have scores if the metric is a mean over them.
    """
    evaluator = found.evaluator
    if found.decisions is not None:
        return _wrong_labels(found, found.decisions, limit)
    values, goal = found.score.by_row.get(evaluator.metric), evaluator.goal
    if (numbers := evaluator.numbers(found.scored.predictions)) is not None:
        values, goal = np.abs(numbers.predicted - numbers.true), "min"
    if values is None:
        return []
    merit = values if goal == "max" else -values  # [N]
    best = merit.max()
    if best == merit.min():  # all rows alike: wrong, unless the figure is that of a perfect row
        best = 1.0 if goal == "max" else 0.0
    worst = [row for row in np.argsort(merit, kind="stable")[:limit].tolist() if merit[row] < best]
    return [_mistake(found, row, float(values[row])) for row in worst]


def _wrong_labels(found: Measured, decisions: Decisions, limit: int) -> list[Mistake]:
    multi_label, names = decisions.true.ndim == 2, found.labels
    logits = np.stack([output.values for output in found.scored.outputs if output.values is not None])
    chances = probabilities(logits, multi_label=multi_label)  # [N, C]
    if multi_label:
        wrong = (decisions.true != decisions.predicted)[:, : chances.shape[1]]
        chances = np.where(wrong, np.maximum(chances, 1 - chances), 0.0)  # of the wrong decisions only
    confidence = np.where(decisions.correct, -1.0, chances.max(axis=1))  # [N]
    worst = np.argsort(-confidence, kind="stable")[: min(limit, int((~decisions.correct).sum()))].tolist()
    return [
        _mistake(
            found,
            row,
            float(confidence[row]),
            _named(decisions.true[row], names),
            _named(decisions.predicted[row], names),
        )
        for row in worst
    ]


def _named(chosen: Any, names: Sequence[str]) -> str:
    indices = np.flatnonzero(chosen).tolist() if np.ndim(chosen) else [int(chosen)]
    return ", ".join(names[index] for index in indices)


def _mistake(found: Measured, row: int, score: float, expected: str = "", answered: str = "") -> Mistake:
    evaluator = found.evaluator
    texts = {
        "request": evaluator.requests[row].model_dump(mode="json", exclude_none=True),
        "expected": {key: value for key, value in evaluator.references[row].items() if value is not None},
        "answer": found.scored.predictions[row].model_dump(mode="json", exclude_none=True),
    }
    item = evaluator.items[row] if evaluator.items else None
    source, line = (item.source, item.line) if item else ("", row + 1)
    return Mistake(source, line, score, expected, answered, texts)
