"""The figures of merit of classification, against values worked out by hand."""

from __future__ import annotations

import pytest
from grafthub_classification.models import ClassificationLabel, ClassificationResponse
from grafthub_classification.task import ClassificationTask

TASK = ClassificationTask()


def said(*labels: str) -> ClassificationResponse:
    chosen = [ClassificationLabel(label=label, score=0.9) for label in labels]
    first = chosen[0] if chosen else None
    return ClassificationResponse(
        label=first and first.label, score=first and first.score, labels=chosen, scores={}
    )


def test_one_label():
    # a: 1 of 2 found, 1 of 1 right: F1 2/3. b: 2 of 2 found, 2 of 3 right: F1 4/5. c: never.
    predictions = [said("a"), said("b"), said("b"), said("b"), said("a")]
    references = [{"label": label} for label in ("a", "a", "b", "b", "c")]
    figures = TASK.metrics(predictions, references)
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["f1_micro"] == pytest.approx(3 / 5)
    assert figures["f1_macro"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)


def test_matthews_is_one_if_all_is_right_and_minus_one_if_all_is_wrong():
    references = [{"label": "a"}, {"label": "b"}]
    assert TASK.metrics([said("a"), said("b")], references)["mcc"] == pytest.approx(1.0)
    assert TASK.metrics([said("b"), said("a")], references)["mcc"] == pytest.approx(-1.0)


def test_of_one_label_that_a_row_may_have_its_presence_is_measured():
    predictions = [said("spam"), said(), said(), said("spam")]
    references = [{"labels": labels} for labels in (["spam"], ["spam"], [], ["spam"])]
    figures = TASK.metrics(predictions, references)
    assert figures == pytest.approx({"accuracy": 0.75, "f1_macro": 0.8, "f1_micro": 0.8})


def test_a_split_with_one_label_has_figures_too():
    figures = TASK.metrics([said("a"), said("a")], [{"label": "a"}, {"label": "a"}])
    assert figures == {"accuracy": 1.0, "f1_macro": 1.0, "f1_micro": 1.0, "mcc": 0.0}


def test_several_labels():
    # a: 2 right of 2 said of 2; b: 0 right, 1 said, 1 missed; c: nothing said, 1 missed.
    predictions = [said("a"), said("a", "b"), said()]
    references = [{"labels": ("a",)}, {"labels": ("a", "c")}, {"labels": ("b",)}]
    figures = TASK.metrics(predictions, references)
    assert figures["accuracy"] == pytest.approx(1 / 3)
    assert figures["f1_macro"] == pytest.approx(1 / 3)
    assert figures["f1_micro"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))


def test_to_choose_nothing_where_nothing_is_right_is_right():
    assert TASK.metrics([said()], [{"labels": ()}])["accuracy"] == 1.0
    assert TASK.metrics([said()], [{"label": None, "labels": None}])["accuracy"] == 1.0


@pytest.mark.parametrize(
    "references", [[{"label": "a"}, {"label": "b"}], [{"labels": ("a",)}, {"labels": ()}]]
)
def test_the_figure_that_gates_read_is_there_for_both(references):
    assert TASK.metric in TASK.metrics([said("a"), said("b")], references)
