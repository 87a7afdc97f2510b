# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""The fast path on a CPU: the backbone in onnxruntime, reading the torch engine's stacks where they lie.

A graph is exported once per base and set of slotted layers. When an adapter touches a layer that no
graph has slotted yet, another is made in the background, and rows with that adapter run on torch
meanwhile; this is why the torch copy of the base stays. Heads always run on torch.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from hub.bases.base import Base
from hub.engine.heads import BackboneOutput
from hub.engine.onnx_graph import Exporter, OnnxGraph
from hub.engine.protocol import BARE_SLOT, AdapterWeights, EngineInfo
from hub.engine.torch_engine import BatchTensors, TorchEngine

__all__ = ["OnnxEngine"]

log = logging.getLogger(__name__)


class _Live(NamedTuple):
    """What runs on onnx; replaced by one assignment."""

    graph: OnnxGraph | None
    slots: frozenset[int]  # whose adapters touch no layer that the graph lacks

    @property
    def layers(self) -> frozenset[str]:
        return self.graph.layers if self.graph else frozenset()


class OnnxEngine(TorchEngine):
    """Runs an encoder's rows on exported graphs; see `Engine` for what each method promises."""

    def __init__(self, base: Base, *, slots: int, threads: int = 0, cache: Path | None = None) -> None:
        super().__init__(base, slots=slots, threads=threads, dtype=torch.float32)
        self._threads = threads
        self._own_cache = tempfile.TemporaryDirectory(prefix="hub-graphs-") if cache is None else None
        self._exporter = Exporter(base, cache or Path(str(self._own_cache and self._own_cache.name)))
        self._live = _Live(None, frozenset())
        self._touched: dict[int, frozenset[str]] = {BARE_SLOT: frozenset()}  # layers, by slot
        self._failure = ""
        self._closed = False
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None

    def write(self, slot: int, weights: AdapterWeights) -> None:
        super().write(slot, weights)
        with self._changed:
            self._touched[slot] = frozenset(weights.lora)
            self._publish(self._live.graph)
            self._prepare()

    def clear(self, slot: int) -> None:
        super().clear(slot)
        with self._changed:
            self._touched.pop(slot, None)
            self._publish(self._live.graph)

    def settle(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._worker is None, timeout)

    def info(self) -> EngineInfo:
        info = super().info()
        graph, note = self._live.graph, self._failure
        if not note and self._worker:
            note = "An ONNX graph is being made; rows whose layers it brings run on torch until then."
        copies = info.base_bytes + (graph.nbytes if graph else 0)
        return replace(info, name="onnx", base_bytes=copies, note=note)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            worker = self._worker
        self._exporter.stop()
        if worker:
            worker.join()
        self._live = _Live(None, frozenset())
        if self._own_cache:
            self._own_cache.cleanup()
        super().close()

    def _hidden(self, tensors: BatchTensors) -> BackboneOutput:
        graph, slots = self._live
        if graph is None or not slots.issuperset(tensors.slots.tolist()):
            return super()._hidden(tensors)
        return graph.run(tensors, self._lora.stacks)

    def _publish(self, graph: OnnxGraph | None) -> None:
        layers = graph.layers if graph else frozenset()
        slots = (slot for slot, touched in self._touched.items() if touched <= layers)
        self._live = _Live(graph, frozenset(slots))

    def _prepare(self) -> None:
        """Start making the graph that is missing, unless one is being made or cannot be."""
        if self._worker or self._closed or self._failure or self._wanted() <= self._live.layers:
            return
        self._worker = threading.Thread(target=self._work, name=f"export-{self._base.name}", daemon=True)
        self._worker.start()

    def _wanted(self) -> frozenset[str]:
        return frozenset(self._lora.stacks)

    def _work(self) -> None:
        while True:
            layers = self._wanted()
            try:
                graph = OnnxGraph(self._exporter.file(layers), layers, self._threads)
            except Exception as error:  # onnxruntime's errors share no class; rows go on running on torch
                graph, self._failure = None, f"Some or all rows run on torch: {error}"
                if not self._closed:
                    log.warning("%s", self._failure)
            with self._changed:
                if graph:
                    self._publish(graph)
                if self._closed or self._failure or self._wanted() <= self._live.layers:
                    self._worker = None
                    self._changed.notify_all()
                    return
