"""Samples of a process's memory, and how fast it grows by a robust fit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

__all__ = ["Sample", "growth_mb_per_hour", "level_mb"]

MOST = 600  # samples in one fit: the number of pairs grows with the square


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory of one process, in MB, `seconds` after its first request."""

    seconds: float
    rss: float
    uss: float


def growth_mb_per_hour(samples: Sequence[Sample], warm_up_s: float) -> float:
    """Return the Theil-Sen slope of the unshared memory after the warm-up.

    The median over all pairs ignores single jumps, such as a garbage collection at the last sample.

    Raises:
        ValueError: fewer than two samples lie after the warm-up.
    """
    kept = _thinned([sample for sample in samples if sample.seconds >= warm_up_s])
    if len(kept) < 2:
        raise ValueError(f"Only {len(kept)} samples lie after the warm-up of {warm_up_s:g} s.")
    slopes = [(b.uss - a.uss) / (b.seconds - a.seconds) for a, b in combinations(kept, 2)]
    return statistics.median(slopes) * 3600


def level_mb(samples: Sequence[Sample], warm_up_s: float) -> float:
    """Return the median resident memory after the warm-up."""
    return statistics.median(sample.rss for sample in samples if sample.seconds >= warm_up_s)


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[:: max(1, -(-len(samples) // MOST))]
