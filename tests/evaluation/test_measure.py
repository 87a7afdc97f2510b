"""Figures agree with what the libraries and papers say, and with what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.evaluation import intervals
from hub.evaluation import slices as slices_module
from hub.evaluation.calibration import (
    calibration_error,
    fit_temperature,
    probabilities,
    reliability,
)
from hub.evaluation.intervals import bootstrap, mcnemar, paired_bootstrap, resamples_for
from hub.evaluation.labels import multi_label_figures, single_label_figures
from hub.evaluation.slices import by_length, by_value, measure_slices


def test_one_label_an_example_gets_every_figure() -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef, roc_auc_score

    true, predicted = [0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0]
    scores = np.eye(3)[predicted] * 0.8 + 0.1
    figures = single_label_figures(true, predicted, ("a", "b", "c"), scores)
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["f1_micro"] == pytest.approx(4 / 6)
    assert figures["f1_macro"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert figures["mcc"] == pytest.approx(matthews_corrcoef(true, predicted))
    assert figures["roc_auc"] == pytest.approx(
        roc_auc_score(true, scores / scores.sum(1, keepdims=True), multi_class="ovr")
    )
    assert figures["confusion"] == {"labels": ["a", "b", "c"], "rows": [[1, 1, 0], [0, 1, 0], [1, 0, 2]]}
    assert figures["per_label"]["c"] == {
        "precision": 1.0, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8), "support": 3,
    }  # fmt: skip


def test_a_label_that_no_row_has_breaks_nothing() -> None:
    figures = single_label_figures([0, 0], [0, 0], ("a", "never"), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert (figures["accuracy"], figures["roc_auc"]) == (1.0, None)
    assert figures["per_label"]["never"]["support"] == 0


def test_several_labels_an_example_get_theirs() -> None:
    true = np.array([[1, 0, 1], [0, 1, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [0, 1, 0]], dtype=bool)
    figures = multi_label_figures(true, predicted, ("a", "b", "c"), predicted.astype(float))
    assert (figures["exact_match"], figures["hamming_loss"]) == (0.5, pytest.approx(1 / 6))
    assert (figures["precision_micro"], figures["recall_micro"]) == (1.0, pytest.approx(2 / 3))
    assert figures["per_label"]["c"]["recall"] == 0.0


def test_of_one_label_that_a_row_may_have_its_presence_is_measured() -> None:
    true = np.array([[1], [1], [0], [1]], dtype=bool)
    predicted = np.array([[1], [0], [0], [1]], dtype=bool)
    figures = multi_label_figures(true, predicted, ("spam",), predicted.astype(float))
    assert (figures["exact_match"], figures["hamming_loss"]) == (0.75, 0.25)
    spam = {"precision": 1.0, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8), "support": 3}
    assert figures["per_label"] == {"spam": spam}
    assert [figures[f"f1_{average}"] for average in ("micro", "macro")] == pytest.approx([0.8, 0.8])


def test_the_calibration_error_is_the_gap_of_confidence_to_accuracy() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    assert calibration_error(confidence, right) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert [(one.rows, one.accuracy) for one in reliability(confidence, right)] == [(2, 0.5), (4, 0.75)]


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("heat", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_that_made_the_logits_too_sure(heat: float, multi_label: bool) -> None:
    random = np.random.default_rng(0)
    honest = random.normal(0, 2, (4000, 3))
    chances = probabilities(honest, multi_label=multi_label)
    targets = (
        (random.random(chances.shape) < chances).astype(float)
        if multi_label
        else (chances.cumsum(1) > random.random((4000, 1))).argmax(1)
    )
    assert fit_temperature(honest * heat, targets, multi_label=multi_label) == pytest.approx(heat, rel=0.1)


def test_rows_that_are_all_right_say_nothing_of_the_temperature() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 3.0]])
    assert fit_temperature(logits, np.array([0, 1]), multi_label=False) == 1.0
    assert fit_temperature(np.empty((0, 2)), np.empty(0), multi_label=False) == 1.0


def test_a_gain_that_chance_explains_is_none() -> None:
    random = np.random.default_rng(0)
    honest = random.normal(0, 2, (60, 3))
    targets = (probabilities(honest, multi_label=False).cumsum(1) > random.random((60, 1))).argmax(1)
    assert fit_temperature(honest * 1.1, targets, multi_label=False) == 1.0
    assert fit_temperature(honest * 4, targets, multi_label=False) == pytest.approx(4, rel=0.5)


def test_a_temperature_changes_no_decision_and_lowers_the_error() -> None:
    random = np.random.default_rng(1)
    honest = random.normal(0, 1.5, (3000, 4))
    chances = probabilities(honest, multi_label=False)
    targets = (chances.cumsum(1) > random.random((3000, 1))).argmax(1)
    sure = honest * 4
    cooled = sure / fit_temperature(sure, targets, multi_label=False)
    right = sure.argmax(1) == targets
    assert (cooled.argmax(1) == sure.argmax(1)).all()
    before, after = (
        calibration_error(probabilities(each, multi_label=False).max(1), right) for each in (sure, cooled)
    )
    assert before > 0.2
    assert after < 0.05


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random, covered = np.random.default_rng(2), 0
    for seed in range(100):
        right = random.random(200) < 0.8
        interval = bootstrap(lambda chosen, right=right: {"a": float(right[chosen].mean())}, 200, seed)["a"]
        covered += interval.low <= 0.8 <= interval.high
    assert 88 <= covered <= 99


def test_the_same_seed_gives_the_same_interval() -> None:
    right = np.arange(50) % 3 > 0
    first, again, other = (
        bootstrap(lambda c: {"a": float(right[c].mean())}, 50, seed)["a"] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_few_resamples_give_an_interval_from_their_deviation() -> None:
    right = np.random.default_rng(4).random(400) < 0.8

    def score(chosen: np.ndarray) -> dict[str, float]:
        return {"a": float(right[chosen].mean())}

    quick, slow = bootstrap(score, 400, 0)["a"], bootstrap(score, 400, 0, intervals.RESAMPLES[-1])["a"]
    assert (quick.resamples, slow.resamples) == (1000, intervals.RESAMPLES[-1])
    assert slow.low + slow.high == pytest.approx(2 * right.mean())
    assert slow.high - slow.low == pytest.approx(quick.high - quick.low, rel=0.5)


def test_the_number_of_resamples_is_chosen_by_counts_of_rows_alone() -> None:
    assert [resamples_for(rows, fast=True) for rows in (1, 50_000, 50_001, 10**9)] == [1000, 1000, 400, 25]
    assert [resamples_for(rows, fast=False) for rows in (1, 125, 250, 251, 10_000)] == [
        400,
        400,
        200,
        100,
        25,
    ]
    assert resamples_for(125, fast=False, groups=8) == 50


def test_a_figure_that_most_resamples_lack_has_no_interval() -> None:
    rare = np.arange(100) == 0
    found = bootstrap(lambda c: {"a": 1.0, **({"b": 1.0} if rare[c].sum() > 2 else {})}, 100, 0)
    assert set(found) == {"a"}


def test_a_paired_test_sees_what_separate_intervals_cannot() -> None:
    random = np.random.default_rng(3)
    old = random.random(400) < 0.8
    new = old | (random.random(400) < 0.1)  # right wherever the old one is, and now and then besides
    score = lambda right: lambda chosen: float(right[chosen].mean())  # noqa: E731
    paired = paired_bootstrap(score(new), score(old), 400, 0)
    assert paired.difference == pytest.approx(new.mean() - old.mean())
    assert paired.low > 0
    assert paired.worse < 0.001
    assert mcnemar(new, old) == pytest.approx(2 * 0.5 ** (new & ~old).sum())
    same = paired_bootstrap(score(old), score(old), 400, 0)
    assert (same.difference, same.worse, mcnemar(old, old)) == (0.0, 0.5, 1.0)


def test_few_resamples_tell_nearly_what_many_do() -> None:
    random = np.random.default_rng(5)
    old, new = random.random(500) < 0.8, random.random(500) < 0.83
    score = lambda right: lambda chosen: float(right[chosen].mean())  # noqa: E731
    many, few = (paired_bootstrap(score(new), score(old), 500, 0, count) for count in (1000, 25))
    assert (many.resamples, few.resamples) == (1000, 25)
    assert few.worse == pytest.approx(many.worse, abs=0.1)
    assert paired_bootstrap(score(old), score(old), 500, 0, 25).worse == 0.5
    certain = paired_bootstrap(lambda rows: 1.0, lambda rows: 2.0, 500, 0, 25)
    assert certain.worse == 1.0


@given(st.lists(st.integers(0, 300), min_size=2, max_size=60))
def test_every_row_is_in_one_quarter_by_length(lengths: list[int]) -> None:
    groups = by_length(lengths, "tokens")
    if groups:
        assert sorted(index for indices in groups.values() for index in indices) == list(range(len(lengths)))
    else:
        assert len({int(cut) >= max(lengths) for cut in np.quantile(lengths, (0.25,))}) == 1


def test_a_slice_on_which_the_model_fails_is_flagged() -> None:
    values = ["web"] * 60 + ["mail"] * 60 + ["rare"] * 3
    right = np.array([True] * 57 + [False] * 3 + [True] * 30 + [False] * 30 + [True] * 3)
    slices = measure_slices({"source": by_value(values)}, lambda chosen: float(right[chosen].mean()), 123, 0)
    assert [(one.value, one.rows, one.underperforms) for one in slices] == [
        ("mail", 60, True),
        ("web", 60, False),
    ]
    assert slices[0].metric == 0.5
    assert slices[0].interval.low < 0.5 < slices[0].interval.high < slices[0].others


def test_of_an_error_the_slice_with_the_higher_one_is_flagged() -> None:
    values = ["web"] * 60 + ["mail"] * 60
    errors = np.array([0.1, 0.2] * 30 + [0.7, 0.9] * 30)
    slices = measure_slices(
        {"source": by_value(values)}, lambda chosen: float(errors[chosen].mean()), 120, 0, goal="min"
    )
    assert [(one.value, one.underperforms) for one in slices] == [("mail", True), ("web", False)]


def test_a_column_of_one_value_makes_no_slices_and_rare_ones_of_many_go_together() -> None:
    assert by_value(["same"] * 10) == {}
    groups = by_value([*range(slices_module.MAX_VALUES), *range(slices_module.MAX_VALUES), 1001, 1002])
    assert len(groups) == slices_module.MAX_VALUES + 1
    assert groups["(others)"].tolist() == [2 * slices_module.MAX_VALUES, 2 * slices_module.MAX_VALUES + 1]
    assert groups["1"].tolist() == [1, slices_module.MAX_VALUES + 1]


def test_ten_thousand_labels_get_their_figures_without_a_matrix_of_as_many_squared() -> None:
    labels = list(range(100))
    figures = single_label_figures(labels, labels, [f"intent {n}" for n in range(10_000)])
    assert figures["accuracy"] == 1
    assert len(figures["per_label"]) == 10_000
    assert "confusion" not in figures


@given(st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=20))
def test_probabilities_are_the_textbook_formulas(rows: list[list[float]]) -> None:
    logits = np.array(rows)
    powers = np.exp(logits)
    np.testing.assert_allclose(
        probabilities(logits, multi_label=False), powers / powers.sum(1, keepdims=True), rtol=1e-12
    )
    np.testing.assert_allclose(probabilities(logits, multi_label=True), 1 / (1 + 1 / powers), rtol=1e-12)
