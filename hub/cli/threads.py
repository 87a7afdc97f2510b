"""How torch's threads wait for each other; all of it is environment that is read when torch is loaded."""

from __future__ import annotations

import os

__all__ = ["beside_others", "for_training", "wait_asleep"]

SPIN = "3000"  # turns of libgomp's waiting loop, some 50 microseconds
NO_SPIN = "0"
IDLE = 15.0  # percent of all cores that other processes may take
LOOK_S = 0.1
_ASLEEP = "PASSIVE"


def wait_asleep() -> None:
    """Have threads sleep while they wait: spinning slows work several times over once anything else runs."""
    os.environ.setdefault("OMP_WAIT_POLICY", _ASLEEP)


def for_training() -> None:
    """Prepare for many small steps of many shapes.

    To wake a thread takes longer than a small product does. Where the cores are idle, threads spin for a
    moment before they sleep: a third less time for a step of 16 short rows. If another process keeps a core
    busy later on, a step takes two thirds longer than it would without.
    """
    # Batches have many lengths, and oneDNN keeps few kernels; made anew they cost a seventh of a step.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
    if os.environ.get("OMP_WAIT_POLICY") == _ASLEEP and "GOMP_SPINCOUNT" not in os.environ:
        os.environ["GOMP_SPINCOUNT"] = SPIN if _are_idle() else NO_SPIN


def beside_others() -> None:
    """Have training threads and those of processes begun later sleep at once: these share the cores."""
    os.environ.setdefault("GOMP_SPINCOUNT", NO_SPIN)


def _are_idle() -> bool:
    import psutil

    return bool(psutil.cpu_percent(LOOK_S) <= IDLE)
