"""Resident bases: each with its engine, its slots and its batcher, opened when first needed."""

from __future__ import annotations

import copy
import gc
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from hub.api import EngineRequest, Tokenizer
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.config import ServeSettings, Settings
from hub.engine.protocol import Engine, GenerationLimits
from hub.engine.slots.table import SlotTable
from hub.registry.opening import engine_for, open_engine
from hub.serving.background import PeriodicTask
from hub.serving.batching.batcher import Batcher
from hub.serving.batching.fair_queue import Job
from hub.serving.batching.probe import SlotProbe, probe_row
from hub.serving.batching.slot_cleaner import SlotCleaner
from hub.serving.heap import limit_heap, limit_kernel_caches, return_free_memory
from hub.serving.meter import Meter
from hub.serving.plugins.growth import loading

__all__ = ["BaseWorker", "BaseWorkers", "encode_threads", "forward_threads"]

log = logging.getLogger(__name__)

SPARE = 1  # slots in addition to serve.slots, so that a deployment change need not wait for one
BORROW_S = 0.25  # a tokenizer in use is returned within milliseconds
ENGINE_CACHE = Path("cache") / "engines"
TRIM_S = 5.0  # between two returns of freed memory to the system


class Tokenizers:
    """Copies of one base's tokenizer, each lent to one thread: a fast tokenizer is not thread-safe."""

    def __init__(self, base: Base, copies: int) -> None:
        self._base = base
        self._copies = copies
        original = self._load()
        self._state = _state(original)
        # Not a SimpleQueue: in CPython 3.11 its `get` waits for ever if another thread takes the item that
        # woke it, and its timeout has passed by then.
        self._free: Queue[Tokenizer] = Queue()
        for _ in range(copies - 1):
            self._free.put(copy.deepcopy(original))
        self._free.put(original)

    @contextmanager
    def borrow(self) -> Iterator[Tokenizer]:
        """Lend a copy."""
        tokenizer = self.take()
        try:
            yield tokenizer
        finally:
            self.give_back(tokenizer)

    def take(self) -> Tokenizer:
        """Lend a copy; load another if none is returned within BORROW_S, because plugin code may hang."""
        try:
            return self._free.get(timeout=BORROW_S)
        except Empty:
            return self._load()

    def give_back(self, tokenizer: Tokenizer) -> bool:
        """Take a copy back; False if plugin code has changed it: then it is not lent again."""
        unchanged = _state(tokenizer) == self._state
        if self._free.qsize() < self._copies:
            self._free.put(tokenizer if unchanged else self._load())
        return unchanged

    def _load(self) -> Tokenizer:
        from hub.engine.tokenizer import load_tokenizer

        tokenizer: Tokenizer = load_tokenizer(self._base)
        return tokenizer


def _state(tokenizer: Any) -> tuple[object, ...]:
    """Return what decides how a tokenizer treats the texts of the next caller.

    Truncation and padding are not part of it: each call sets them anew.
    """
    special = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.cls_token_id)
    return (len(tokenizer), tokenizer.truncation_side, tokenizer.padding_side, *special)


@dataclass(frozen=True, eq=False, slots=True)
class BaseWorker:
    """A resident base with its engine, slots, batcher and probe."""

    base: Base
    engine: Engine
    slots: SlotTable
    cleaner: SlotCleaner
    batcher: Batcher
    tokenizers: Tokenizers
    probe: SlotProbe

    def close(self) -> None:
        """End the engine's threads and free the device."""
        self.cleaner.close()
        self.batcher.close()
        self.engine.close()


