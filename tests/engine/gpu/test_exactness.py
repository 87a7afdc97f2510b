"""On a GPU every family, head and method answers as PEFT alone does on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hub.api import HeadKind, Pooling
from hub.engine.onnx.graph import runs_graphs
from hub.engine.torch.loading import computes_in_bf16
from tests.engine.peft.test_merge import Merged
from tests.engine.test_families import FAMILIES, assert_exact, cosine, mixed_rows, pool, scored, served
from tests.support import tiny

pytestmark = pytest.mark.gpu

TOLERANCE = 1e-3  # TF32 is off, and sums run in another order than on a CPU


def assert_all_heads_and_methods(engine, named) -> None:
    adapters = list(named.values())
    assert_exact(engine, adapters, mixed_rows(adapters), list(named), TOLERANCE)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "marian"])
def test_all_heads_and_methods_in_one_forward(family, base_of, trained, on_gpu, fill, device) -> None:
    named = pool(base_of(family), trained)
    engine = on_gpu(base_of(family), slots=len(named))
    assert engine.info().device == str(device)
    fill(engine, list(named.values()))
    assert_all_heads_and_methods(engine, named)


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert"])
def test_graphs_of_onnxruntime_read_the_stacks_on_the_device(
    family, base_of, trained, on_gpu, fill, device, watch
) -> None:
    if not runs_graphs(device):
        pytest.skip("the onnxruntime here has no provider for the device")
    named = pool(base_of(family), trained)
    engine = on_gpu(base_of(family), "onnx", slots=len(named))
    fill(engine, list(named.values()))
    ran = watch(engine)
    assert_all_heads_and_methods(engine, named)
    assert ran == ["onnx float32"]


def test_vectors_of_every_pooling_beside_labels(bert, trained, on_gpu, fill) -> None:
    adapters = [trained(bert, HeadKind.EMBEDDING, rank=4, seed=4), trained(bert, HeadKind.SEQUENCE, labels=3)]
    engine = on_gpu(bert)
    fill(engine, adapters)
    vectors = [
        replace(row, row=replace(row.row, pooling=pooling))
        for length, pooling in ((5, Pooling.LAST), (7, None), (11, Pooling.CLS), (8, Pooling.MEAN))
        for row in (adapters[0].row(1, length, seed=length),)
    ]
    assert_exact(engine, adapters, [*vectors, adapters[1].row(2, 9)], tolerance=TOLERANCE)


@pytest.mark.parametrize("family", ["bert", "modernbert", "llama", "bart"])
def test_bf16_is_close(family, base_of, trained, on_gpu, fill, device, monkeypatch) -> None:
    if device.type == "cpu":
        monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: True)
    elif not computes_in_bf16(device):
        pytest.skip("this GPU has no bf16")
    base = base_of(family)
    adapters = [
        trained(base, kind, labels=8 if kind is HeadKind.SEQUENCE else 0, seed=80, rank=4, use_dora=dora)
        for kind in scored(base)
        if kind in (HeadKind.SEQUENCE, HeadKind.SPAN)
        for dora in (False, True)
    ]
    engine = on_gpu(base, "torch-bf16", slots=len(adapters))
    assert engine.info().dtype == "bfloat16"
    fill(engine, adapters)
    for slot, adapter in enumerate(adapters, 1):
        rows = [adapter.row(slot, length, seed=length) for length in range(3, 30, 3)]
        got = np.concatenate([output.values.ravel() for output in engine.run(rows)])
        expected = np.concatenate([adapter.alone(row.row).ravel() for row in rows])
        assert cosine(got, expected) >= 0.999


def test_auto_measures_what_there_is_and_answers_nearly_the_same(bert, trained, on_gpu, fill) -> None:
    adapters = [trained(bert, HeadKind.SEQUENCE, labels=3, seed=1), trained(bert, HeadKind.SPAN, seed=2)]
    engine = on_gpu(bert, "auto")
    fill(engine, adapters)
    assert "torch float32" in engine.timings.seconds
    rows = [adapter.row(slot, 5 + slot) for slot, adapter in enumerate(adapters, 1)]
    for adapter, row, output in zip(adapters, rows, engine.run(rows), strict=True):
        assert cosine(output.values, adapter.alone(row.row)) >= 0.999


def test_a_merged_adapter_runs_on_its_own_weights(bert, trained, on_gpu, tmp_path) -> None:
    labels = ("a", "b", "c")
    folder = tiny.tiny_adapter(bert, tmp_path / "merged", kind=HeadKind.SEQUENCE, labels=labels, seed=5)
    merged, slotted = Merged(bert, folder), trained(bert, HeadKind.SEQUENCE, labels=3, seed=6)
    engine = on_gpu(bert)
    for slot, adapter in enumerate((merged, slotted), 1):
        engine.write(slot, adapter.weights)
    rows = [adapter.row(slot, 9) for slot, adapter in enumerate((merged, slotted), 1)]
    assert_exact(engine, [merged, slotted], rows, tolerance=TOLERANCE)
    engine.clear(1)
    assert_exact(engine, [merged, slotted], rows[1:], tolerance=TOLERANCE)


@pytest.mark.parametrize("family", [*tiny.DECODERS, *tiny.ENCODER_DECODERS])
def test_generation_with_all_methods_in_one_call(family, base_of, trained, on_gpu, fill) -> None:
    base = base_of(family)
    named = served(base, HeadKind.GENERATE, trained)
    engine = on_gpu(base, slots=len(named))
    fill(engine, list(named.values()))
    rows = [
        adapter.row(slot, length=2 + 5 * slot % 23, seed=slot, max_new_tokens=4 + slot)
        for slot, adapter in enumerate(named.values(), 1)
    ]
    got = {name: output.text for name, output in zip(named, engine.run(rows), strict=True)}
    assert got == {n: a.alone_text(row.row) for (n, a), row in zip(named.items(), rows, strict=True)}
