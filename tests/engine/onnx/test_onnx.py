# ruff: noqa: TID253 - looks at tensors
"""The onnx backbone: torch's own stacks, graphs made apart from the requests, torch when there is none."""

from __future__ import annotations

import shutil
import weakref
from dataclasses import replace

import numpy as np
import onnxruntime
import psutil
import pytest
import torch

from hub.api import HeadKind
from hub.engine.choice.autotune import Tuning
from hub.engine.onnx import graph as onnx_graph
from hub.engine.torch.tensors import BatchTensors
from hub.serving.heap import return_free_memory
from tests.support.backbones import chosen, run_on

TORCH, ONNX, INT8 = "torch float32", "onnx float32", "onnx int8"


@pytest.fixture
def narrow(bert, trained):
    return trained(bert, HeadKind.SEQUENCE, labels=2, seed=31, targets=["query"])


@pytest.fixture
def embedding(bert, trained):
    return trained(bert, HeadKind.EMBEDDING, seed=32)


def assert_exact(engine, adapter, slot):
    row = adapter.row(slot, 12)
    assert np.abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= 1e-4


def test_rows_run_on_torch_until_the_graph_is_there(bert, wide, engine_of, watch):
    engine = engine_of(bert, "onnx", slots=2, cache=None)
    ran = watch(engine)
    engine.write(1, wide.weights)
    assert "graph is being exported" in engine.info().note
    assert engine.settle(timeout=0) is False
    assert_exact(engine, wide, 1)
    assert ran == [TORCH]
    assert engine.settle(timeout=120) is True
    assert engine.info().note == ""
    assert_exact(engine, wide, 1)
    assert ran == [TORCH, ONNX]


def test_a_new_set_of_layers_sends_only_its_own_rows_to_torch(bert, narrow, wide, engine_of, fill, watch):
    engine = engine_of(bert, "onnx")
    fill(engine, [narrow])
    [graph] = engine._backbones.graphs
    stacks = graph.stacks
    ran = watch(engine)
    engine.write(2, wide.weights)
    if graph.stacks == stacks:  # the new graph is not there yet
        assert_exact(engine, narrow, 1)
        assert ran == [ONNX]
    assert_exact(engine, wide, 2)
    assert engine.settle(timeout=120)
    assert graph.stacks > stacks
    ran.clear()
    assert_exact(engine, narrow, 1)
    assert_exact(engine, wide, 2)
    assert ran == [ONNX, ONNX]


def test_the_session_reads_the_stacks_where_torch_keeps_them(bert, wide, engine_of, fill, monkeypatch):
    """One address for both, and for onnxruntime no other tensor than those."""
    bound = {}

    class Spy:
        @staticmethod
        def from_dlpack(tensor):
            value = onnxruntime.OrtValue.from_dlpack(tensor)
            bound[value.data_ptr()] = tensor
            return value

    monkeypatch.setattr(onnx_graph, "OrtValue", Spy)
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    engine.run([wide.row(1, 6)])
    stacks = [
        t for parts in engine._backbones.reference.stacks.layers.values() for t in parts.present.values()
    ]
    assert len(stacks) >= 24
    assert {stack.data_ptr() for stack in stacks} <= bound.keys()
    assert all(bound[stack.data_ptr()] is stack for stack in stacks)


def test_a_write_to_a_stack_is_seen_by_both_backbones(bert, wide, engine_of, fill):
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    row = replace(wide.row(1, 9), head=HeadKind.EMBEDDING)
    bare = engine.run([replace(row, slot=0)])[0].values
    for name in (TORCH, ONNX):
        assert np.abs(run_on(engine, name, [row])[0].values - bare).max() > 0.01
    for parts in engine._backbones.reference.stacks.layers.values():
        parts.b[1].zero_()
    for name in (TORCH, ONNX):
        np.testing.assert_allclose(run_on(engine, name, [row])[0].values, bare, atol=1e-5)


def test_a_slot_that_is_written_once_changes_on_both_backbones(bert, trained, wide, engine_of, fill):
    other = trained(bert, HeadKind.SEQUENCE, labels=3, seed=33)
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    for adapter in (wide, other, wide):
        engine.write(1, adapter.weights)
        row = adapter.row(1, 9)
        for name in (TORCH, ONNX):
            assert np.abs(run_on(engine, name, [row])[0].values - adapter.alone(row.row)).max() <= 1e-4


def test_a_larger_rank_is_read_by_the_graph_there_is(bert, trained, wide, engine_of, fill, watch):
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    ran = watch(engine)
    assert_exact(engine, wide, 1)
    large = trained(bert, HeadKind.SEQUENCE, labels=3, seed=34, rank=24)
    engine.write(2, large.weights)
    assert engine.settle(0)
    assert_exact(engine, wide, 1)
    assert_exact(engine, large, 2)
    assert ran == [ONNX, ONNX, ONNX]


