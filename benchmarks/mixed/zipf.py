"""Throughput when a thousand adapters share 256 slots, beside that of five."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.mixed.adapters import Found, Setting
from hub.api import HeadKind, Row
from hub.engine.protocol import AdapterWeights, EngineRow
from hub.engine.slots.table import SlotState, SlotTable
from hub.serving.batching.batcher import Batcher

__all__ = ["run"]

MANY, FEW, SLOTS = 1000, 5, 256
ZIPF = 1.1
OUTSTANDING = 192  # rows asked for and not yet answered
SECONDS = 6.0
TOKENS = 32
TURNS = 4


def run(setting: Setting) -> Found:
    """Ask for one row after another, by popularity; one whose adapter is in no slot waits for its load."""
    setting.say(f"{MANY} adapters in {SLOTS} slots, and {FEW}")
    weights = [setting.weights(seed) for seed in range(MANY)]
    with setting.engine("auto", SLOTS) as engine:
        table = SlotTable(SLOTS)
        for one in weights[:SLOTS]:
            _load(engine, table, one)
        engine.settle(timeout=300)
        rates: dict[int, list[float]] = {MANY: [], FEW: []}
        misses = 0
        for turn in range(TURNS + 1):
            for count, measured in rates.items():
                rate, missed = _Load(engine, table, weights[:count], seed=turn).run()
                if turn:
                    measured.append(rate)
                    misses += missed
    many, few = (statistics.median(rates[count]) for count in (MANY, FEW))
    found = Found(figures={"zipf_1000_vs_5": many / few})
    found.rows = [
        ("zipf", f"{MANY} adapters, {SLOTS} slots, {misses} loads", f"{many:.0f}", "rows/s"),
        ("zipf", f"{FEW} adapters", f"{few:.0f}", "rows/s"),
    ]
    return found


def _load(engine: Any, table: SlotTable, weights: AdapterWeights) -> bool:
    """Put an adapter in a slot; False if it has one."""
    reservation = table.reserve(weights.sha256)
    if reservation is None:
        return False
    engine.write(reservation.slot, weights)
    table.commit(weights.sha256)
    return True


class _Load:
    """A closed loop: as many rows as OUTSTANDING are always under way."""

    def __init__(self, engine: Any, table: SlotTable, weights: list[AdapterWeights], seed: int) -> None:
        self._engine, self._table, self._weights = engine, table, weights
        random = np.random.default_rng(seed)
        shares = 1 / np.arange(1, len(weights) + 1) ** ZIPF
        self._picks = iter(random.choice(len(weights), 200_000, p=shares / shares.sum()))
        self._row = Row(random.integers(1000, 30000, TOKENS).tolist())
        self._free = threading.Semaphore(OUTSTANDING)
        self._loading = threading.Lock()
        self.answered = self.missed = 0

    def run(self) -> tuple[float, int]:
        """Return rows a second, and how many adapters had to be loaded."""
        batcher = Batcher(self._engine, name="zipf", batch_rows=64, queued_rows=4096)
        began = time.perf_counter()
        with ThreadPoolExecutor(max_workers=1) as loader:
            while time.perf_counter() - began < SECONDS:
                self._free.acquire()
                weights = self._weights[int(next(self._picks))]
                if not self._ask(batcher, weights):
                    loader.submit(self._fetch, batcher, weights)
            took, answered = time.perf_counter() - began, self.answered
            for _ in range(OUTSTANDING):
                self._free.acquire()
        batcher.close()
        return answered / took, self.missed

    def _ask(self, batcher: Batcher, weights: AdapterWeights) -> bool:
        lease = self._table.lease(weights.sha256)
        if lease is None:
            return False

        def settled() -> None:
            lease.release()
            self.answered += 1
            self._free.release()

        batcher.submit([EngineRow(self._row, lease.slot, HeadKind.SEQUENCE)], settled, None)
        return True

    def _fetch(self, batcher: Batcher, weights: AdapterWeights) -> None:
        while not self._ask(batcher, weights):
            if self._table.state(weights.sha256) is not SlotState.RESIDENT:
                self.missed += _load(self._engine, self._table, weights)
