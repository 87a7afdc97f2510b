"""Sets how torch's threads wait, through variables that are read when torch is imported."""

from __future__ import annotations

import os

__all__ = ["beside_others", "for_training", "wait_asleep"]

SPIN = "3000"  # iterations of libgomp's waiting loop, about 50 microseconds
NO_SPIN = "0"
MAX_LOAD_PERCENT = 15.0  # of all cores, by other processes, for the machine to count as idle
SAMPLE_S = 0.1
_ASLEEP = "PASSIVE"


def wait_asleep() -> None:
    """Let waiting threads sleep: spinning slows training several times as soon as another process runs."""
    os.environ.setdefault("OMP_WAIT_POLICY", _ASLEEP)


def for_training() -> None:
    """Configure torch for many small steps of many shapes.

    Waking a thread takes longer than a small matrix product. On idle cores, threads therefore spin briefly
    before they sleep, which cuts a step of 16 short rows by a third; if another process then keeps a core
    busy, a step takes two thirds longer than without spinning.
    """
    # Batches have many lengths, and oneDNN caches few kernels; rebuilding them costs a seventh of a step.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
    if os.environ.get("OMP_WAIT_POLICY") == _ASLEEP and "GOMP_SPINCOUNT" not in os.environ:
        os.environ["GOMP_SPINCOUNT"] = SPIN if _are_idle() else NO_SPIN


def beside_others() -> None:
    """Let threads of this process and of later child processes sleep at once, since they share the cores."""
    os.environ.setdefault("GOMP_SPINCOUNT", NO_SPIN)


def _are_idle() -> bool:
    import psutil

    return bool(psutil.cpu_percent(SAMPLE_S) <= MAX_LOAD_PERCENT)
