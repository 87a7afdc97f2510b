# ruff: noqa: TID253 - asks the torch backbone
"""Rows share sequences without loss, and only where that saves much."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hub.api import HeadKind, Row
from hub.engine.batch import Batch, BatchLimits, collate
from hub.engine.packing import MAX_FILL, MAX_SLOTS, pack
from hub.engine.protocol import EngineRow
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.loading import load_model
from tests.support import tiny

LIMITS = BatchLimits(max_length=64, vocabulary=100, token_types=2)
PAD = 7


def batch_of(*rows: tuple[int, int]) -> Batch:
    """Make a batch of rows with a slot and a length each."""
    made = [
        EngineRow(
            Row([(number + at) % 100 for at in range(length)], [number % 2] * length),
            slot,
            HeadKind.SEQUENCE,
        )
        for number, (slot, length) in enumerate(rows)
    ]
    return collate(made, LIMITS, PAD)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 64)), min_size=1, max_size=40))
def test_every_token_is_found_where_its_row_was_put_and_nothing_else_is_there(rows) -> None:
    batch = batch_of(*rows)
    packed = pack(batch, PAD)
    if packed is None:
        return
    own = batch.attention_mask == 1
    assert packed.input_ids.shape[0] <= MAX_FILL * len(rows)
    assert len(set(packed.where[own].tolist())) == own.sum() == (packed.segments > 0).sum()
    for name in ("input_ids", "token_type_ids"):
        flat = getattr(packed, name).ravel()
        assert np.array_equal(flat[packed.where][own], getattr(batch, name)[own])
        empty = PAD if name == "input_ids" else 0
        assert (flat[packed.segments.ravel() == 0] == empty).all()
    for row, (slot, length) in enumerate(rows):
        at = packed.where[row, :length]
        number = at[0] // packed.input_ids.shape[1]
        assert at.tolist() == list(range(at[0], at[0] + length)), "a row's tokens stay together"
        assert at[-1] // packed.input_ids.shape[1] == number, "in one sequence"
        assert packed.positions.ravel()[at].tolist() == list(range(length))
        assert len(set(packed.segments.ravel()[at].tolist())) == 1
        (place,) = set(packed.places.ravel()[at].tolist())
        assert packed.slots[number, place] == slot
    for segments in packed.segments:
        found = segments[segments > 0]
        assert sorted(set(found.tolist())) == list(range(1, found.max() + 1)), "each row has its own"


def test_rows_of_one_adapter_share_a_sequence_first() -> None:
    packed = pack(batch_of((1, 20), (2, 20), (2, 10), (1, 10), (3, 30)), PAD)
    assert packed is not None
    assert packed.slots.shape == (3, 1)


def test_a_sequence_has_few_different_slots() -> None:
    packed = pack(batch_of((0, 60), *((slot, 2) for slot in range(1, 31))), PAD)
    assert packed is not None
    assert packed.slots.shape[1] == MAX_SLOTS


def test_rows_of_like_length_are_not_packed() -> None:
    assert pack(batch_of(*((slot, 30 + slot) for slot in range(4))), PAD) is None
    assert pack(batch_of((1, 40), (2, 30), (3, 25)), PAD) is None, "no two fit into one sequence"
    assert pack(batch_of((1, 40)), PAD) is None


UNPACKED = {
    "deberta-v2": "its attention adds what depends on the distance in the sequence",
    "modernbert": "most of its layers read a window of the sequence",
}


@pytest.mark.parametrize("attention", ["eager", None])
@pytest.mark.parametrize("family", tiny.ENCODERS)
def test_rows_are_packed_where_the_result_is_the_same(family, attention, base_of) -> None:
    settings = {"attn_implementation": attention} if attention else {}
    model = load_model(base_of(family), torch.device("cpu"), **settings)
    assert TorchBackbone(model, 1).packs is (family not in UNPACKED)


def test_the_exactness_of_packed_rows_is_tested_on_a_base_that_packs(engine) -> None:
    assert engine.packs


@pytest.mark.parametrize("kind", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_a_padding_token_in_a_text_counts_as_it_does_alone(
    family, kind, base_of, trained, engine_of, fill
) -> None:
    """RoBERTa's gives no position to what follows it; a text has one where it holds "<pad>"."""
    base = base_of(family)
    adapter = trained(base, HeadKind.SEQUENCE, labels=3, seed=1)
    engine = engine_of(base, kind, slots=1)
    fill(engine, [adapter])
    padding = json.loads((base.path / "config.json").read_text())["pad_token_id"]
    texts = ([10, padding, 14, 12, 15], [padding, 11, padding, padding, 12], [9, 8, padding], [padding])
    rows = [EngineRow(Row(ids), 1, HeadKind.SEQUENCE) for ids in texts]
    for batch in ([adapter.row(1, 40, seed=1), *rows], rows[:2], rows[:1]):
        for row, output in zip(batch, engine.run(batch), strict=True):
            np.testing.assert_allclose(output.values, adapter.alone(row.row), atol=1e-4)
