# ruff: noqa: TID253 - reads tensors
"""Batches hold rows of about one length, each row once, in an order that can be had again."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from hub.training.fit.batches import LengthGroups, collator


@given(st.lists(st.integers(1, 60), min_size=1, max_size=300), st.integers(1, 32), st.integers(0, 9))
def test_every_row_comes_once_in_every_epoch(lengths: list[int], size: int, seed: int) -> None:
    groups = LengthGroups(lengths, size, seed)
    first = list(groups)
    assert sorted(first) == list(range(len(lengths)))
    assert list(groups) == first
    groups.epoch = 1
    assert sorted(groups) == sorted(first)


def test_an_epoch_has_its_own_order() -> None:
    groups = LengthGroups([5] * 100, 10, seed=0)
    first = list(groups)
    groups.epoch = 1
    assert list(groups) != first


def test_little_is_padding() -> None:
    chance = random.Random(0)
    lengths = [chance.randint(5, 100) for _ in range(1000)]
    order = list(LengthGroups(lengths, 32, seed=0))
    batches = [order[at : at + 32] for at in range(0, 1000, 32)]
    computed = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert computed < 1.05 * sum(lengths)
    assert [max(lengths[index] for index in batch) for batch in batches] != sorted(lengths)[31::32]


def test_rows_are_padded_to_the_longest_of_their_batch() -> None:
    batch = collator(pad=9)(
        [
            {"input_ids": [1, 2, 3], "token_type_ids": [0, 0, 1], "labels": 1},
            {"input_ids": [4], "token_type_ids": [1], "labels": 0},
        ]
    )
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 3], [4, 9, 9]],
        "token_type_ids": [[0, 0, 1], [1, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [1, 0],
    }


def test_labels_of_tokens_are_padded_and_those_of_texts_are_not() -> None:
    tokens = collator(0)([{"input_ids": [1, 2], "labels": [5, 6]}, {"input_ids": [1], "labels": [5]}])
    assert tokens["labels"].tolist() == [[5, 6], [5, -100]]
    apart = collator(0)([{"input_ids": [1], "labels": [5, 6, 7]}, {"input_ids": [1, 2], "labels": [5]}])
    assert apart["input_ids"].tolist() == [[1, 0], [1, 2]]
    assert apart["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert apart["labels"].tolist() == [[5, 6, 7], [5, -100, -100]]
    several = collator(0)(
        [{"input_ids": [1, 2], "labels": [0.0, 1.0]}, {"input_ids": [1], "labels": [1.0, 0.0]}]
    )
    assert several["labels"].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert several["labels"].dtype == torch.float32