class BaseWorkers:
    """The base workers of this process, by base fingerprint."""

    def __init__(
        self,
        bases: Bases,
        settings: Settings,
        *,
        deliver: Callable[[Sequence[Job]], None],
        meter: Meter,
    ) -> None:
        self._bases = bases
        self._settings = settings
        self._deliver = deliver
        self._meter = meter
        self._base_workers: dict[str, BaseWorker] = {}
        self._lock = threading.Lock()  # taken after those of `_opening`
        self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        limit_heap()
        limit_kernel_caches()
        self._heap = PeriodicTask("heap", return_free_memory, TRIM_S)
        self._heap.start()

    def get(self, fingerprint: str) -> BaseWorker | None:
        """Return the base worker of a base if it is open; never blocks."""
        return self._base_workers.get(fingerprint)

    def all(self) -> list[BaseWorker]:
        """Return the open base workers."""
        return list(self._base_workers.values())

    def open(self, fingerprint: str) -> BaseWorker:
        """Return the base worker of a base, building its engine the first time; blocks.

        Raises:
            NotFound: the base is not on this machine.
            EngineFailed, BadConfig: the engine cannot be built.
        """
        if base_worker := self._base_workers.get(fingerprint):
            return base_worker
        with self._lock:
            opening = self._opening[fingerprint]
        with opening:  # a lock per base: a slow one does not block the others
            if base_worker := self._base_workers.get(fingerprint):
                return base_worker
            base_worker = self._build(self._bases.by_fingerprint(fingerprint))
            gc.collect()
            gc.freeze()  # loaded objects stay: exclude them from collections
            # CPython delays a full collection until new objects are a quarter of those that the last one
            # left. This one leaves almost none; without it the garbage of thousands of requests piles up.
            gc.collect()
            with self._lock:
                self._base_workers = {**self._base_workers, fingerprint: base_worker}
            return base_worker

    def close(self) -> None:
        """Close every base worker."""
        with self._lock:
            base_workers, self._base_workers = list(self._base_workers.values()), {}
        for base_worker in base_workers:
            base_worker.close()
        self._heap.stop()

    def _build(self, base: Base) -> BaseWorker:
        began = time.perf_counter()
        serve, limits = self._settings.serve, self._settings.limits
        tokenizers = Tokenizers(base, encode_threads())
        with tokenizers.borrow() as tokenizer:
            row = probe_row(base, tokenizer)
        request = EngineRequest(
            base,
            slots=serve.slots + SPARE,
            device=serve.device,
            threads=forward_threads(serve),
            cache=self._settings.home / ENGINE_CACHE,
            generation=GenerationLimits(
                serve.generate_rows, serve.generate_mb * 1_000_000, serve.generate_prefix_mb * 1_000_000
            ),
        )
        with loading():
            engine: Engine = open_engine(engine_for(base.source, serve.engine), request)
        with ExitStack() as opened:  # closed again if a thread cannot start
            opened.callback(engine.close)
            batcher = Batcher(
                engine,
                name=base.name,
                batch_rows=serve.batch_rows,
                queued_rows=limits.queued_rows,
                deliver=self._deliver,
                meter=self._meter,
            )
            opened.callback(batcher.close)
            took = time.perf_counter() - began
            log.info("Opened base %s on the %s engine in %.1f s.", base.name, engine.info().name, took)
            cleaner = self._cleaner(engine, base)
            opened.pop_all()
        probe = SlotProbe(engine, row)
        return BaseWorker(base, engine, cleaner.slots, cleaner, batcher, tokenizers, probe)

    def _cleaner(self, engine: Engine, base: Base) -> SlotCleaner:
        slots = self._settings.serve.slots
        cleaner = SlotCleaner(
            engine,
            slots,
            spare=SPARE,
            name=base.name,
            cleared=lambda: self._meter.slots(base.name, cleaner.slots.in_use, slots),
        )
        return cleaner


def forward_threads(serve: ServeSettings) -> int:
    """Return the number of threads of one forward, 0 for all cores; replicas share the cores."""
    if serve.threads or serve.replicas == 1:
        return serve.threads
    return max(1, (os.cpu_count() or 1) // serve.replicas)


def encode_threads() -> int:
    """Return the maximum number of encode and decode threads per task."""
    return min(max(os.cpu_count() or 1, 2), 8)
