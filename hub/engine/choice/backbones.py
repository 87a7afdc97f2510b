# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""The backbones of one base, and the choice of the one that runs a batch.

The torch backbone in the reference dtype always exists: it runs what the others cannot run yet, and
graphs read its stacks. Graphs are exported and candidates measured in a background thread while rows
run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from typing import Protocol

from torch import nn

from hub.engine.choice.timings import Timings
from hub.engine.onnx.backbone import GraphBackbone
from hub.engine.onnx.graph import Exporter
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.heads import Hidden
from hub.engine.torch.stacks import Values
from hub.engine.torch.tensors import BatchTensors

__all__ = ["Backbone", "Backbones", "Order"]

log = logging.getLogger(__name__)

RETRY_S = 300.0  # after which a graph that could not be made is tried again; doubled by each failure


class Backbone(Protocol):
    """Computes the last hidden states of a batch."""

    @property
    def name(self) -> str: ...
    @property
    def parallel(self) -> bool:
        """Whether several runs may be in progress at once."""

    @property
    def nbytes(self) -> int: ...
    def covers(self, slots: frozenset[int]) -> bool: ...
    def run(self, batch: BatchTensors, *, decode: bool = False) -> Hidden: ...


Order = Callable[[int, int], Sequence[Backbone]]
"""Maps rows and tokens of a batch to the backbones to try, the best first."""


class Autotune(Protocol):
    """Measures backbones; `timings` is its last result."""

    timings: Timings | None

    def __call__(self, backbones: Backbones) -> Order: ...


