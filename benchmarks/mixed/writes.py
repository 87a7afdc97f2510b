"""What writing a slot takes, and what it costs a forward that runs meanwhile."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.mixed.adapters import QV, Found, Setting, rows_of
from hub.engine.protocol import AdapterWeights

__all__ = ["run"]

SLOTS = 128
READ = 64  # slots that the forward reads; the others are written
WRITES = 600
EVERY_S = 0.01


def run(setting: Setting) -> Found:
    """Write adapters from memory, alone and while forwards run."""
    found = Found()
    for name, targets in (("qv", QV), ("all", "all-linear")):
        with setting.engine("auto", SLOTS) as engine:
            adapters = [setting.weights(seed, targets) for seed in range(64)]
            for slot in range(1, READ + 1):
                engine.write(slot, adapters[slot - 1])
            engine.settle(timeout=300)
            took = sorted(_write(engine, adapters, turn) for turn in range(WRITES))
            stall = _stall(engine, adapters, setting.rounds)
        p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
        found.rows += [
            (f"write {name}", "median", f"{p50:.2f}", "ms"),
            (f"write {name}", "p99", f"{p99:.2f}", "ms"),
            (f"write {name}", "added to a forward by one write", f"{stall:.2f}", "ms"),
        ]
        suffix = "" if name == "qv" else "_all"
        found.figures |= {f"write_p99_ms{suffix}": p99, f"write_stall_ms{suffix}": stall}
    return found


def _write(engine: Any, adapters: Sequence[AdapterWeights], turn: int) -> float:
    slot = READ + 1 + turn % (SLOTS - READ)
    began = time.perf_counter()
    engine.write(slot, adapters[turn % len(adapters)])
    return (time.perf_counter() - began) * 1000


def _stall(engine: Any, adapters: Sequence[AdapterWeights], rounds: int) -> float:
    """Return how many milliseconds later a forward ends for each write during it."""
    rows = rows_of(64, 32, range(1, READ + 1))
    alone: list[float] = []
    beside: list[float] = []
    written: list[int] = []
    for turn in range(2 * rounds + 1):
        for times in (alone, beside):
            writer = _Writer(engine, adapters)
            if times is beside:
                writer.start()
            began = time.perf_counter()
            engine.run(rows)
            took = (time.perf_counter() - began) * 1000
            count = writer.stop()
            if turn:
                times.append(took)
                if times is beside:
                    written.append(count)
    return (statistics.median(beside) - statistics.median(alone)) / max(1.0, statistics.mean(written))


class _Writer(threading.Thread):
    """Writes a slot every few milliseconds until told to stop."""

    def __init__(self, engine: Any, adapters: Sequence[AdapterWeights]) -> None:
        super().__init__(daemon=True)
        self._engine, self._adapters = engine, adapters
        self._stopped = threading.Event()
        self._count = 0

    def run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            _write(self._engine, self._adapters, self._count)
            self._count += 1

    def stop(self) -> int:
        """Return how many writes there were."""
        self._stopped.set()
        if self.is_alive():
            self.join()
        return self._count