def test_stacks_that_shrank_are_read_by_the_graph_and_the_larger_ones_are_freed(
    bert, trained, wide, engine_of, fill, watch
):
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    engine.write(2, trained(bert, HeadKind.SEQUENCE, labels=3, seed=34, rank=32).weights)
    [graph] = engine._backbones.graphs
    layers = engine._backbones.reference.stacks.layers
    larger = [weakref.ref(parts.a) for parts in layers.values()]
    batch = BatchTensors(*(torch.ones(shape, dtype=torch.int64) for shape in ((1, 4), (1, 4), (1, 4), (1,))))
    with torch.inference_mode():
        graph.run(batch)
    ran = watch(engine)
    del layers
    engine.clear(2)
    assert [stack() for stack in larger] == [None] * len(larger)
    assert_exact(engine, wide, 1)
    assert ran == [ONNX]


def test_a_large_batch_leaves_no_memory_with_the_session(bert, wide, engine_of, fill):
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    rows = [wide.row(1, 48, seed) for seed in range(400)]
    engine.run(rows[:1])
    before = psutil.Process().memory_full_info().uss
    engine.run(rows)
    return_free_memory()
    assert psutil.Process().memory_full_info().uss - before < 20_000_000


def test_a_graph_is_exported_once(bert, wide, graphs, engine_of, fill):
    fill(engine_of(bert, "onnx"), [wide])
    before = {path: path.stat().st_mtime_ns for path in graphs.iterdir()}
    again = engine_of(bert, "onnx")
    fill(again, [wide])
    assert {path: path.stat().st_mtime_ns for path in graphs.iterdir()} == before
    assert_exact(again, wide, 1)


def test_a_failed_export_leaves_torch_and_says_why(bert, wide, tmp_path, engine_of):
    base = replace(bert, path=shutil.copytree(bert.path, tmp_path / "base"), fingerprint="gone")
    engine = engine_of(base, "onnx", slots=2, cache=tmp_path / "cache")
    (base.path / "model.safetensors").unlink()
    engine.write(1, wide.weights)
    assert engine.settle(timeout=120)
    assert "rows run on torch: Exporting base" in engine.info().note
    assert "model.safetensors" in engine.info().note
    assert list((tmp_path / "cache").iterdir()) == []
    assert_exact(engine, wide, 1)


def test_closing_ends_an_export_and_removes_its_folder(bert, wide, engine_of):
    engine = engine_of(bert, "onnx", slots=2, cache=None)
    engine.write(1, wide.weights)
    backbones = engine._backbones
    folder = backbones._exporter._cache
    engine.close()
    assert backbones.settle(timeout=0)
    assert not folder.exists()


def test_info_counts_what_the_graph_has_for_itself(bert, wide, engine_of, fill, graphs):
    engine = engine_of(bert, "onnx")
    alone = engine.info().base_bytes
    fill(engine, [wide])
    assert engine.info().name == "onnx"
    assert engine.info().base_bytes > alone


def test_the_session_looks_embeddings_up_where_torch_keeps_them(bert, wide, engine_of, fill):
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    row = replace(wide.row(1, 9), head=HeadKind.EMBEDDING)
    before = engine.run([row])[0].values
    table = engine._backbones.reference.model.embeddings.word_embeddings.weight
    with torch.no_grad():
        table[list(row.row.input_ids)] *= -1.0
    assert np.abs(engine.run([row])[0].values - before).max() > 0.01


def test_only_adapters_that_may_run_on_an_int8_base(bert, embedding, wide, engine_of, watch):
    """int8 is near; the adapter beside it that was not measured on int8 is exact."""
    engine = engine_of(bert, "onnx-int8")
    engine.write(1, wide.weights)
    engine.write(2, replace(embedding.weights, int8=True))
    assert engine.settle(timeout=120)
    assert engine.info().note == ""
    ran = watch(engine)
    assert_exact(engine, wide, 1)
    row = embedding.row(2, 12)
    got, expected = engine.run([row])[0].values, embedding.alone(row.row)
    assert ran == [ONNX, INT8]
    assert np.abs(got - expected).max() > 1e-4
    assert got @ expected / np.linalg.norm(got) / np.linalg.norm(expected) > 0.97
    engine.write(2, embedding.weights)
    assert_exact(engine, embedding, 2)
    assert ran == [ONNX, INT8, ONNX]


def test_auto_measures_and_every_choice_is_exact(bert, wide, tmp_path, graphs, engine_of, fill, watch):
    """All that auto may choose: fp32 to 1e-4, bf16 to a cosine of .999; and what it chose is what runs."""
    cache = shutil.copytree(graphs, tmp_path / "cache", ignore=shutil.ignore_patterns("tune-*"))
    engine = engine_of(bert, "auto", cache=cache, tuning=Tuning(budget_s=0.5))
    fill(engine, [wide])
    timings = engine._backbones._tune.timings
    assert {TORCH, ONNX} <= timings.seconds.keys()
    assert not timings.refused
    assert len(list(cache.glob("tune-*.json"))) == 1
    ran = watch(engine)
    for rows, tokens in ((1, 16), (32, 32)):
        batch = [wide.row(1, tokens, seed=seed) for seed in range(rows)]
        got = torch.from_numpy(np.concatenate([output.values for output in engine.run(batch)]))
        expected = torch.from_numpy(np.concatenate([wide.alone(row.row) for row in batch]))
        assert torch.cosine_similarity(expected, got, dim=0) >= 0.999
        if "bfloat16" not in ran[-1]:
            assert (expected - got).abs().max() <= 1e-4
        assert ran.pop() == chosen(engine, rows, tokens) == timings.order(rows, tokens)[0]