class Backbones:
    """The backbones of one engine.

    `other` is a torch backbone of another dtype (bf16) beside the reference; `graphs` are the others, in
    order of preference until `tune` has measured them. Those named in `spare` are removed if their graph
    cannot be made.
    """

    def __init__(
        self,
        reference: TorchBackbone,
        *,
        pooler: nn.Module | None = None,
        other: TorchBackbone | None = None,
        graphs: Sequence[GraphBackbone] = (),
        spare: Set[str] = frozenset(),
        exporter: Exporter | None = None,
        tune: Autotune | None = None,
    ) -> None:
        self.reference = reference
        self.pooler = pooler
        self.other = other
        self.graphs = tuple(graphs)
        self._spare = spare
        self.name = self.graphs[0].name.split()[0] if graphs else "torch"
        self._exporter = exporter
        self._tune = tune
        self.filled: frozenset[int] = frozenset()
        """The slots that hold an adapter."""
        self._order: Order = lambda rows, tokens: self.graphs
        self.busy = threading.Lock()
        """Held while a backbone runs or is measured, because they share the cores."""
        self._failure = self._unmeasured = ""
        self._failures, self._retry_at = 0, 0.0
        self._closed = self._bare = False
        self._changed = threading.Condition()  # taken before `busy`
        self._worker: threading.Thread | None = None

    @property
    def packs(self) -> bool:
        """Whether the backbones take packed batches."""
        return self.reference.packs

    @property
    def timings(self) -> Timings | None:
        """The last measurements, if any."""
        return self._tune.timings if self._tune else None

    @property
    def all(self) -> list[Backbone]:
        """Every backbone, the reference last."""
        return [*self.graphs, *([self.other] if self.other else []), self.reference]

    @property
    def nbytes(self) -> int:
        return sum(backbone.nbytes for backbone in self.all)

    @property
    def slot_bytes(self) -> int:
        other = self.other.stacks.slot_bytes if self.other else 0
        return self.reference.stacks.slot_bytes + other + sum(graph.slot_bytes for graph in self.graphs)

    @property
    def note(self) -> str:
        """Current notices; "" if there are none."""
        if self._failure or not self._worker:
            return self._failure or self._unmeasured
        return "An ONNX graph is being exported or measured; until then, rows that need it run on torch."

    def choices(self) -> str:
        """Return the backbones for a single short row and for a full batch, as text."""
        few, many = self.chosen(1, 32).name, self.chosen(64, 32).name
        return few if few == many else f"{few}; full batches {many}"

    def drop(self, name: str) -> None:
        """Remove a backbone that is never chosen; the reference stays."""
        with self._changed, self.busy:
            if self.other and self.other.name == name:
                self.other = None
            self.graphs = tuple(graph for graph in self.graphs if graph.name != name)

    def write(self, slot: int, values: Values, *, int8: bool = False) -> None:
        """Overwrite one slot in every backbone; no running forward may read it."""
        self.reference.write(slot, values)
        with self._changed:
            if self.other:
                self.other.write(slot, values)
            self.filled = self.filled | {slot} if values else self.filled - {slot}
            for graph in self.graphs:
                graph.write(slot, values, allowed=int8 or not graph.int8)
            self._prepare()

    def run(
        self, batch: BatchTensors, slots: frozenset[int], *, decode: bool = False, aside: bool = False
    ) -> Hidden:
        """Run the batch on the best backbone that covers its `slots`.

        `aside`: without waiting for `busy`, if the best backbone runs in parallel to others.
        """
        rows, tokens = batch.input_ids.shape
        if aside and (best := self.chosen(rows, tokens, slots)).parallel:
            return best.run(batch, decode=decode)
        with self.busy:
            return self.chosen(rows, tokens, slots).run(batch, decode=decode)

    def chosen(self, rows: int, tokens: int, slots: frozenset[int] = frozenset()) -> Backbone:
        """Return the backbone that a batch of this shape runs on."""
        for backbone in self._order(rows, tokens):
            if backbone.covers(slots):
                return backbone
        return self.reference

    def warm(self, timeout: float) -> bool:
        """Export and measure for the bare base as well, and wait; False on a timeout."""
        with self._changed:
            self._bare = True
            self._prepare()
        return self.settle(timeout)

    def settle(self, timeout: float) -> bool:
        """Wait for exports and measurements in progress; False on a timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._worker is None, timeout)

    @property
    def closed(self) -> bool:
        """True once `close` was called; background work then ends."""
        return self._closed

    def close(self) -> None:
        """End background work and drop the graphs."""
        with self._changed:
            self._closed = True
            worker = self._worker
        if self._exporter:
            self._exporter.stop()
        if worker:
            worker.join()
        for graph in self.graphs:
            graph.close()

    def _prepare(self) -> None:
        """Start to export a missing graph or to measure, unless that is in progress or has just failed."""
        if self._failure and time.monotonic() >= self._retry_at:
            self._failure = ""
        if self._worker or self._closed or self._failure or not (self._missing() or self._measures_torch()):
            return
        worker = threading.Thread(target=self._work, name="graphs", daemon=True)
        with suppress(RuntimeError):  # the system allows no more threads: the next write tries again
            worker.start()
            self._worker = worker

    def _missing(self) -> list[GraphBackbone]:
        return [graph for graph in self.graphs if graph.lacks_stacks(bare=self._bare)]

    def _measures_torch(self) -> bool:
        """Return whether torch backbones have yet to be measured where there are no graphs."""
        used = bool(self.filled) or self._bare
        alone = self.other is not None and not self.graphs
        return used and alone and self._tune is not None and self._tune.timings is None

    def _work(self) -> None:
        while True:
            self._make_graphs()
            self._measure()
            with self._changed:
                if self._closed or self._failure or not self._missing():
                    self._worker = None
                    self._changed.notify_all()
                    return

    def _measure(self) -> None:
        if not self._tune or self._closed or self._failure:
            return
        try:
            self._order = self._tune(self)
        except Exception as error:  # a full disk or a failing backbone; rows run as before
            self._tune = None
            self._unmeasured = f"Measuring failed, and ONNX runs what it can: {error}"
            if not self._closed:
                log.warning("%s", self._unmeasured)

    def _make_graphs(self) -> None:
        for graph in self._missing():
            try:
                made = graph.make()
            except Exception as error:  # the errors of runtimes share no class; rows run on another backbone
                if graph.name in self._spare and not self._closed:
                    log.warning("%s cannot run this base: %s", graph.name, error)
                    self.drop(graph.name)
                    continue
                self._failure = f"Some or all rows run on torch: {error}"
                self._retry_at = time.monotonic() + RETRY_S * 2**self._failures
                self._failures += 1
                if not self._closed:
                    log.warning("%s", self._failure)
                return
            with self._changed:
                graph.use(made)
