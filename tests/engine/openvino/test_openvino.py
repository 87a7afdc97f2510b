# ruff: noqa: TID253 - looks at tensors
"""The openvino backbone: stacks without a copy, few shapes, weights shared with torch, bf16 near float32."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hub.api import HeadKind
from hub.engine.build import build_engine
from hub.engine.choice.autotune import Tuning
from hub.engine.torch.tensors import BatchTensors
from hub.errors import BadConfig, MissingExtra
from tests.support.backbones import run_on

graph = pytest.importorskip("hub.engine.openvino.graph")
OpenVinoBackbone = pytest.importorskip("hub.engine.openvino.backbone").OpenVinoBackbone

TORCH, FP32, BF16 = "torch float32", "openvino float32", "openvino bfloat16"
NAMES = {"openvino": FP32, "openvino-bf16": BF16}


@pytest.fixture(params=NAMES)
def kind(request, monkeypatch):
    """Both dtypes; slow where a CPU has no instructions for bf16, but exact all the same."""
    monkeypatch.setattr("hub.engine.openvino.backbone.computes_in_bf16", lambda: True)
    return request.param


def assert_near(kind, got, expected):
    if kind == "openvino":
        np.testing.assert_allclose(got, expected, atol=1e-4)
    else:
        cosines = (got * expected).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert np.min(cosines) >= 0.999


def test_a_write_to_a_stack_is_seen_by_the_compiled_graph(kind, bert, wide, engine_of, fill):
    """In bf16 too: nothing is copied, and nothing is told that the memory changed."""
    engine = engine_of(bert, kind)
    fill(engine, [wide])
    row = replace(wide.row(1, 9), head=HeadKind.EMBEDDING)
    bare = run_on(engine, NAMES[kind], [replace(row, slot=0)])[0].values
    assert np.abs(run_on(engine, NAMES[kind], [row])[0].values - bare).max() > 0.01
    [backbone] = engine._backbones.graphs
    assert (backbone.stacks_read is engine._backbones.reference.stacks) == (kind == "openvino")
    for parts in backbone.stacks_read.layers.values():
        parts.b[1].zero_()
    np.testing.assert_array_equal(run_on(engine, NAMES[kind], [row])[0].values, bare)


def test_slots_change_and_ranks_grow_without_another_graph(kind, bert, trained, wide, engine_of, fill, watch):
    large = trained(bert, HeadKind.SEQUENCE, labels=3, seed=34, rank=24)
    engine = engine_of(bert, kind)
    fill(engine, [wide])
    ran = watch(engine)
    for adapter in (large, wide):
        engine.write(1, adapter.weights)
        assert engine.settle(0)
        row = adapter.row(1, 9)
        assert_near(kind, engine.run([row])[0].values, adapter.alone(row.row))
    assert ran == [NAMES[kind]] * 2


def test_bf16_is_close_to_float32(bert, trained, engine_of, fill, monkeypatch):
    monkeypatch.setattr("hub.engine.openvino.backbone.computes_in_bf16", lambda: True)
    adapters = [
        trained(bert, HeadKind.SEQUENCE, labels=8, seed=80 + n, spread=0.1, **asked)
        for n, asked in enumerate(({"rank": 4}, {"rank": 4, "use_dora": True}, {"method": "ia3"}))
    ]
    engine = engine_of(bert, "openvino-bf16", slots=3)
    assert engine.info().name == "openvino"
    fill(engine, adapters)
    rows = [a.row(slot, n, seed=n) for n in (3, 17, 40) for slot, a in enumerate(adapters, 1)]
    got = np.stack([output.values for output in engine.run(rows)])
    expected = np.stack([adapters[row.slot - 1].alone(row.row) for row in rows])
    assert_near("openvino-bf16", got, expected)
    assert np.abs(got - expected).max() > 1e-6, "this was computed in float32"


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert"])
def test_own_stacks_are_read_in_their_own_layout_without_loss(
    family, base_of, trained, engine_of, fill, monkeypatch
):
    """In float32, for the sake of the test: rows packed or not, ranks that differ and grow."""
    made = OpenVinoBackbone.__init__

    def with_own(self, exporter, reference, threads, dtype, **more):
        made(self, exporter, reference, threads, torch.bfloat16, **more)
        self._dtype, self._own._dtype = dtype, dtype

    monkeypatch.setattr(OpenVinoBackbone, "__init__", with_own)
    base = base_of(family)
    adapters = [
        trained(base, HeadKind.SEQUENCE, labels=3, seed=n, **asked)
        for n, asked in enumerate(({"rank": 4}, {"rank": 9}, {"rank": 3, "use_dora": True}), 80)
    ]
    engine = engine_of(base, "openvino", slots=3)
    fill(engine, adapters)
    [backbone] = engine._backbones.graphs
    stacks = [parts.a for parts in backbone.stacks_read.layers.values()]
    assert {tuple(stack.shape[:2]) for stack in stacks} == {(4, 9)}
    rows = [a.row(slot, n, seed=n) for n in (3, 17, 40) for slot, a in enumerate(adapters, 1)]
    for row, output in zip(rows, run_on(engine, backbone.name, rows), strict=True):
        np.testing.assert_allclose(output.values, adapters[row.slot - 1].alone(row.row), atol=1e-4)


def test_nothing_turns_what_sequences_gather_from_own_stacks(bert, wide, engine_of, fill, monkeypatch):
    monkeypatch.setattr("hub.engine.openvino.backbone.computes_in_bf16", lambda: True)
    read = graph._read_stacks_in
    turned = []

    def seen(model, stacks, dtype, **more):
        read(model, stacks, dtype, **more)
        for parameter in model.get_parameters():
            if parameter.get_friendly_name().startswith("a."):
                [gather] = (reader.get_node() for reader in parameter.output(0).get_target_inputs())
                [convert] = (reader.get_node() for reader in gather.output(0).get_target_inputs())
                turned.extend(r.get_node().get_type_name() for r in convert.output(0).get_target_inputs())

    monkeypatch.setattr(graph, "_read_stacks_in", seen)
    fill(engine_of(bert, "openvino-bf16"), [wide])
    assert set(turned) == {"Reshape"}


def test_replaced_stacks_are_freed(kind, bert, trained, wide, engine_of, fill):
    engine = engine_of(bert, kind)
    fill(engine, [wide, trained(bert, HeadKind.SEQUENCE, labels=3, seed=34, rank=32)])
    [backbone] = engine._backbones.graphs
    larger = [weakref.ref(parts.a) for parts in backbone.stacks_read.layers.values()]
    batch = BatchTensors(*(torch.ones(shape, dtype=torch.int64) for shape in ((1, 4), (1, 4), (1, 4), (1,))))
    backbone.run(batch)
    engine.clear(2)
    assert [stack() for stack in larger] == [None] * len(larger)


def test_the_weights_of_the_graph_are_those_of_torch(bert, wide, engine_of, fill):
    """All matrices of the base: its embeddings are looked up where torch keeps them."""
    engine = engine_of(bert, "openvino")
    fill(engine, [wide])
    model = engine._backbones.reference.model
    matrices = {p.data_ptr() for p in model.parameters() if p.dim() == 2}
    shared = engine._backbones.graphs[0]._live.graph._weights
    assert {tensor.data_ptr() for tensor in shared} == matrices
    row = replace(wide.row(1, 9), head=HeadKind.EMBEDDING)
    before = engine.run([row])[0].values
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[list(row.row.input_ids)] *= -1.0
    assert np.abs(engine.run([row])[0].values - before).max() > 0.01


@given(st.integers(1, 512), st.integers(1, 512))
def test_batches_are_padded_a_little_to_few_lengths(tokens, longest):
    padded = graph.padded_length(tokens, longest)
    assert tokens <= padded <= max(tokens, longest)
    assert padded - tokens < max(8, tokens / 4)
    assert len({graph.padded_length(each, 512) for each in range(1, 513)}) == 20


def test_auto_has_it_in_the_faster_dtype(bert, wide, tmp_path, engine_of, fill, monkeypatch):
    for fast, name in ((True, BF16), (False, FP32)):
        monkeypatch.setattr("hub.engine.openvino.backbone.computes_in_bf16", lambda fast=fast: fast)
        engine = engine_of(bert, "auto", cache=tmp_path / name, tuning=Tuning(budget_s=0.1))
        fill(engine, [wide])
        assert name in engine.timings.seconds
        assert not engine.timings.refused


def test_bf16_is_refused_where_the_processor_does_not_compute_in_it(bert, monkeypatch):
    monkeypatch.setattr("hub.engine.openvino.backbone.computes_in_bf16", lambda: False)
    with pytest.raises(BadConfig, match="no bf16 instructions"):
        build_engine(bert, kind="openvino-bf16", slots=1)


def test_without_the_package_the_error_says_how_to_get_it(bert, engine_of, monkeypatch):
    monkeypatch.setattr("hub.engine.assemble.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'grafthub\[openvino\]'") as caught:
        build_engine(bert, kind="openvino", slots=1)
    assert caught.value.code == "missing_extra"
    assert not [b for b in engine_of(bert, "auto")._backbones.all if "openvino" in b.name]
