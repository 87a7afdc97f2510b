# ruff: noqa: TID253 - a batch is tensors
"""Which backbone runs a batch while graphs are made, measured, missing or broken; nothing is exported."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hub.engine.choice.backbones import Backbones
from hub.engine.onnx import backbone as onnx_backbone
from hub.engine.onnx.backbone import OnnxBackbone
from hub.engine.torch.tensors import BatchTensors
from hub.errors import EngineFailed

TORCH, ONNX, INT8 = "torch float32", "onnx float32", "onnx int8"
TIMEOUT = 10
NARROW = {"query": {"a": 1, "b": 1}}  # OnnxBackbone reads the names alone
WIDE = NARROW | {"value": {"a": 1, "b": 1}}
SCALED = {"query": {"output_scale": 1}}


class Torch:
    """A torch backbone; `run` tells its name."""

    covered = parallel = True
    device = torch.device("cpu")
    nbytes = 100
    packs = True

    def __init__(self, name: str = TORCH) -> None:
        self.name = name
        self.stacks = SimpleNamespace(layers={}, slot_bytes=7)
        self.model = torch.nn.Identity()
        self.written: list[int] = []

    def covers(self, slots: frozenset[int]) -> bool:
        return self.covered

    def write(self, slot: int, values: object) -> None:
        self.written.append(slot)

    def run(self, batch: BatchTensors, *, decode: bool = False) -> str:
        return self.name


class Exporter:
    """Gives files away when it is let to; `orders` are the stacks that were asked for."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, ...]] = []
        self.ready = threading.Event()
        self.began = threading.Event()
        self.stopped = False
        self.error: Exception | None = None

    def file(self, names: list[str], *, int8: bool) -> Path:
        self.orders.append(tuple(names))
        self.began.set()
        assert self.ready.wait(TIMEOUT)
        if self.stopped:
            raise EngineFailed("The engine is closed.")
        if self.error:
            raise self.error
        return Path(f"{int8}")

    def stop(self) -> None:
        self.stopped = True
        self.ready.set()


class Graph:
    """A session that answers with its own name."""

    nbytes = 1000
    packs = True

    def __init__(
        self, file: Path, stacks: list[str], device: torch.device, threads: int, weights: object
    ) -> None:
        self.name = INT8 if str(file) == "True" else ONNX
        self.stacks = frozenset(stacks)

    def run(self, batch: BatchTensors, layers: object) -> str:
        return self.name

    def forget(self, layers: object) -> None:
        """It keeps no binding of a stack."""


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


Make = Callable[..., Backbones]


