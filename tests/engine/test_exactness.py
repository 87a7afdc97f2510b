"""Any mix of rows in one forward answers as PEFT does with each row alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.api import HeadKind, Pooling

TOLERANCE = 1e-4


def pool(bert, trained):
    """Adapters of every kind, with different ranks, label counts and touched layers."""
    return [
        trained(bert, HeadKind.SEQUENCE, labels=3, rank=4, seed=1),
        trained(bert, HeadKind.SPAN, rank=8, seed=2),
        trained(bert, HeadKind.TOKEN, labels=5, rank=2, seed=3),
        trained(bert, HeadKind.EMBEDDING, rank=4, seed=4),
        trained(bert, HeadKind.SEQUENCE, labels=7, rank=16, seed=5, targets=("query", "value")),
        trained(bert, HeadKind.SEQUENCE, labels=1, rank=1, seed=6),
        trained(bert, HeadKind.TOKEN, labels=2, rank=4, seed=7, use_rslora=True),
        trained(bert, HeadKind.SEQUENCE_MEAN, labels=4, rank=2, seed=8),
    ]


def assert_exact(engine, adapters, rows):
    outputs = engine.run(rows)
    assert [output.row for output in outputs] == [row.row for row in rows]
    for row, output in zip(rows, outputs, strict=True):
        expected = adapters[row.slot - 1].alone(row.row)
        assert output.values.dtype == np.float32
        assert output.values.shape == expected.shape
        assert np.abs(output.values - expected).max() <= TOLERANCE


def test_all_kinds_ranks_and_label_counts_in_one_forward(engine, bert, trained, fill):
    adapters = pool(bert, trained)
    fill(engine, adapters)
    rows = [a.row(slot, length=3 * slot + n, seed=n) for n in (0, 9) for slot, a in enumerate(adapters, 1)]
    assert_exact(engine, adapters, rows)


def test_vectors_of_rows_and_of_tokens_in_one_forward_with_other_kinds(engine, bert, trained, fill):
    adapters = pool(bert, trained)
    fill(engine, adapters)
    rows = [
        replace(row, row=replace(row.row, pooling=pooling))
        for length, pooling in (
            (5, Pooling.LAST),
            (7, None),
            (11, Pooling.CLS),
            (8, Pooling.MEAN),
            (20, Pooling.LAST),
            (15, None),
        )
        for row in (adapters[3].row(4, length, seed=length), adapters[0].row(1, length + 2))
    ]
    assert_exact(engine, adapters, rows)


@pytest.mark.parametrize("kind", ["torch", "onnx", "openvino"])
def test_random_batches_are_exact(kind, bert, trained, fill, engine_of):
    adapters, engine = pool(bert, trained), engine_of(bert, kind)
    fill(engine, adapters)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(st.integers(1, len(adapters)), st.integers(1, 64), st.integers(0, 99)), min_size=1)
    )
    def check(picks):
        assert_exact(engine, adapters, [adapters[slot - 1].row(slot, n, seed) for slot, n, seed in picks])

    check()


@pytest.mark.parametrize("length", [1, 64])
def test_shortest_and_longest_rows(engine, bert, trained, fill, length):
    adapters = pool(bert, trained)[:3]
    fill(engine, adapters)
    for slot, adapter in enumerate(adapters, 1):
        assert_exact(engine, adapters, [adapter.row(slot, length)])
        assert_exact(engine, adapters, [adapter.row(slot, length), adapter.row(slot, 7, seed=1)])


def test_rank_and_alpha_patterns(engine, bert, trained, fill):
    patterns = {
        "rank_pattern": {"query": 2, "layer.1.output.dense": 6},
        "alpha_pattern": {"^bert.encoder.layer.0.*.value": 3, r"layer\.\d\.intermediate\.dense": 40},
    }
    adapters = [trained(bert, HeadKind.SEQUENCE, labels=3, seed=8, **patterns)]
    fill(engine, adapters)
    assert_exact(engine, adapters, [adapters[0].row(1, 12)])


def test_more_rows_than_slots_of_one_adapter(engine, bert, trained, fill):
    adapters = pool(bert, trained)[:1]
    fill(engine, adapters)
    assert_exact(engine, adapters, [adapters[0].row(1, 5 + n % 4, seed=n) for n in range(40)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "onnx", "openvino"])
def test_real_weights(kind, minilm, trained, fill, engine_of):
    """Adapters as far from zero as trained ones are, on all linear layers of MiniLM."""
    make = [
        (HeadKind.SEQUENCE, 4, 8, 11),
        (HeadKind.SPAN, 0, 16, 12),
        (HeadKind.SEQUENCE, 2, 4, 13),
        (HeadKind.TOKEN, 9, 8, 14),
        (HeadKind.SEQUENCE_MEAN, 3, 8, 15),
    ]
    adapters = [
        trained(minilm, head, labels=labels, rank=rank, seed=seed, spread=0.05)
        for head, labels, rank, seed in make
    ]
    engine = engine_of(minilm, kind)
    fill(engine, adapters)
    rows = [a.row(slot, length=n + slot, seed=n) for n in (4, 60) for slot, a in enumerate(adapters, 1)]
    assert_exact(engine, adapters, rows)
