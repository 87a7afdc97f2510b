# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""Encoders as exported graphs, and onnxruntime's, which reads the torch backbone's stacks without a copy.

A graph is exported once per base and set of stacks. Until a graph has all stacks of an adapter,
`covers` is false and its rows run on another backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from hub.engine.onnx.graph import Exporter, OnnxGraph
from hub.engine.protocol import BARE_SLOT
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.heads import Hidden
from hub.engine.torch.stacks import Parts, Stacks, Values
from hub.engine.torch.tensors import BatchTensors
from hub.errors import EngineFailed

__all__ = ["GraphBackbone", "OnnxBackbone"]


class Graph(Protocol):
    """A loaded graph; `nbytes` are those of the weights that it does not share.

    `packs`: it takes packed batches.
    """

    stacks: frozenset[str]
    nbytes: int
    packs: bool

    def forget(self, layers: Mapping[str, Parts]) -> None:
        """Drop references to other stacks, which keep the memory of replaced stacks alive."""

    def run(self, batch: BatchTensors, layers: Mapping[str, Parts]) -> Tensor:
        """Return the last hidden states; a new stack comes in a new `layers` mapping."""


class _Live(NamedTuple):
    """The graph in use; replaced by one assignment."""

    graph: Graph | None
    slots: frozenset[int]  # slots whose adapters need no stack that the graph lacks


class GraphBackbone(ABC):
    """Runs rows on the newest exported graph; with `int8` the base's weights are eight-bit integers.

    The caller's lock must keep `write` and `use` from overlapping.
    """

    parallel = True

    def __init__(
        self, name: str, exporter: Exporter, reference: TorchBackbone, threads: int, *, int8: bool = False
    ) -> None:
        self.name = name
        self.int8 = int8
        self._exporter = exporter
        self._reference = reference
        self._threads = threads
        self._touched: dict[int, frozenset[str]] = {BARE_SLOT: frozenset()}  # stack names, by slot
        self._live = _Live(None, frozenset())

    @property
    def nbytes(self) -> int:
        """Bytes of the weights that the graph does not share."""
        return self._live.graph.nbytes if self._live.graph else 0

    @property
    def slot_bytes(self) -> int:
        """Bytes per slot of stacks that are not the torch backbone's."""
        return 0

    @property
    def stacks_read(self) -> Stacks:
        """The stacks that the graph reads."""
        return self._reference.stacks

    @property
    def stacks(self) -> frozenset[str]:
        """The names of the stacks that the graph reads."""
        return self._live.graph.stacks if self._live.graph else frozenset()

    def covers(self, slots: Set[int]) -> bool:
        """Return whether rows of all these slots can run here now."""
        return self._live.graph is not None and slots <= self._live.slots

    def write(self, slot: int, values: Values, *, allowed: bool = True) -> None:
        """Record the contents of a slot; the torch backbone writes its stacks itself."""
        if self._live.graph:
            self._live.graph.forget(self.stacks_read.layers)
        self._touched.pop(slot, None)
        if allowed:
            self._touched[slot] = frozenset(f"{part}.{layer}" for layer in values for part in values[layer])
        self._use(self._live.graph)

    def lacks_stacks(self, *, bare: bool = False) -> bool:
        """Return whether the graph lacks a stack of an adapter; with `bare`, also whether there is none."""
        return not self._wanted() <= self.stacks or (bare and not self.int8 and self._live.graph is None)

    def make(self) -> Graph:
        """Return a graph with all current stacks; blocks for seconds if it must be exported.

        Raises:
            EngineFailed: the export failed or was stopped.
        """
        names = sorted(self._wanted() | self.stacks)
        graph = self._open(self._exporter.file(names, int8=self.int8), names)
        if self._reference.packs and not graph.packs:  # it would read several rows as one
            raise EngineFailed("The exported graph takes no packed rows, though the base does.")
        return graph

    @abstractmethod
    def _open(self, file: Path, stacks: Sequence[str]) -> Graph:
        """Load an exported graph with these stacks."""

    def _wanted(self) -> frozenset[str]:
        return frozenset[str]().union(*self._touched.values())

    def use(self, graph: Graph) -> None:
        """Use `graph` for the following batches."""
        self._use(graph)

    def run(self, batch: BatchTensors, *, decode: bool = False) -> Hidden:
        """Run rows whose slots are covered."""
        graph, layers = self._live.graph, self.stacks_read.layers
        assert graph is not None, "rows run here only if `covers` is true"
        hidden = Hidden(graph.run(batch, layers))
        if layers is not self.stacks_read.layers:  # replaced during the run
            graph.forget(self.stacks_read.layers)
        return hidden

    def close(self) -> None:
        """Drop the graph."""
        self._live = _Live(None, frozenset())

    def _use(self, graph: Graph | None) -> None:
        has = graph.stacks if graph else frozenset()
        self._live = _Live(
            graph, frozenset(slot for slot, touched in self._touched.items() if touched <= has)
        )


class OnnxBackbone(GraphBackbone):
    """Runs rows in onnxruntime."""

    def __init__(
        self, exporter: Exporter, reference: TorchBackbone, threads: int, *, int8: bool = False
    ) -> None:
        super().__init__(f"onnx {'int8' if int8 else 'float32'}", exporter, reference, threads, int8=int8)

    def _open(self, file: Path, stacks: Sequence[str]) -> OnnxGraph:
        weights = dict(self._reference.model.named_parameters())
        return OnnxGraph(file, stacks, self._reference.device, self._threads, weights)
