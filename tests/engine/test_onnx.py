"""The onnx engine: torch's own stacks, graphs made apart from the requests, torch when there is none."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from hub.api import HeadKind
from hub.engine.onnx_engine import OnnxEngine


@pytest.fixture
def narrow(bert, trained):
    return trained(bert, HeadKind.SEQUENCE, labels=2, seed=31, targets=["query"])


@pytest.fixture
def wide(bert, trained):
    return trained(bert, HeadKind.SEQUENCE, labels=3, seed=32)


def assert_exact(engine, adapter, slot):
    row = adapter.row(slot, 12)
    assert np.abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= 1e-4


def runs_on_torch(engine, row, monkeypatch):
    """Whether the torch backbone was asked."""
    asked = []
    backbone = engine._backbone.forward
    with monkeypatch.context() as patch:
        patch.setattr(engine._backbone, "forward", lambda **inputs: asked.append(1) or backbone(**inputs))
        engine.run([row])
    return bool(asked)


@pytest.mark.slow
def test_rows_run_on_torch_until_the_graph_is_there(bert, wide, monkeypatch):
    engine = OnnxEngine(bert, slots=2, threads=1)
    try:
        engine.write(1, wide.weights)
        assert "graph is being made" in engine.info().note
        assert engine.settle(timeout=0) is False
        assert runs_on_torch(engine, wide.row(1, 5), monkeypatch)
        assert_exact(engine, wide, 1)
        assert engine.settle(timeout=120) is True
        assert engine.info().note == ""
        assert not runs_on_torch(engine, wide.row(1, 5), monkeypatch)
        assert_exact(engine, wide, 1)
    finally:
        engine.close()


@pytest.mark.slow
def test_a_new_set_of_layers_sends_only_its_own_rows_to_torch(
    bert, narrow, wide, engine_of, fill, monkeypatch
):
    engine = engine_of(bert, "onnx")
    fill(engine, [narrow])
    layers = engine._live.layers
    engine.write(2, wide.weights)
    if engine._live.layers == layers:  # the new graph is not there yet
        assert not runs_on_torch(engine, narrow.row(1, 5), monkeypatch)
    assert_exact(engine, wide, 2)
    assert engine.settle(timeout=120)
    assert engine._live.layers > layers
    assert not runs_on_torch(engine, wide.row(2, 5), monkeypatch)
    assert_exact(engine, narrow, 1)
    assert_exact(engine, wide, 2)


def test_the_session_reads_the_stacks_where_torch_keeps_them(bert, wide, engine_of, fill):
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    row = replace(wide.row(1, 9), head=HeadKind.EMBEDDING)
    bare = engine.run([replace(row, slot=0)])[0].values
    adapted = engine.run([row])[0].values
    assert np.abs(adapted - bare).max() > 0.01
    for stack in engine._lora.stacks.values():
        stack.b[1].zero_()
    np.testing.assert_allclose(engine.run([row])[0].values, bare, atol=1e-6)


def test_a_graph_is_exported_once(bert, wide, graphs, engine_of, fill):
    fill(engine_of(bert, "onnx"), [wide])
    before = {path: path.stat().st_mtime_ns for path in graphs.iterdir()}
    again = engine_of(bert, "onnx")
    fill(again, [wide])
    assert {path: path.stat().st_mtime_ns for path in graphs.iterdir()} == before
    assert_exact(again, wide, 1)


@pytest.mark.slow
def test_a_failed_export_leaves_torch_and_says_why(bert, wide, tmp_path):
    base = replace(bert, path=shutil.copytree(bert.path, tmp_path / "base"), fingerprint="gone")
    engine = OnnxEngine(base, slots=2, threads=1, cache=tmp_path / "cache")
    try:
        (base.path / "model.safetensors").unlink()
        engine.write(1, wide.weights)
        assert engine.settle(timeout=120)
        assert "rows run on torch: Exporting base" in engine.info().note
        assert "model.safetensors" in engine.info().note
        assert list((tmp_path / "cache").iterdir()) == []
        assert_exact(engine, wide, 1)
    finally:
        engine.close()


def test_closing_ends_an_export_and_removes_its_folder(bert, wide):
    engine = OnnxEngine(bert, slots=2, threads=1)
    engine.write(1, wide.weights)
    folder = engine._exporter._cache
    engine.close()
    assert engine.settle(timeout=0)
    assert not folder.exists()


def test_info_counts_both_copies_of_the_base(bert, wide, engine_of, fill):
    engine = engine_of(bert, "onnx")
    alone = engine.info().base_bytes
    fill(engine, [wide])
    assert engine.info().name == "onnx"
    assert engine.info().base_bytes >= 2 * alone


def test_outputs_do_not_share_memory_with_the_next_run(bert, wide, engine_of, fill):
    engine = engine_of(bert, "onnx")
    fill(engine, [wide])
    first = engine.run([replace(wide.row(1, 6), head=HeadKind.EMBEDDING)])[0].values
    kept = first.copy()
    for seed in range(5):
        engine.run([wide.row(1, 6, seed=seed)])
    np.testing.assert_array_equal(first, kept)
