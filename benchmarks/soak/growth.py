"""Samples of a process's memory, and how fast it grows by a robust fit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Growth", "Sample", "growth", "level_mb", "lows"]

LOW_S = 15.0  # longer than the server waits between two returns of free memory to the system
CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory of one process, in MB, `seconds` after its first request."""

    seconds: float
    rss: float
    uss: float


class Growth(NamedTuple):
    """A slope in MB an hour, with the ends of its 90 % confidence interval."""

    rate: float
    low: float
    high: float


def growth(samples: Sequence[Sample], warm_up_s: float) -> Growth:
    """Return the Theil-Sen slope of the unshared memory after the warm-up.

    The median over all pairs ignores single jumps, such as a garbage collection at the last sample. The
    interval assumes independent samples, so it is too narrow for samples a few seconds apart.

    Raises:
        ValueError: fewer than two samples lie after the warm-up.
    """
    from scipy.stats import theilslopes

    kept = [sample for sample in samples if sample.seconds >= warm_up_s]
    if len(kept) < 2:
        raise ValueError(f"Only {len(kept)} samples lie after the warm-up of {warm_up_s:g} s.")
    hours = [sample.seconds / 3600 for sample in kept]
    rate, _, low, high = theilslopes([sample.uss for sample in kept], hours, CONFIDENCE)
    return Growth(float(rate), float(low), float(high))


def lows(samples: Sequence[Sample]) -> list[Sample]:
    """Return the sample with the least unshared memory of every `LOW_S` seconds.

    That is what the process holds when no large batch runs and free pages were just returned to the system.
    """
    spans: dict[int, Sample] = {}
    for sample in samples:
        span = int(sample.seconds // LOW_S)
        spans[span] = min(spans.get(span, sample), sample, key=lambda one: one.uss)
    return list(spans.values())


def level_mb(samples: Sequence[Sample], warm_up_s: float) -> float:
    """Return the median resident memory after the warm-up."""
    return statistics.median(sample.rss for sample in samples if sample.seconds >= warm_up_s)
