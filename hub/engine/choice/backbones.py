# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""The backbones of one base that may run a batch, and which of them does.

The torch backbone in the base's reference dtype is always there: it runs what the others cannot yet, and
its stacks are the ones that onnxruntime reads. Graphs are made, and candidates measured, in a thread of
their own while rows run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

from torch import nn

from hub.engine.choice.timings import Timings
from hub.engine.onnx.backbone import OnnxBackbone
from hub.engine.onnx.graph import Exporter
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.heads import Hidden
from hub.engine.torch.stacks import Values
from hub.engine.torch.tensors import BatchTensors

__all__ = ["Backbone", "Backbones", "Order"]

log = logging.getLogger(__name__)


class Backbone(Protocol):
    """Computes the last hidden states of a batch."""

    @property
    def name(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    def covers(self, slots: frozenset[int]) -> bool: ...
    def run(self, batch: BatchTensors, *, decode: bool = False) -> Hidden: ...


Order = Callable[[int, int], Sequence[Backbone]]
"""From rows and tokens of a batch to the backbones to try, the best first."""


class Autotune(Protocol):
    """Measures backbones; `timings` is what it found last."""

    timings: Timings | None

    def __call__(self, backbones: Backbones) -> Order: ...


class Backbones:
    """What one engine has to run batches with.

    `other` is a torch backbone of another dtype (bf16) beside the reference, `graphs` the onnx ones, in the
    order in which they are preferred until `tune` has found out.
    """

    def __init__(
        self,
        reference: TorchBackbone,
        *,
        pooler: nn.Module | None = None,
        other: TorchBackbone | None = None,
        graphs: Sequence[OnnxBackbone] = (),
        exporter: Exporter | None = None,
        tune: Autotune | None = None,
    ) -> None:
        self.reference = reference
        self.pooler = pooler
        self.other = other
        self.graphs = tuple(graphs)
        self._exporter = exporter
        self._tune = tune
        self.filled: frozenset[int] = frozenset()
        """The slots that hold an adapter."""
        first: list[Backbone] = list(self.graphs)
        self._order: Order = lambda rows, tokens: first
        self._only: list[Backbone] | None = None
        self._measured_alone = threading.Lock()  # taken before `busy`
        self.busy = threading.Lock()
        """Held while a backbone runs, or is measured: they share the cores."""
        self._failure = self._unmeasured = ""
        self._closed = self._bare = False
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None

    @property
    def name(self) -> str:
        return "onnx" if self.graphs else "torch"

    @property
    def timings(self) -> Timings | None:
        """What was measured, if anything was."""
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
        return self.reference.stacks.slot_bytes + (self.other.stacks.slot_bytes if self.other else 0)

    @property
    def note(self) -> str:
        """What is unusual now."""
        if self._failure or not self._worker:
            return self._failure or self._unmeasured
        return "An ONNX graph is being made or measured; rows that need it run on torch until then."

    def choices(self) -> str:
        """Say what runs a single short row, and what a full batch."""
        few, many = self.chosen(1, 32).name, self.chosen(64, 32).name
        return few if few == many else f"{few}; full batches {many}"

    def drop(self, name: str) -> None:
        """Give up a backbone that is never chosen; the reference stays."""
        with self._changed, self.busy:
            if self.other and self.other.name == name:
                self.other = None

    def write(self, slot: int, values: Values, *, int8: bool = False) -> None:
        """Overwrite one slot that no running forward reads, everywhere."""
        self.reference.write(slot, values)
        with self._changed:
            if self.other:
                self.other.write(slot, values)
            self.filled = self.filled | {slot} if values else self.filled - {slot}
            for graph in self.graphs:
                graph.write(slot, values, allowed=int8 or not graph.int8)
            self._prepare()

    def run(self, batch: BatchTensors, *, decode: bool = False, aside: bool = False) -> Hidden:
        """Run the whole batch on the best backbone that has all its slots; `aside`: at once."""
        rows, tokens = batch.input_ids.shape
        slots = frozenset(batch.slots.tolist()) if self.graphs else frozenset()
        with nullcontext() if aside else self.busy:
            return self.chosen(rows, tokens, slots).run(batch, decode=decode)

    def chosen(self, rows: int, tokens: int, slots: frozenset[int] = frozenset()) -> Backbone:
        """Return the backbone that a batch of this shape runs on."""
        only = self._only
        order = self._order(rows, tokens) if only is None else only
        usable = (backbone for backbone in order if backbone.covers(slots))
        return next(usable, self.reference)

    @contextmanager
    def only(self, name: str) -> Iterator[None]:
        """Run everything on the backbone of that name while the block runs; for measurements."""
        with self._measured_alone:
            self._only = [backbone for backbone in self.all if backbone.name == name]
            try:
                yield
            finally:
                self._only = None

    def warm(self, timeout: float) -> bool:
        """Make graphs and measure for the bare base as well, and wait; False if it takes longer."""
        with self._changed:
            self._bare = True
            self._prepare()
        return self.settle(timeout)

    def settle(self, timeout: float) -> bool:
        """Wait for graphs and measurements under way; False if they are not over in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._worker is None, timeout)

    @property
    def closed(self) -> bool:
        """True once `close` was called: what goes on in the background should end."""
        return self._closed

    def close(self) -> None:
        """End what goes on in the background, and drop the graphs."""
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
        """Start making the graph that is missing, unless one is being made or cannot be."""
        if self._worker or self._closed or self._failure or not self._missing():
            return
        self._worker = threading.Thread(target=self._work, name="graphs", daemon=True)
        self._worker.start()

    def _missing(self) -> list[OnnxBackbone]:
        return [graph for graph in self.graphs if graph.is_short(bare=self._bare)]

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
        except Exception as error:  # a full disk, or a backbone that fails; rows go on running as before
            self._tune = None
            self._unmeasured = f"Nothing was measured, and ONNX runs what it can: {error}"
            if not self._closed:
                log.warning("%s", self._unmeasured)

    def _make_graphs(self) -> None:
        for graph in self._missing():
            try:
                made = graph.make()
            except Exception as error:  # onnxruntime's errors share no class; rows go on running on torch
                self._failure = f"Some or all rows run on torch: {error}"
                if not self._closed:
                    log.warning("%s", self._failure)
                return
            with self._changed:
                graph.show(made)
