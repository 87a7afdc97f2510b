"""Which of two values of a metric is better."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

__all__ = ["Goal", "best_of", "explain", "gain", "worst"]

Goal = Literal["max", "min"]


def gain(first: float, second: float, goal: Goal) -> float:
    """Return by how much the first is better than the second; negative where it is worse."""
    return first - second if goal == "max" else second - first


def best_of(values: Iterable[float], goal: Goal) -> float | None:
    """Return the best of some values; None of none."""
    return (max if goal == "max" else min)(values, default=None)


def worst(goal: Goal) -> float:
    """Return what any value is better than."""
    return -math.inf if goal == "max" else math.inf


def explain(goal: Goal) -> str:
    """Return a note for readers where lower is better, "" where it is as they expect."""
    return "" if goal == "max" else " (lower is better)"
