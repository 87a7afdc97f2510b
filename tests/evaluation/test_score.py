"""A metric is worked out in numpy only where that gives what the task gives."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest
from grafthub_classification.metrics import multi_label, single_label

from hub.api import NUMBER_METRICS, MetricKind
from hub.evaluation.comparison import compare
from hub.evaluation.score import Decisions, Numbers, Score
from hub.evaluation.slices import measure_slices
from hub.task_tools import number_metrics

LABELS = ("a", "b", "c", "never")
RANDOM = np.random.default_rng(0)
TRUE_LABELS = RANDOM.integers(0, 3, 200)
PREDICTED = np.where(RANDOM.random(200) < 0.7, TRUE_LABELS, RANDOM.integers(0, 3, 200))
TRUE_SETS = RANDOM.random((200, 4)) < 0.3
PREDICTED_SETS = TRUE_SETS ^ (RANDOM.random((200, 4)) < 0.1)


def names(rows: np.ndarray) -> list[list[str]]:
    return [[LABELS[index] for index in np.flatnonzero(row)] for row in rows]


def counted(figures: Callable, calls: list[int]) -> Callable:
    def score(rows: np.ndarray) -> dict[str, float]:
        calls.append(len(rows))
        return figures(rows)

    return score


def one(rows: np.ndarray) -> dict[str, float]:
    return single_label([LABELS[i] for i in PREDICTED[rows]], [LABELS[i] for i in TRUE_LABELS[rows]])


def by_sets(rows: np.ndarray) -> dict[str, float]:
    return multi_label(names(PREDICTED_SETS[rows]), names(TRUE_SETS[rows]))


@pytest.mark.parametrize(
    ("figures", "decisions"),
    [(one, Decisions(TRUE_LABELS, PREDICTED, 4)), (by_sets, Decisions(TRUE_SETS, PREDICTED_SETS, 4))],
)
def test_the_metrics_of_labels_are_taken_from_counts(figures: Callable, decisions: Decisions) -> None:
    calls: list[int] = []
    score = Score(counted(figures, calls), 200, decisions)
    before = len(calls)
    for size in (5, 50, 200):
        rows = RANDOM.integers(0, 200, size)
        assert score(rows) == pytest.approx(figures(rows))
        assert score.of("f1_macro")(rows) == pytest.approx(figures(rows)["f1_macro"])
    assert len(calls) == before
    assert score.accuracy_metric == "accuracy"


def test_a_metric_that_only_looks_like_the_share_of_right_rows_is_asked_of_the_task() -> None:
    half_right = np.where(TRUE_LABELS == PREDICTED, 1.0, 0.5)  # partial credit for what is wrong

    def figures(rows: np.ndarray) -> dict[str, float]:
        return {"credit": float(half_right[rows].mean()), "median": float(np.median(TRUE_LABELS[rows]))}

    score = Score(figures, 200, Decisions(TRUE_LABELS, PREDICTED, 4))
    rows = RANDOM.integers(0, 200, 31)
    assert score(rows) == pytest.approx(figures(rows))
    assert score.accuracy_metric == ""
    assert set(score.by_row) == {"credit"}  # a mean over rows, which the median is not
    np.testing.assert_allclose(score.by_row["credit"], half_right)


def test_only_a_metric_that_may_be_a_mean_is_asked_for_row_by_row() -> None:
    calls: list[int] = []
    score = Score(counted(lambda rows: {"median": float(np.median(TRUE_LABELS[rows]))}, calls), 200)
    assert score.by_row == {}
    assert calls.count(1) <= 3 + 7 + 25
    mean = Score(lambda rows: {"a": float(TRUE_LABELS[rows].mean())}, 200)
    assert set(mean.by_row) == {"a"}
    assert mean.is_fast("a")
    assert not score.is_fast("median")


def test_metrics_that_are_formulas_have_more_resamples_than_the_others() -> None:
    def figures(rows: np.ndarray) -> dict[str, float]:
        return {"median": float(np.median(TRUE_LABELS[rows])), "mean": float(TRUE_LABELS[rows].mean())}

    found = Score(figures, 200).intervals(0)
    assert list(found) == ["median", "mean"]
    assert (found["median"].resamples, found["mean"].resamples) == (200, 1000)


def test_figures_do_not_depend_on_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(rows: np.ndarray) -> dict[str, float]:
        return {"median": float(np.median(TRUE_LABELS[rows])), "mean": float(TRUE_LABELS[rows].mean())}

    def measured() -> tuple[object, ...]:
        score = Score(figures, 200)
        groups = {"half": {"first": np.arange(100), "second": np.arange(100, 200)}}
        return (
            score.intervals(0),
            set(score.by_row),
            measure_slices(groups, score.of("median"), 200, 0, fast=score.is_fast("median")),
            compare("median", score.of("median"), score.of("mean"), 200, 0, fast=False),
        )

    idle = measured()
    ticks = itertools.count(0.0, 100.0)
    for clock in ("perf_counter", "monotonic", "time", "process_time"):
        monkeypatch.setattr(time, clock, lambda: next(ticks))
    assert measured() == idle


def test_a_metric_that_some_rows_lack_is_not_a_number_there() -> None:
    score = Score(lambda rows: {"b": 1.0} if len(rows) > 100 else {}, 200)
    assert np.isnan(score.of("b")(np.arange(3)))
    assert score.of("b")(np.arange(200)) == 1.0


def test_named_formulas_are_used_without_probing() -> None:
    calls: list[int] = []
    kinds = {
        "accuracy": MetricKind.ACCURACY,
        "f1_macro": MetricKind.F1_MACRO,
        "f1_micro": MetricKind.F1_MICRO,
    }
    kinds["mcc"] = MetricKind.MATTHEWS
    score = Score(counted(one, calls), 200, Decisions(TRUE_LABELS, PREDICTED, 4), kinds=kinds)
    assert calls == [200]  # once, on all rows
    assert not score.misnamed
    assert score.accuracy_metric == "accuracy"
    probed = Score(one, 200, Decisions(TRUE_LABELS, PREDICTED, 4))
    assert score.intervals(3) == probed.intervals(3)


def test_numbers_have_intervals_by_formula() -> None:
    true = RANDOM.normal(1950, 20, 150)
    numbers, calls = Numbers(true, true + RANDOM.normal(0, 5, 150)), []
    figures = counted(lambda rows: number_metrics(numbers.predicted[rows], true[rows]), calls)
    score = Score(figures, 150, numbers=numbers, kinds=NUMBER_METRICS)
    intervals = score.intervals(0)
    assert calls == [150]
    assert all(intervals[name].low < value < intervals[name].high for name, value in score.whole.items())
    assert intervals["mae"].resamples == 1000


def test_a_mean_has_values_by_row_and_a_corpus_metric_none() -> None:
    def figures(rows: np.ndarray) -> dict[str, float]:
        return {"mean": float(TRUE_LABELS[rows].mean()), "median": float(np.median(TRUE_LABELS[rows]))}

    score = Score(figures, 200, kinds={"mean": MetricKind.MEAN, "median": MetricKind.CORPUS})
    assert score.by_row["mean"].tolist() == TRUE_LABELS.tolist()
    assert score.is_fast("mean") and not score.is_fast("median")
    assert set(score.intervals(0)) == {"mean", "median"}


def test_a_formula_that_gives_another_value_is_not_used() -> None:
    kinds = {"median": MetricKind.MEAN, "f1": MetricKind.F1_MACRO}
    score = Score(lambda rows: {"median": float(np.median(TRUE_LABELS[rows])), "f1": 0.5}, 200, kinds=kinds)
    assert score.misnamed == ["median", "f1"]
    assert not score.is_fast("median")
