"""Slots of an encoder: writing, growing, clearing, refusing, and all that while rows run."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from hub.api import HeadKind, Row
from hub.engine.protocol import EngineRow, LayerUpdate
from hub.errors import BadAdapter, BadRequest, EngineFailed, TooLarge
from tests.support.profiles import thorough

RUNS = 150 if thorough() else 50  # beside others


def values(engine, row):
    return engine.run([row])[0].values


def assert_close(got, expected):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-4


def embedding(slot, ids=(5, 6, 7)):
    return EngineRow(Row(ids), slot, HeadKind.EMBEDDING)


@pytest.fixture
def small(bert, trained):
    return trained(bert, HeadKind.SEQUENCE, labels=2, rank=2, seed=21)


@pytest.fixture
def large(bert, trained):
    return trained(bert, HeadKind.SEQUENCE, labels=9, rank=16, seed=22)


@pytest.fixture
def span(bert, trained):
    return trained(bert, HeadKind.SPAN, rank=8, seed=23)


def test_no_rows_no_answers(engine):
    assert engine.run([]) == []


def test_slot_0_and_empty_slots_are_the_bare_base(engine, bert, trained, large, fill):
    bare = trained(bert, HeadKind.EMBEDDING, seed=24)
    fill(engine, [large])
    for slot in (0, 2):
        with bare.model.disable_adapter():
            expected = bare.alone(Row((5, 6, 7)))
        assert_close(values(engine, embedding(slot)), expected)
        outputs = engine.run([embedding(slot), large.row(1, 20), embedding(slot)])
        assert_close(outputs[0].values, expected)
        assert_close(outputs[2].values, expected)
    assert np.abs(values(engine, embedding(1)) - expected).max() > 0.01


def test_a_larger_adapter_leaves_the_others_as_they_were(engine, small, large, fill):
    fill(engine, [small])
    before = values(engine, small.row(1, 9))
    engine.write(2, large.weights)
    assert_close(values(engine, small.row(1, 9)), before)
    assert_close(values(engine, large.row(2, 9)), large.alone(large.row(2, 9).row))


def test_a_slot_keeps_nothing_of_what_it_held(engine, bert, trained, small, large, span, fill):
    partial = trained(bert, HeadKind.SEQUENCE, labels=3, rank=1, seed=25, targets=["value"])
    fill(engine, [large])
    for adapter in (small, span, partial, large):
        engine.write(1, adapter.weights)
        row = adapter.row(1, 8)
        assert_close(values(engine, row), adapter.alone(row.row))


def test_a_cleared_slot_is_the_bare_base_and_has_no_head(engine, large, fill):
    fill(engine, [large])
    bare = values(engine, embedding(0))
    assert np.abs(values(engine, embedding(1)) - bare).max() > 0.01
    engine.clear(1)
    assert_close(values(engine, embedding(1)), bare)
    with pytest.raises(EngineFailed, match="Slot 1 holds no adapter with a sequence head"):
        engine.run([large.row(1, 4)])


def test_a_row_must_want_the_head_its_slot_has(engine, small, span, fill):
    fill(engine, [small])
    with pytest.raises(EngineFailed, match="Slot 1 holds no adapter with a span head"):
        engine.run([span.row(1, 4)])
    with pytest.raises(EngineFailed, match="It cannot run a generate row"):
        engine.run([EngineRow(Row([1], max_new_tokens=3), 1, HeadKind.GENERATE)])


@pytest.mark.parametrize(
    ("ids", "error"), [([], BadRequest), ([10**6], BadRequest), ([-1], BadRequest), ([5] * 65, TooLarge)]
)
def test_a_row_that_the_base_cannot_read_is_refused_and_the_engine_lives_on(engine, small, fill, ids, error):
    fill(engine, [small])
    with pytest.raises(error):
        engine.run([small.row(1, 4), EngineRow(Row(ids), 1, HeadKind.SEQUENCE)])
    assert_close(values(engine, small.row(1, 4)), small.alone(small.row(1, 4).row))


def test_writes_meanwhile_do_not_change_other_rows(engine, bert, trained, small, large, span, fill):
    """Slots 1 and 2 are read while slot 3 is rewritten, its rank and label count growing."""
    fill(engine, [small, span])
    rows = [small.row(1, 30), span.row(2, 17), small.row(1, 5, seed=1)]
    expected = [adapter.alone(row.row) for adapter, row in zip((small, span, small), rows, strict=True)]
    others = [large, trained(bert, HeadKind.TOKEN, labels=12, rank=32, seed=26), span]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for adapter in others:
                engine.write(3, adapter.weights)
            engine.clear(3)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(RUNS):
            for output, value in zip(engine.run(rows), expected, strict=True):
                assert_close(output.values, value)
    finally:
        stop.set()
        writer.join()


def test_adapters_that_do_not_fit_the_base_are_refused(engine, small, large):
    weights = small.weights
    query = "bert.encoder.layer.0.attention.self.query"
    pair = weights.layers[query]
    wrong = {
        "no linear layer 'encoder.layer.7.x'": replace(weights, layers={"encoder.layer.7.x": pair}),
        "'embeddings.LayerNorm' of the base is not linear": replace(
            weights, layers={"embeddings.LayerNorm": pair}
        ),
        "maps 32 to 32 values, but the adapter's update maps 31 to 32": replace(
            weights, layers={query: LayerUpdate(pair.a[:, 1:], pair.b)}
        ),
        r"A sequence head here has classifier.bias \(2,\)": replace(weights, full={}),
        "'extra' was trained in full, and it belongs neither to a sequence head": replace(
            weights, full={**weights.full, "extra.weight": np.ones((1, 1), np.float32)}
        ),
        r"classifier.weight \(2, 32\); the adapter's has .*classifier.weight \(9, 32\)": replace(
            weights, full=large.weights.full
        ),
        "It cannot serve a generate adapter": replace(weights, kind=HeadKind.GENERATE),
    }
    for reason, bad in wrong.items():
        with pytest.raises(BadAdapter, match=reason):
            engine.check(bad)
        with pytest.raises(BadAdapter, match=reason):
            engine.write(1, bad)
    engine.check(weights)


@pytest.mark.parametrize("slot", [-1, 0, 9])
def test_only_slots_from_1_can_be_written(engine, small, slot):
    with pytest.raises(ValueError, match="not between 1 and 8"):
        engine.write(slot, small.weights)


def test_info_counts_what_is_resident(engine, small, large):
    empty = engine.info()
    assert (empty.device, empty.dtype, empty.slots) == ("cpu", "float32", 8)
    assert empty.base_bytes > 0
    engine.write(1, small.weights)
    first = engine.info().slot_bytes
    assert first >= small.weights.nbytes
    engine.write(2, large.weights)
    assert engine.info().slot_bytes >= max(large.weights.nbytes, first + 1)


def test_a_cleared_slot_gives_the_memory_of_a_large_rank_back(engine, small, trained, bert):
    engine.write(1, small.weights)
    before = engine.info().slot_bytes
    engine.write(2, trained(bert, HeadKind.SEQUENCE, labels=2, seed=5, rank=64).weights)
    assert engine.info().slot_bytes > 4 * before
    engine.clear(2)
    assert engine.info().slot_bytes == before


def test_closing_twice_is_harmless(engine):
    engine.close()
    engine.close()


def test_rows_aside_and_forwards_do_not_change_each_other(engine, bert, trained, small, large, span, fill):
    """Forwards of several threads at once, of different shapes, slots and heads."""
    tokens = trained(bert, HeadKind.TOKEN, labels=5, rank=4, seed=27)
    fill(engine, [small, span, large, tokens])
    groups = [
        (False, [small.row(1, 30), span.row(2, 17), small.row(1, 5, seed=1)]),
        (True, [large.row(3, 9), tokens.row(4, 21)]),
        (True, [tokens.row(4, 4), small.row(1, 12, seed=2), span.row(2, 3)]),
        (True, [large.row(3, 26, seed=3)]),
    ]
    adapters = {1: small, 2: span, 3: large, 4: tokens}
    wrong: list[str] = []

    def run(aside: bool, rows: list[EngineRow], expected: list[np.ndarray]) -> None:
        for _ in range(RUNS):
            for output, value in zip(engine.run(rows, aside=aside), expected, strict=True):
                if output.values.shape != value.shape or np.abs(output.values - value).max() > 1e-4:
                    wrong.append(f"{len(rows)} rows, aside={aside}")

    threads = [
        threading.Thread(target=run, args=(aside, rows, [adapters[row.slot].alone(row.row) for row in rows]))
        for aside, rows in groups
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
