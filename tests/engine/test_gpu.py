# ruff: noqa: TID253 - needs CUDA
"""The same engine on CUDA: as exact in float32, close in bf16, slots written beside running forwards."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from hub.api import HeadKind
from hub.engine.build import build_engine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here"),
]


@pytest.fixture
def adapters(bert, trained):
    return [
        trained(bert, HeadKind.SEQUENCE, labels=3, rank=4, seed=71),
        trained(bert, HeadKind.SPAN, rank=2, seed=72, use_dora=True),
        trained(bert, HeadKind.TOKEN, labels=5, rank=8, seed=73),
    ]


@pytest.fixture
def cuda_engine(bert, graphs):
    engines = []

    def make(kind):
        engines.append(build_engine(bert, kind=kind, slots=8, device="cuda", cache=graphs))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def rows_of(adapters):
    return [adapter.row(slot, 5 + slot, seed=slot) for slot, adapter in enumerate(adapters, 1)]


@pytest.mark.parametrize("kind", ["torch", "onnx", "auto"])
def test_mixed_rows_are_those_of_peft_on_the_cpu(kind, cuda_engine, adapters, fill):
    engine = cuda_engine(kind)
    fill(engine, adapters)
    rows = rows_of(adapters)
    for row, adapter, output in zip(rows, adapters, engine.run(rows), strict=True):
        expected = adapter.alone(row.row)
        if kind == "auto":  # perhaps in bf16
            cosine = (
                np.vdot(output.values, expected) / np.linalg.norm(output.values) / np.linalg.norm(expected)
            )
            assert cosine >= 0.999
        else:
            assert np.abs(output.values - expected).max() <= 1e-3  # TF32 is off, sums run in another order


def test_slots_are_written_while_forwards_run(cuda_engine, adapters, fill):
    engine = cuda_engine("torch")
    fill(engine, adapters)
    rows = rows_of(adapters)
    before = [output.values for output in engine.run(rows)]
    stop = threading.Event()

    def write():
        while not stop.is_set():
            engine.write(8, adapters[0].weights)
            engine.clear(8)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            for output, expected in zip(engine.run(rows), before, strict=True):
                np.testing.assert_allclose(output.values, expected, atol=1e-4)
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_generated_rows_are_those_of_peft_on_the_cpu(family, base_of, trained, fill):
    base = base_of(family)
    adapters = [trained(base, HeadKind.GENERATE, rank=rank, seed=60 + rank, spread=0.3) for rank in (1, 4)]
    engine = build_engine(base, kind="torch", slots=4, device="cuda")
    try:
        fill(engine, adapters)
        rows = [
            adapters[number % 2].row(1 + number % 2, 3 + 7 * number, number, max_new_tokens=12)
            for number in range(12)
        ]
        expected = [adapters[row.slot - 1].alone_text(row.row) for row in rows]
        assert [output.text for output in engine.run(rows)] == expected
    finally:
        engine.close()
