# ruff: noqa: TID253 - looks at tensors
"""Rare labels weigh more in the loss, or their rows are drawn more often."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from hub.training.fit.batches import LengthGroups
from hub.training.fit.loss import MAX_WEIGHT, class_weights, row_weights


def single(labels: list[int]) -> list[dict]:
    return [{"input_ids": [1], "labels": label} for label in labels]


def test_one_label_a_row_weighs_inversely_to_its_share() -> None:
    weights = class_weights(single([0, 0, 0, 1]), 2)
    assert weights.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    counts = torch.tensor([3, 1])
    assert (weights * counts).sum() == pytest.approx(4)  # the mean loss keeps its size


def test_a_label_that_does_not_occur_weighs_one_and_none_more_than_the_most() -> None:
    weights = class_weights(single([0] * 999 + [1]), 3)
    assert weights.tolist() == pytest.approx([1000 / (2 * 999), MAX_WEIGHT, 1.0])


def test_several_labels_weigh_rows_without_over_rows_with() -> None:
    rows = [
        {"input_ids": [1], "labels": labels} for labels in ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0])
    ]
    assert class_weights(rows, 2).tolist() == [1.0, 3.0]


def test_tokens_that_are_not_scored_do_not_count() -> None:
    rows = [{"input_ids": [1, 2, 3], "labels": [-100, 0, 1]}, {"input_ids": [1, 2], "labels": [0, 0]}]
    assert class_weights(rows, 2).tolist() == pytest.approx([4 / (2 * 3), 4 / 2])


def test_a_row_is_drawn_by_its_rarest_label() -> None:
    assert row_weights(single([0, 0, 0, 1])) == [1, 1, 1, 3]
    several = [{"input_ids": [1], "labels": labels} for labels in ([1.0, 0.0], [1.0, 1.0], [0.0, 0.0])]
    assert row_weights(several) == [1, 2, 2]


def test_a_drawn_epoch_is_balanced_as_long_as_the_rows_and_had_again() -> None:
    rows = single([0] * 900 + [1] * 100)
    groups = LengthGroups([1] * 1000, 10, 7, row_weights(rows))
    first, again = list(groups), list(groups)
    assert first == again
    assert len(first) == 1000
    counts = Counter(rows[index]["labels"] for index in first)
    assert 430 < counts[1] < 570
    groups.epoch = 1
    assert list(groups) != first