@pytest.fixture
def make(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Build backbones on stubs, with the real bookkeeping between them."""
    monkeypatch.setattr(onnx_backbone, "OnnxGraph", Graph)
    made: list[Backbones] = []

    def build(
        *, int8: bool = False, onnx: bool = True, other: Torch | None = None, tune: object = None
    ) -> Backbones:
        reference = Torch()
        kinds = ([True, False] if int8 else [False]) if onnx else []
        graphs = [OnnxBackbone(exporter, reference, 1, int8=kind) for kind in kinds]
        made.append(Backbones(reference, other=other, graphs=graphs, exporter=exporter, tune=tune))
        return made[-1]

    yield build
    for backbones in made:
        backbones.close()


def ran(backbones: Backbones, *slots: int) -> str:
    """Name what runs a batch of one row in each slot."""
    ids = torch.ones(len(slots), 4, dtype=torch.int64)
    result = backbones.run(BatchTensors(ids, ids, ids, torch.tensor(slots)), frozenset(slots))
    return result if isinstance(result, str) else result.states


def test_torch_runs_until_the_graph_is_there(make: Make, exporter: Exporter) -> None:
    backbones = make()
    backbones.write(1, NARROW)
    assert exporter.began.wait(TIMEOUT)
    assert backbones.settle(0) is False
    assert "graph is being exported" in backbones.note
    assert ran(backbones, 0, 1) == TORCH
    exporter.ready.set()
    assert backbones.settle(TIMEOUT) is True
    assert backbones.note == ""
    assert ran(backbones, 0, 1) == ran(backbones, 0) == ONNX
    assert exporter.orders == [("a.query", "b.query")]


def test_nothing_is_made_before_an_adapter_needs_it(make: Make, exporter: Exporter) -> None:
    backbones = make()
    assert backbones.settle(0) is True
    assert (exporter.orders, backbones.note) == ([], "")
    assert ran(backbones, 0) == TORCH


def test_warming_makes_a_graph_of_the_bare_base(make: Make, exporter: Exporter) -> None:
    backbones = make()
    exporter.ready.set()
    assert backbones.warm(TIMEOUT) is True
    assert exporter.orders == [()]
    assert ran(backbones, 0) == ONNX


@pytest.mark.parametrize("more", [WIDE, SCALED])
def test_a_part_that_no_graph_has_sends_batches_with_it_to_torch_until_one_has(
    make: Make, exporter: Exporter, more: dict[str, dict[str, int]]
) -> None:
    backbones = make()
    exporter.ready.set()
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    exporter.ready.clear()
    backbones.write(2, more)
    assert ran(backbones, 1) == ran(backbones, 0, 1) == ONNX
    assert ran(backbones, 2) == ran(backbones, 1, 2) == TORCH
    exporter.ready.set()
    assert backbones.settle(TIMEOUT)
    assert ran(backbones, 1) == ran(backbones, 2) == ran(backbones, 0, 1, 2) == ONNX
    wanted = {
        f"{part}.{layer}" for values in (NARROW, more) for layer, parts in values.items() for part in parts
    }
    assert exporter.orders == [("a.query", "b.query"), tuple(sorted(wanted))]


def test_a_part_that_comes_while_a_graph_is_made_gets_the_next_one(make: Make, exporter: Exporter) -> None:
    backbones = make()
    backbones.write(1, NARROW)
    assert exporter.began.wait(TIMEOUT)
    backbones.write(2, WIDE)
    exporter.ready.set()
    assert backbones.settle(TIMEOUT)
    assert len(exporter.orders) == 2
    assert ran(backbones, 1, 2) == ONNX


def test_an_adapter_whose_parts_are_there_needs_no_new_graph(make: Make, exporter: Exporter) -> None:
    backbones = make()
    exporter.ready.set()
    backbones.write(1, WIDE)
    assert backbones.settle(TIMEOUT)
    backbones.write(2, NARROW)
    assert backbones.settle(0)
    assert ran(backbones, 1, 2) == ONNX
    assert len(exporter.orders) == 1


def test_a_cleared_slot_runs_on_the_graph_and_a_slot_is_what_was_written_last(
    make: Make, exporter: Exporter
) -> None:
    backbones = make()
    exporter.ready.set()
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    exporter.ready.clear()
    backbones.write(2, WIDE)
    assert exporter.began.wait(TIMEOUT)
    assert ran(backbones, 2) == TORCH
    backbones.write(2, {})
    assert ran(backbones, 1, 2) == ONNX
    assert backbones.filled == {1}
    backbones.write(2, WIDE)
    assert ran(backbones, 2) == TORCH
    assert backbones.filled == {1, 2}
    backbones.write(2, NARROW)
    assert ran(backbones, 2) == ONNX


@pytest.mark.parametrize("error", [EngineFailed("Exporting failed: no room"), RuntimeError("no room")])
def test_a_failed_export_leaves_torch_says_why_and_is_not_tried_again_at_once(
    make: Make, exporter: Exporter, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    backbones = make()
    exporter.error = error
    exporter.ready.set()
    with caplog.at_level(logging.WARNING):
        backbones.write(1, NARROW)
        assert backbones.settle(TIMEOUT) is True
    assert "rows run on torch" in backbones.note
    assert "no room" in backbones.note
    assert [record.getMessage() for record in caplog.records] == [backbones.note]
    assert ran(backbones, 0, 1) == TORCH
    backbones.write(2, WIDE)
    assert backbones.settle(TIMEOUT)
    assert len(exporter.orders) == 1


def test_a_write_tries_again_after_some_minutes_and_later_each_time(
    make: Make, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("hub.engine.choice.backbones.time", SimpleNamespace(monotonic=lambda: now))
    backbones = make()
    exporter.error = EngineFailed("no room")
    exporter.ready.set()
    tried = []
    for minutes in (0, 4, 6, 14, 16):
        now = 1000.0 + 60 * minutes
        backbones.write(1, NARROW)
        assert backbones.settle(TIMEOUT)
        tried.append(len(exporter.orders))
    assert tried == [1, 1, 2, 2, 3]
    exporter.error = None
    now += 60 * 60
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    assert (backbones.note, ran(backbones, 1)) == ("", ONNX)


def test_a_later_failure_leaves_the_graph_there_was(make: Make, exporter: Exporter) -> None:
    backbones = make()
    exporter.ready.set()
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    exporter.error = EngineFailed("no room")
    backbones.write(2, WIDE)
    assert backbones.settle(TIMEOUT)
    assert "Some or all rows run on torch: no room" in backbones.note
    assert ran(backbones, 0, 1) == ONNX
    assert ran(backbones, 1, 2) == TORCH


def test_closing_ends_an_export_without_complaint(
    make: Make, exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    backbones = make()
    backbones.write(1, NARROW)
    assert exporter.began.wait(TIMEOUT)
    backbones.close()
    assert exporter.stopped
    assert backbones.settle(0) is True
    assert caplog.records == []
    backbones.write(2, WIDE)
    assert len(exporter.orders) == 1
    assert ran(backbones, 1) == TORCH


def test_only_adapters_that_may_run_on_int8(make: Make, exporter: Exporter) -> None:
    backbones = make(int8=True)
    exporter.ready.set()
    backbones.write(1, NARROW, int8=True)
    backbones.write(2, NARROW)
    assert backbones.settle(TIMEOUT)
    assert ran(backbones, 1) == ran(backbones, 0, 1) == INT8
    assert ran(backbones, 2) == ran(backbones, 1, 2) == ONNX
    backbones.write(1, NARROW)
    assert ran(backbones, 1) == ONNX


def test_no_int8_graph_is_made_before_an_adapter_may_run_on_it(make: Make, exporter: Exporter) -> None:
    backbones = make(int8=True)
    exporter.ready.set()
    backbones.write(1, NARROW)
    assert backbones.warm(TIMEOUT)
    assert len(exporter.orders) == 1
    backbones.write(2, NARROW, int8=True)
    assert backbones.settle(TIMEOUT)
    assert len(exporter.orders) == 2
    assert ran(backbones, 2) == INT8


def test_torch_of_another_dtype_has_every_adapter_too(make: Make) -> None:
    other = Torch("torch bfloat16")
    backbones = make(other=other)
    for slot in (1, 2, 1):
        backbones.write(slot, {})
    assert other.written == backbones.reference.written == [1, 2, 1]
    assert backbones.slot_bytes == 14
    assert backbones.nbytes == 200
    backbones.drop("torch bfloat16")
    backbones.drop(TORCH)
    backbones.write(3, {})
    assert other.written == [1, 2, 1]
    assert backbones.reference.written == [1, 2, 1, 3]
    assert [backbone.name for backbone in backbones.all] == [ONNX, TORCH]


def test_rows_aside_wait_only_for_a_backbone_that_runs_one_batch_at_a_time(
    make: Make, exporter: Exporter
) -> None:
    exporter.ready.set()
    backbones = make()
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    ids = torch.ones(1, 4, dtype=torch.int64)
    batch = BatchTensors(ids, ids, ids, torch.tensor([1]))
    with backbones.busy:
        assert backbones.run(batch, frozenset({1}), aside=True).states == ONNX
        backbones.graphs[0].parallel = False
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(backbones.run, batch, frozenset({1}), aside=True)
            with pytest.raises(TimeoutError):
                waiting.result(0.05)
            backbones.busy.release()
            assert waiting.result(TIMEOUT).states == ONNX
            backbones.busy.acquire()


def test_a_spare_graph_that_cannot_be_made_leaves_the_others(exporter: Exporter) -> None:
    reference = Torch()
    exporter.ready.set()
    exporter.error = EngineFailed("no such operator")
    spare = OnnxBackbone(exporter, reference, 1)
    backbones = Backbones(reference, graphs=[spare], spare={ONNX}, exporter=exporter)
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    assert backbones.note == ""
    assert backbones.all == [reference]
    assert ran(backbones, 1) == TORCH


class Tune:
    """Prefers `other` for batches of more than two rows."""

    timings = None

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self, backbones: Backbones) -> Callable[[int, int], list[object]]:
        self.calls += 1
        if self.error:
            raise self.error
        by_name = {backbone.name: backbone for backbone in backbones.all}
        many, few = [by_name["torch bfloat16"], by_name[ONNX]], [by_name[ONNX], by_name["torch bfloat16"]]
        return lambda rows, tokens: many if rows > 2 else few


def test_what_was_measured_decides_by_shape_and_coverage(make: Make, exporter: Exporter) -> None:
    other, tune = Torch("torch bfloat16"), Tune()
    backbones = make(other=other, tune=tune)
    exporter.ready.set()
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    assert tune.calls == 1
    assert ran(backbones, 1) == ONNX
    assert ran(backbones, 1, 1, 1) == "torch bfloat16"
    assert backbones.choices() == f"{ONNX}; full batches torch bfloat16"
    other.covered = False
    assert ran(backbones, 1, 1, 1) == ONNX
    assert backbones.choices() == ONNX


def test_new_graphs_are_measured_again(make: Make, exporter: Exporter) -> None:
    tune = Tune()
    backbones = make(other=Torch("torch bfloat16"), tune=tune)
    exporter.ready.set()
    for slot, values in ((1, NARROW), (2, NARROW), (3, WIDE)):
        backbones.write(slot, values)
        assert backbones.settle(TIMEOUT)
    assert tune.calls == 2


def test_a_failed_measurement_leaves_the_order_there_was_and_says_why(
    make: Make, exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    tune = Tune()
    tune.error = OSError("no room to save")
    backbones = make(other=Torch("torch bfloat16"), tune=tune)
    exporter.ready.set()
    backbones.write(1, NARROW)
    assert backbones.settle(TIMEOUT)
    assert "no room to save" in backbones.note
    assert [record.getMessage() for record in caplog.records] == [backbones.note]
    assert ran(backbones, 1) == ONNX
    backbones.write(2, WIDE)
    assert backbones.settle(TIMEOUT)
    assert ran(backbones, 1, 2) == ONNX
    assert tune.calls == 1


def test_without_graphs_torch_is_measured_once_it_is_used(make: Make) -> None:
    """As on a GPU with the onnxruntime of a CPU."""

    class Measured(Tune):
        def __call__(self, backbones: Backbones) -> Callable[[int, int], list[object]]:
            self.calls, self.timings = self.calls + 1, object()
            return lambda rows, tokens: [backbones.other]

    tune = Measured()
    backbones = make(onnx=False, other=Torch("torch bfloat16"), tune=tune)
    assert tune.calls == 0
    for slot in (1, 2):
        backbones.write(slot, NARROW)
        assert backbones.settle(TIMEOUT)
    assert tune.calls == 1
    assert ran(backbones, 1, 2) == "torch bfloat16"


def test_choices_before_there_is_anything_to_choose(make: Make) -> None:
    assert make().choices() == TORCH
