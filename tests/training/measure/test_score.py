"""A metric is worked out in numpy only where that gives what the task gives."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from grafthub_classification.metrics import multi_label, single_label

from hub.training.measure.score import Decisions, Score

LABELS = ("a", "b", "c", "never")
RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(0, 3, 200)
GIVEN = np.where(RANDOM.random(200) < 0.7, TRUTH, RANDOM.integers(0, 3, 200))
SEVERAL = RANDOM.random((200, 4)) < 0.3
CHOSEN = SEVERAL ^ (RANDOM.random((200, 4)) < 0.1)


def names(rows: np.ndarray) -> list[list[str]]:
    return [[LABELS[index] for index in np.flatnonzero(row)] for row in rows]


def counted(figures: Callable, calls: list[int]) -> Callable:
    def score(rows: np.ndarray) -> dict[str, float]:
        calls.append(len(rows))
        return figures(rows)

    return score


def one(rows: np.ndarray) -> dict[str, float]:
    return single_label([LABELS[i] for i in GIVEN[rows]], [LABELS[i] for i in TRUTH[rows]])


def several(rows: np.ndarray) -> dict[str, float]:
    return multi_label(names(CHOSEN[rows]), names(SEVERAL[rows]))


@pytest.mark.parametrize(
    ("figures", "decisions"),
    [(one, Decisions(TRUTH, GIVEN, 4)), (several, Decisions(SEVERAL, CHOSEN, 4))],
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
    assert score.right_share == "accuracy"


def test_a_metric_that_only_looks_like_the_share_of_right_rows_is_asked_of_the_task() -> None:
    half_right = np.where(TRUTH == GIVEN, 1.0, 0.5)  # partial credit for what is wrong

    def figures(rows: np.ndarray) -> dict[str, float]:
        return {"credit": float(half_right[rows].mean()), "median": float(np.median(TRUTH[rows]))}

    score = Score(figures, 200, Decisions(TRUTH, GIVEN, 4))
    rows = RANDOM.integers(0, 200, 31)
    assert score(rows) == pytest.approx(figures(rows))
    assert score.right_share == ""
    assert set(score.by_row) == {"credit"}  # a mean over rows, which the median is not
    np.testing.assert_allclose(score.by_row["credit"], half_right)


def test_a_slow_metric_is_not_asked_for_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.training.measure.score.BY_ROW_S", 0.0)
    calls: list[int] = []
    score = Score(counted(lambda rows: {"a": float(TRUTH[rows].mean())}, calls), 200)
    assert score.by_row == {}
    assert len(calls) < 10


def test_one_row_that_a_busy_machine_held_up_takes_no_values_away() -> None:
    slow = [1]

    def figures(rows: np.ndarray) -> dict[str, float]:
        if len(rows) == 1 and slow:
            slow.pop()
            time.sleep(0.05)  # times 200 rows, it would be too long
        return {"a": float(TRUTH[rows].mean())}

    assert set(Score(figures, 200).by_row) == {"a"}


def test_a_metric_that_some_rows_lack_is_not_a_number_there() -> None:
    score = Score(lambda rows: {"b": 1.0} if len(rows) > 100 else {}, 200)
    assert np.isnan(score.of("b")(np.arange(3)))
    assert score.of("b")(np.arange(200)) == 1.0
