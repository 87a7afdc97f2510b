"""The resident memory of a process that has a thousand adapters at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.mixed.adapters import QV, Found, Setting, rows_of

__all__ = ["run"]

ADAPTERS, SLOTS = 1000, 256
MB = 1_000_000


def run(setting: Setting) -> Found:
    """Measure in a process of its own, which has done nothing else."""
    found = Found()
    for name, targets in (("qv", QV), ("all", "all-linear")):
        for seed in range(64):
            setting.adapter(seed, targets)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.mixed.memory", str(setting.folder), name],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        sizes = json.loads(done.stdout.splitlines()[-1])
        found.rows += [
            (
                f"memory {name}",
                f"process with {ADAPTERS} adapters, {SLOTS} in slots",
                sizes["rss"] // MB,
                "MB",
            ),
            (f"memory {name}", "the same before any adapter", sizes["before"] // MB, "MB"),
            (f"memory {name}", "one adapter in memory", sizes["adapter"] // 1000, "kB"),
            (f"memory {name}", "one slot", sizes["slot"] // 1000, "kB"),
            (f"memory {name}", "base, all copies", sizes["base"] // MB, "MB"),
        ]
        suffix = "" if name == "qv" else "_all"
        found.figures[f"resident_gb_1000{suffix}"] = sizes["rss"] / 1e9
    return found


def _measure(folder: Path, name: str) -> dict[str, int]:
    setting = Setting(folder, rounds=1, data=None)
    targets = QV if name == "qv" else "all-linear"
    with setting.engine("auto", SLOTS) as engine:
        before = _resident()
        first = [setting.weights(seed, targets) for seed in range(64)]
        adapters = [*first, *(_copy(first[seed % 64], seed) for seed in range(64, ADAPTERS))]
        for slot in range(1, SLOTS + 1):
            engine.write(slot, adapters[slot])
        engine.settle(timeout=300)
        for _ in range(3):
            engine.run(rows_of(64, 64, range(1, SLOTS + 1)))
        info = engine.info()
        return {
            "rss": _resident(),
            "before": before,
            "adapter": adapters[0].nbytes,
            "slot": info.slot_bytes,
            "base": info.base_bytes,
        }


def _copy(weights: object, seed: int) -> object:
    """Make another adapter of the same size, with memory of its own."""
    layers = {
        path: replace(update, a=update.a.copy(), b=update.b.copy())
        for path, update in weights.layers.items()  # type: ignore[attr-defined]
    }
    full = {name: array.copy() for name, array in weights.full.items()}  # type: ignore[attr-defined]
    return replace(weights, layers=layers, full=full, sha256=str(seed))  # type: ignore[type-var]


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]), sys.argv[2])) + "\n")
