"""On a GPU slots are written on a stream of their own, beside forwards that are under way."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hub.api import HeadKind
from hub.engine.torch.stacks import Stacks
from tests.support.device import delay

pytestmark = pytest.mark.gpu

TOLERANCE = 1e-4


@pytest.fixture
def adapters(bert, trained):
    return [
        trained(bert, HeadKind.SEQUENCE, labels=3, rank=4, seed=71),
        trained(bert, HeadKind.SPAN, rank=2, seed=72, use_dora=True),
        trained(bert, HeadKind.TOKEN, labels=5, rank=8, seed=73),
    ]


@pytest.fixture
def larger(bert, trained):
    """Adapters that need larger stacks, and more of them, than the others."""
    return [
        trained(bert, HeadKind.TOKEN, labels=9, rank=32, seed=74),
        trained(bert, HeadKind.SEQUENCE, labels=12, rank=16, seed=75, bias="all"),
    ]


def rows_of(adapters):
    return [adapter.row(slot, 5 + slot, seed=slot) for slot, adapter in enumerate(adapters, 1)]


def same(engine, rows, before) -> None:
    for output, expected in zip(engine.run(rows), before, strict=True):
        np.testing.assert_allclose(output.values, expected, atol=TOLERANCE)


def test_forwards_answer_alike_while_stacks_are_written_grown_and_shrunk(
    on_gpu, adapters, larger, fill, device
) -> None:
    engine = on_gpu(adapters[0].base)
    fill(engine, adapters)
    rows = rows_of(adapters)
    before = [output.values for output in engine.run(rows)]
    stop, failures, written = threading.Event(), [], threading.Event()

    def write() -> None:
        try:
            while not stop.is_set():
                for slot, adapter in ((7, adapters[0]), (8, larger[0]), (6, larger[1])):
                    engine.write(slot, adapter.weights)
                for slot in (6, 7, 8):  # a cleared slot lets a stack shrink at once
                    engine.clear(slot)
                written.set()
        except Exception as error:
            failures.append(error)
            written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            delay(device, 2_000_000)  # kernels of the forward wait, while the writer goes on
            same(engine, rows, before)
        assert written.wait(60)
    finally:
        stop.set()
        writer.join()
    assert not failures


def test_a_new_stack_is_complete_when_forwards_get_it(on_gpu, adapters, larger, fill, device, monkeypatch):
    """The copies into it are late, and a forward on another stream would not wait for them."""
    engine = on_gpu(adapters[0].base)
    fill(engine, adapters)
    rows = rows_of(adapters)
    before = [output.values for output in engine.run(rows)]
    fill_slot, published = Stacks._fill, threading.Event()

    def late(self, slot, values, flat):
        delay(device)
        fill_slot(self, slot, values, flat)

    publish = engine._backbones.reference.stacks._publish

    def seen(layer, parts):
        publish(layer, parts)
        published.set()

    monkeypatch.setattr(Stacks, "_fill", late)
    monkeypatch.setattr(engine._backbones.reference.stacks, "_publish", seen)
    writer = threading.Thread(target=engine.write, args=(8, larger[0].weights))
    writer.start()
    try:
        assert published.wait(60)
        same(engine, rows, before)
    finally:
        writer.join()
    same(engine, rows, before)


def test_memory_of_a_replaced_stack_is_not_reused_under_a_forward(on_gpu, adapters, larger, fill, device):
    engine = on_gpu(adapters[0].base)
    fill(engine, adapters)
    rows = rows_of(adapters)
    before = [output.values for output in engine.run(rows)]
    outcomes: list[list[np.ndarray]] = []

    def forward() -> None:
        delay(device)  # its kernels are queued behind this one
        outcomes.append([output.values for output in engine.run(rows)])

    for _ in range(4):
        running = threading.Thread(target=forward)
        running.start()
        for adapter in (larger[0], larger[1]) * 3:
            engine.write(8, adapter.weights)
            engine.clear(8)
        running.join()
    assert len(outcomes) == 4
    for found in outcomes:
        for values, expected in zip(found, before, strict=True):
            np.testing.assert_allclose(values, expected, atol=TOLERANCE)
